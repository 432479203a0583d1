"""The staged whole: base, SFT, label-free rounds, evaluation after each."""
