"""Public benchmarks: their files on disk, their prompts, their scoring rules. No model, no judge.

Read in this order: `rows` (what a row and a score are), `files` (tables and pictures of a folder),
`reading` (answers out of replies), one module a benchmark (schema, prompt, rule), `catalog` (all of
them by name). Asking and figures are `mmupt.evaluate`'s.
"""
