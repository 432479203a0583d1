"""What training did to a model besides its accuracy: bias, side effects and forgetting."""
