"""Trying a model by hand: an OpenAI-compatible endpoint, and a page with the answers and the vote.

For a person and a script at a time, not for a service: one request is answered after the other. For
many at once serve an export with vLLM (docs/export.md).
"""
