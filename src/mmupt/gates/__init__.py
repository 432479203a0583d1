"""Gates: whether a model has proven enough to be promoted, and on what evidence."""
