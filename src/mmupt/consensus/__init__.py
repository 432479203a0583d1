"""Consensus: from responses to answers, from answers to classes, from classes to a pseudo-label.

Read in this order: `extract` (response -> answer), `equivalence` (answers -> classes), `vote`
(classes -> pseudo-label and rewards), `reward` (answers against somebody else's label). Everything
here is pure Python over strings: no torch, no numpy, no `eval`. LaTeX that nothing else can read
goes to a worker process (`symbolic`), free text is compared by chrF (`freetext`).
"""
