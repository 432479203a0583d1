"""Data sets of the Hugging Face hub, fetched only where a path begins with ``hf:``."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mmupt.data.images import printable
from mmupt.errors import InputError

_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,95}")
_REVISION: Final = re.compile(r"[\w.\-]{1,100}")


@dataclass(frozen=True, slots=True)
class HubName:
    """``hf:ORG/NAME[@REVISION][/INNER]``."""

    repo: str
    revision: str | None
    inner: str


def hub_name(path: Path) -> HubName | None:
    """The data set that a path names; None where it names none.

    The path may have been made absolute: what stands before ``hf:`` says nothing.

    Raises:
        InputError: begins with ``hf:`` and is no name.
    """
    parts = path.parts
    start = next((i for i, part in enumerate(parts) if part.startswith("hf:")), None)
    if start is None:
        return None
    shown = printable("/".join(parts[start:]), 120)
    organisation = parts[start].removeprefix("hf:")
    name, _, revision = (parts[start + 1] if len(parts) > start + 1 else "").partition("@")
    inner = parts[start + 2 :]
    named = _NAME.fullmatch(organisation) and _NAME.fullmatch(name)
    if not named or ".." in inner or (revision and not _REVISION.fullmatch(revision)):
        raise InputError(
            f"{shown}: expected hf:ORG/NAME, hf:ORG/NAME@REVISION or either with /PATH"
        )
    return HubName(f"{organisation}/{name}", revision or None, "/".join(inner))


def download(name: HubName) -> tuple[Path, str, tuple[Path, ...]]:
    """Fetch a data set, or find it in the hub's cache.

    Returns:
        Its folder, the path inside it, and the folder that its links lead to.

    Raises:
        InputError: offline and not in the cache, no such data set, or the hub refuses.
    """
    from huggingface_hub import snapshot_download

    patterns = None
    if name.inner:
        patterns = [name.inner, f"{name.inner}/**", re.sub(r"\{\d+\.\.\d+\}", "*", name.inner)]
    try:
        folder = Path(
            snapshot_download(
                name.repo, repo_type="dataset", revision=name.revision, allow_patterns=patterns
            )
        )
    except Exception as error:  # requests', the hub's and the cache's errors have no common root
        offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")
        why = (
            "HF_HUB_OFFLINE is set and it is not in the cache"
            if offline
            else printable(str(error).strip().partition("\n")[0] or type(error).__name__, 160)
        )
        raise InputError(
            f"hf:{name.repo} cannot be fetched ({why}); go online, check the name, or give a local "
            "file"
        ) from error
    return folder, name.inner, (folder.parent.parent / "blobs",)
