"""Whether a data set can be used: broken rows, duplicates, leakage, privacy, what a model sees."""
