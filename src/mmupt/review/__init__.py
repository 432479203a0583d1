"""The review app: people look at samples of pseudo-labels and say whether they are right."""
