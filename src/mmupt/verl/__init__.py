"""Votes, rewards and advantages on verl's own batches."""
