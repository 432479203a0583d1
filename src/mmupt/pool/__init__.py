"""Votes over a pool larger than memory: shards of answers, any number of independent workers.

Every shard becomes one file of votes, exactly once; workers need nothing of each other but a folder
that all of them see.
"""
