"""The answers that people gave in audits, as labelled rows for the next fine-tuning."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from mmupt.config import Config
from mmupt.errors import InputError
from mmupt.pipeline.auditing import learned
from mmupt.pipeline.frame import read_frame
from mmupt.pipeline.project import Project
from mmupt.runs import write_atomic


def write_anchors(project: Project, config: Config, out: Path, *, accepted: bool) -> int:
    """Write them as JSONL that `mmupt sft --data` reads. Returns the number of rows.

    Image paths are relative to the file, so that it has to lie above the images.

    Args:
        project: whose audits.
        config: of the project.
        out: the file.
        accepted: also pseudo-labels that people confirmed; else corrected ones alone.

    Raises:
        InputError: an image that does not lie below the folder of `out`.
    """
    store = project.audits(config)
    rows = []
    for audit in store.audits():
        found = learned(store, audit.name, config)
        answers = {**(found.accepted if accepted else {}), **found.corrected}
        for one in read_frame(project.frame(audit.name)):
            if one.sample_id in answers:
                row: dict[str, Any] = {
                    "id": f"{audit.name}-{one.sample_id}",
                    "images": [_relative(path, out) for path in one.images],
                    "problem": one.problem,
                    "answer": answers[one.sample_id],
                }
                rows.append({**one.meta, **row})
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    write_atomic(out, "".join(lines))
    return len(rows)


def _relative(path: str, out: Path) -> str:
    folder = out.resolve().parent
    relative = os.path.relpath(path, folder)
    if relative.startswith(".."):
        raise InputError(
            f"{out}: the image {path} does not lie below its folder; choose an --out above the "
            "images"
        )
    return Path(relative).as_posix()
