"""The figures of a run in experiment trackers: what is told (figures), and telling it (send)."""
