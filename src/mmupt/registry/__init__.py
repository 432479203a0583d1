"""Versions of the model, and which of them serves.

`manifest` says what a version is, byte for byte, and `verify` whether it still is that; `versions`
what is recorded with it; `proof` what its gate must have said, `moves` which version serves after a
promotion or a rollback; `store` keeps all of it; `route` says which version answers a request;
`mlflow` copies it into a registry that a company already has.
"""
