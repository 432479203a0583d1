"""Asking an OpenAI-compatible server (vLLM, SGLang, llama.cpp, OpenAI) instead of a model here.

Everything that a server says is untrusted. Needs `mmupt[server]`; no torch.
"""
