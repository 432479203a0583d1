"""Voting strategies: one small pure function a file, `Ballot -> Vote`, listed in `STRATEGIES`.

None of them depends on the order of the answers; none lets an abstention win.
"""
