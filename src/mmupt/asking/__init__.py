"""What is asked and who answers: prompts, views of a question, and the answerer's interface.

Light: neither torch nor a model is needed to ask a server.
"""
