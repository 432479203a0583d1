"""Audits: which pseudo-labels people look at, what they say, and what that proves."""
