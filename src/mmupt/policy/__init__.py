"""The model as a policy: loading it, encoding prompts, sampling and scoring completions."""
