"""Every error that mmupt raises on purpose.

    MmuptError            root; the command line prints it as one line and exits with 2
    ├── InputError        a file, row or image that cannot be used
    ├── ConfigError       a setting that is unknown, out of range or in conflict
    ├── ModelError        a folder that is not a usable image-text model
    ├── RunFolderError    an output folder that holds something else
    ├── ProcessError      processes that cannot be started, or that are gone
    ├── DatabaseError     a database that cannot be opened, read or written
    ├── ServerError       a model server that is not there, or does not answer as one
    └── RefusedError      what a gate, a claim or a state does not allow now

A message names the place (file, row or key), the value found, what was expected and what to do.
"""

from __future__ import annotations


class MmuptError(Exception):
    """Root of the package's own errors."""


class InputError(MmuptError):
    """A data file, row or image that cannot be used."""


class ConfigError(MmuptError):
    """A setting that is unknown, out of range, or in conflict with another."""


class ModelError(MmuptError):
    """A folder that is not a model this package can load."""


class RunFolderError(MmuptError):
    """An output folder that already holds another run, or is not writable."""


class ProcessError(MmuptError):
    """Processes that cannot be started together, or one that is gone."""


class DatabaseError(MmuptError):
    """A database that cannot be opened, read or written."""


class ServerError(MmuptError):
    """A model server that is not there, refuses us, or does not answer as one."""


class RefusedError(MmuptError):
    """What cannot be done now: a version that has not passed its gate, a sample that is taken."""
