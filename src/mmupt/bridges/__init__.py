"""Questions and scoring rules of ours in other people's evaluation tools.

`inspect` makes tasks for inspect-ai (extra ``mmupt[inspect]``), `lmms` a folder for lmms-eval.
"""
