"""Versions of the model, and which of them serves."""
