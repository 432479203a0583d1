"""Whether a model works here: its folder, its inputs, exact results, and what a step costs."""
