"""What every stage cost, and what a project returns."""
