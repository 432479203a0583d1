"""New questions that a model writes for its own unlabelled pictures (MM-UPT, arXiv 2505.22453).

Read in this order: `wording` (what the writer is asked), `parse` (its text -> a question or a
reason), `filters` (texts and votes that are refused), `steer` (what is asked next), `run` (all of
it, resumable). What the model writes becomes the text of `problem` and nothing else.
"""
