"""Training: advantages, losses, supervised fine-tuning and label-free GRPO."""
