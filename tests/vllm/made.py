"""A tiny Qwen2.5-VL of sizes that vLLM's kernels take, and questions for it to learn.

The questions are such that a server and a local model can part: one picture, two, and none, sizes
that the processor has to change, options, text beyond ASCII, replies that are cut.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import architectures
import numpy as np
from PIL import Image

COLOURS = {
    "red": ((220, 40, 30), "赤"),
    "green": ((30, 180, 60), "緑"),
    "blue": ((40, 60, 220), "青"),
    "white": ((235, 235, 235), "白"),
}
SIZES = ((24, 24), (40, 24), (33, 29), (19, 50))
"""Width and height; the first two are whole patches, the others are scaled."""
CUT = 24
"""Tokens of a reply that the commands allow; the story is longer, in ASCII and beyond."""


def save_model(folder: Path, seed: int = 3) -> Path:
    """Heads of 32, two layers each of width 64; replies mean nothing yet.

    `generation_config.json` has sampling defaults as Qwen's has. No local verb follows them.
    """
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
    )

    words, ids, images, videos = architectures.qwen_parts(patch=4)
    text: dict[str, Any] = {
        "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "rope_parameters": {
            "rope_type": "default", "rope_theta": 1000.0, "mrope_section": [4, 6, 6],
        },
    }  # fmt: skip
    config = Qwen2_5_VLConfig(
        text_config=architectures.text_config(words, **text),
        vision_config={
            "depth": 2,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_heads": 2,
            "patch_size": 4,
            "temporal_patch_size": 2,
            "spatial_merge_size": 2,
            "window_size": 16,
            "fullatt_block_indexes": [1],
            "out_hidden_size": 64,
        },
        **ids,
    )
    processor = Qwen2_5_VLProcessor(
        images, words, videos, chat_template=architectures.QWEN_TEMPLATE
    )
    model = Qwen2_5_VLForConditionalGeneration(config)
    architectures.save(folder, model, processor, seed)
    told = folder / "generation_config.json"
    defaults = {"do_sample": True, "repetition_penalty": 1.3, "top_k": 1}
    told.write_text(json.dumps({**json.loads(told.read_text()), **defaults}))
    return folder


def picture(colour: str, size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """A colour with noise."""
    width, height = size
    base = np.asarray(COLOURS[colour][0], dtype=np.float64)
    pixels = base + rng.normal(0.0, 25.0, (height, width, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def write_questions(folder: Path, name: str, rounds: int, seed: int) -> Path:
    """`folder/name.jsonl` with answers, and its pictures.

    Args:
        rounds: how often every kind of question is asked about every colour.
    """
    rng = np.random.default_rng(seed)
    names, rows = list(COLOURS), list[dict[str, Any]]()

    def add(problem: str, answer: str, colours: list[str], response: str | None = None) -> None:
        files = []
        for colour in colours:
            files.append(f"{name}-{len(rows)}-{len(files)}.png")
            size = SIZES[int(rng.integers(len(SIZES)))]
            picture(colour, size, rng).save(folder / files[-1])
        row = {"id": f"{name}{len(rows)}", "problem": problem, "answer": answer, "images": files}
        rows.append(row if response is None else {**row, "response": response})

    for number in range(rounds):
        for place, colour in enumerate(names):
            other = names[int(rng.integers(len(names)))]
            japanese = COLOURS[colour][1]
            order = [str(one) for one in rng.permutation(names)]
            listed = "\n".join(f"{label}. {one}" for label, one in zip("ABCD", order, strict=True))
            add("<image>What colour is it?", colour, [colour])
            add("<image>これは何色ですか？", japanese, [colour])
            add(f"<image>Which one?\n{listed}", "ABCD"[order.index(colour)], [colour])
            add("<image> and then <image>: which colours?", f"{colour} {other}", [colour, other])
            tail = japanese * 8 if number % 2 else " really" * 3
            add(
                f"<image>Tell a story{'：長く' if number % 2 else ''}.", colour, [colour],
                f"x{' ' * (place % 3)}{colour}{tail} \\boxed{{{colour}}}",
            )  # fmt: skip
            add(f"{place}+{number % 4}=?", str(place + number % 4), [])
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    place_of = folder / f"{name}.jsonl"
    place_of.write_text(lines, encoding="utf-8")
    return place_of
