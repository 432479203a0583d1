"""The guard: signals of a label-free round that need no labels, rules over them, and what follows.

Read `signals` (what is measured), `rules` (which failures they show), `watch` (who decides).
"""
