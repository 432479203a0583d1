"""A small made folder of every public benchmark, as it is published."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

NAMES = (
    "mathvista", "mathverse", "mathvision", "wemath", "geometry3k", "geoqa", "chartqa", "easyvqa",
)  # fmt: skip


def picture(shade: int) -> dict[str, object]:
    """An image as the hub writes it."""
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), (shade, 40, 90)).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": "1.png"}


def parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def make(name: str, folder: Path, n: int = 3) -> Path:
    """Write n questions (We-Math: problems of two steps) about n - 1 pictures.

    The reference of every question is written so that `right(name)` is a right reply to it.
    """
    shades = [10 * min(i, n - 2) for i in range(n)]
    data = folder / "data"
    if name == "easyvqa":
        (folder / "test" / "images").mkdir(parents=True)
        for shade in set(shades):
            Image.new("RGB", (16, 16), (shade, 0, 0)).save(
                folder / "test" / "images" / f"{shade}.png"
            )
        questions = [["what shape is in the image?", "circle", shade] for shade in shades]
        (folder / "test" / "questions.json").write_text(json.dumps(questions))
        return folder
    rows: list[dict[str, Any]] = []
    for i, shade in enumerate(shades):
        seen = picture(shade)
        meta = {"split": "testmini", "source": "made", "subject": "plane", "subfield": "angle",
                "task": "made", "context": "made", "category": "made", "grade": "1",
                "language": "english", "skills": ["algebraic reasoning"]}  # fmt: skip
        rows += {
            "mathvista": [{
                "pid": str(i), "question": "Which?", "image": "1.png", "decoded_image": seen,
                "choices": ["3", "4"], "unit": None, "precision": None, "answer": "4",
                "question_type": "multi_choice", "answer_type": "text", "metadata": meta,
                "query": "Which?\nChoices:\n(A) 3\n(B) 4",
            }],
            "mathverse": [{
                "sample_index": str(i), "problem_index": str(i), "problem_version": "Vision Only",
                "question": "Which?\nChoices:\nA:3\nB:4", "answer": "B", "image": seen,
                "question_type": "multi-choice", "metadata": meta, "query_wo": "Which?",
                "query_cot": "Which?\nChoices:\nA:3\nB:4",
                "question_for_eval": "Which?\nChoices:\nA:3\nB:4",
            }],
            "mathvision": [{
                "id": str(i), "question": "Which?\n<image1>", "options": ["3", "4"],
                "image": "1.png", "decoded_image": seen, "answer": "B", "solution": None,
                "level": 2, "subject": "algebra",
            }],
            "wemath": [{
                "ID": f"2steps_{i}", "split": "testmini", "knowledge concept": "Length",
                "question": "Which?", "option": "A. 3;B. 4", "answer": "B", "key": key,
                "question number": i, "knowledge concept description": "...", "image_path": seen,
            } for key in ("2steps_1", "2steps_2", "2steps_multi")],
            "geometry3k": [{"images": [seen], "problem": "<image>Find x.", "answer": "4"}],
            "geoqa": [{"image": seen, "problem": "Find it.",
                       "solution": "<answer> 4 </answer>"}],
            "chartqa": [{"type": "human_test", "question": "How many?", "answer": "4",
                         "image": seen}],
        }[name]  # fmt: skip
    split = "testmini" if name in ("mathvista", "mathverse", "wemath") else "test"
    place = folder / "testmini.parquet" if name == "mathverse" else data / f"{split}-0.parquet"
    parquet(place, rows)
    return folder


def right(name: str) -> str:
    """A right reply to every made question."""
    return {
        "mathvista": "The answer is (B).", "mathverse": "The answer is B", "mathvision": "\\boxed{B}",
        "wemath": "<Answer>: <<B>>", "geometry3k": "\\boxed{4}", "geoqa": "<answer>4</answer>",
        "chartqa": "4", "easyvqa": "circle",
    }[name]  # fmt: skip
