"""An export from source to folder: written beside its place, checked, and then moved there."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmupt.asking.prompt import Prompt
from mmupt.errors import ConfigError, ModelError, RefusedError, RunFolderError
from mmupt.export.card import export_card, found_license
from mmupt.export.check import check_export, made_prompts
from mmupt.export.formats import FORMATS, Format, stored_dtype, write_format
from mmupt.export.source import Source, named_base
from mmupt.version import __version__

RECORD = "export.json"


def run_export(
    kind: Format,
    source: Source,
    out: Path,
    *,
    dtype: str | None = None,
    base_name: str | None = None,
    license_name: str | None = None,
    prompts: Sequence[Prompt] = (),
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Write, check and describe an export. The folder is there whole or not at all.

    Args:
        kind: one of `FORMATS`.
        source: what is exported.
        out: the folder; must not exist, or be empty.
        dtype: of the weights; None: as they are, for "gguf-ready" bfloat16.
        base_name: what "peft" calls its base model, such as its name on the hub; None: as the
            adapter says.
        license_name: None: as the starting model's card says.
        prompts: questions for the check; none: made ones.
        say: told what is being done.

    Returns:
        The record that is also written into the folder as ``export.json``.

    Raises:
        ConfigError: an unknown format.
        RefusedError: the folder is taken.
        RunFolderError: it cannot be written.
        ModelError: the source cannot be exported so, or the export answers otherwise.
    """
    from safetensors import SafetensorError

    if kind not in FORMATS:
        raise ConfigError(f"--format {kind!r} is unknown; choose from {', '.join(FORMATS)}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RefusedError(f"{out}: is there already; choose a new --out")
    base = base_name or _said(source) or source.model.name
    place = out.resolve()
    temporary = place.with_name(f".{place.name}.tmp-{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        say("writing")
        write_format(kind, source, temporary, dtype, base)
        say("checking")
        checked = check_export(kind, source, temporary, dtype, prompts or made_prompts())
        if not checked.passed:
            raise ModelError(
                f"{out}: not exported, as it answers otherwise than its source: "
                f"{checked.equal} of {checked.prompts} greedy answers equal, chat template "
                f"{'equal' if checked.chat_template else 'changed'}, end of turn "
                f"{'equal' if checked.end_of_turn else 'changed'}"
            )
        model = json.loads((source.model / "config.json").read_text(encoding="utf-8"))["model_type"]
        licence = license_name or found_license(source.model)
        card = export_card(kind, source, checked, licence, base, model)
        (temporary / "README.md").write_text(card, encoding="utf-8")
        record = {
            "format": kind,
            "mmupt": __version__,
            "source": {"name": source.name, "digest": source.digest, "gate_passed": source.passed},
            "dtype": dtype or ("bfloat16" if kind == "gguf-ready" else stored_dtype(source.model)),
            "license": licence,
            "check": checked.as_json(),
            "files": _files(temporary),
        }
        text = json.dumps(record, ensure_ascii=False, indent=2) + "\n"
        (temporary / RECORD).write_text(text, encoding="utf-8")
        if place.exists():
            place.rmdir()
        temporary.replace(place)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise RunFolderError(
            f"{out}: cannot be written ({reason}); nothing is left of it, choose another --out or "
            "make room"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return record


def _said(source: Source) -> str | None:
    said = None if source.adapter is None else named_base(source.adapter)
    # A path of this machine says nothing elsewhere.
    return Path(said).name if said is not None and Path(said).is_absolute() else said


def _files(folder: Path) -> list[dict[str, Any]]:
    files = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        files.append(
            {
                "path": path.relative_to(folder).as_posix(),
                "bytes": path.stat().st_size,
                "sha256": digest,
            }
        )
    return files
