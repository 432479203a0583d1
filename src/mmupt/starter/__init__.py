"""A first configuration for a company's own photographs: from a few answers to commented YAML.

The values are for a vision-language model of two to eight billion parameters with LoRA on one GPU,
or for a small one that trains as a whole. Why they are as they are: docs/decisions/0001-recipe.md,
docs/guard.md; the comments of the file say it in short.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unicodedata import category

import yaml

from mmupt.errors import ConfigError
from mmupt.words import texts

KINDS = ("auto", "number", "choice", "yesno", "text", "boxed", "json")
"""Kinds of answer that can be asked for, see `mmupt.extract`."""

TYPICAL_PRICES: Mapping[str, tuple[float, float, float]] = {
    "USD": (0.5, 30.0, 1.5),
    "EUR": (0.5, 28.0, 1.4),
    "JPY": (75.0, 3000.0, 220.0),
}
"""Assumed price of a label, of a reviewer's hour and of a machine's hour (one GPU), where the
company gives none. There are none to assume in other currencies."""

ANSWERS_PER_LABEL = 50
"""A correct answer is assumed to be worth this part of what a label costs."""

OUT = "project"
"""Run folder beside the file."""

_ODD = ("Cc", "Cf", "Cn", "Co", "Zl", "Zp")

SMALL_MODEL = 2**30
"""Weights up to this many bytes train as a whole by default, larger ones with LoRA, in bfloat16."""


@dataclass(frozen=True)
class Answers:
    """What a company says about its project.

    Attributes:
        model: folder of the starting model.
        unlabelled: rows for the label-free rounds.
        test: held-out rows with answers.
        labelled: rows with answers for SFT; None leaves that stage out.
        kind: one of `KINDS`.
        label_price: of one label, in `currency`.
        reviewer_wage: of one hour.
        machine_price: of one hour.
        currency: ISO 4217 code.
        min_precision: precision of pseudo-labels that a round must prove, in [0, 1].
        lora: train an adapter instead of the weights.
        large: the model needs care with memory, see `is_large`.
    """

    model: Path
    unlabelled: Path
    test: Path
    labelled: Path | None = None
    kind: str = "auto"
    label_price: float = 0.5
    reviewer_wage: float = 30.0
    machine_price: float = 1.5
    currency: str = "USD"
    min_precision: float = 0.7
    lora: bool = True
    large: bool = True


def settings(answers: Answers, folder: Path) -> dict[str, Any]:
    """The tree that the file holds: sections of keys and values, in the file's order.

    Args:
        answers: absolute paths where they do not lie below `folder`.
        folder: absolute folder of the file.
    """
    lora, sft = answers.lora, answers.labelled is not None
    data = {
        "labelled": _place(answers.labelled, folder) if answers.labelled else None,
        "unlabelled": _place(answers.unlabelled, folder),
        "test": _place(answers.test, folder),
    }
    return {
        "seed": 0,
        "out": OUT,
        "model": {
            "path": _place(answers.model, folder),
            "device": "auto",
            "dtype": "bfloat16" if answers.large else "float32",
        },
        "lora": {"r": 16, "lora_alpha": 32} if lora else None,
        "data": data,
        "views": {
            "rotate": 3.0,
            "shear": 0.03,
            "scale": [0.95, 1.05],
            "shift": 0.02,
            "crop": 0.04,
            "resize": 0.75,
            "blur": 0.002,
            "brightness": [0.85, 1.15],
            "contrast": [0.85, 1.15],
            "noise": 0.02,
            "shuffle_options": answers.kind == "choice",
        },
        "sft": {
            "learning_rate": 1e-4 if lora else 1e-5,
            "num_train_epochs": 3.0,
            "per_device_train_batch_size": 4 if answers.large else 16,
            "augment": True,
        }
        if sft
        else None,
        "consensus": {
            "kind": answers.kind,
            "teacher": "ema",
            "ema_decay": 0.95,
            "views": 8,
            "temperature": 0.0,
            "strategy": "frequency",
            "min_share": 0.5,
        },
        "train": {
            "rounds": 1,
            "max_steps": 80,
            "prompts_per_step": 16,
            "num_generations": 8,
            "views": 2,
            "max_completion_length": 256,
            "learning_rate": 1e-5 if lora else 1e-6,
            "lr_scheduler_type": "linear",
            "warmup_steps": 5,
            "gradient_checkpointing": answers.large,
            "micro_batch_size": 4 if answers.large else 32,
            "anchor_fraction": 0.0,
        },
        "guard": {"action": "rollback-to-best", "steps": 10, "probe_size": 256},
        "eval": {
            "kind": answers.kind,
            "num_samples": 8,
            "max_completion_length": 256,
            "batch_size": 16 if answers.large else 64,
        },
        "pilot": {"rows": 200, "require": "suitable"},
        "audit": {"design": "risk-first", "max_verdicts": 200, "reviewers": 1, "slices": []},
        "rules": {"number_range": None, "unit": None},
        "gate": {
            "min_precision": answers.min_precision,
            "max_regression": 0.03,
            "max_slice_drop": 0.1,
            "slices": [],
        },
        "promotion": {"auto": True, "rollout": "100%"},
        "roi": {
            "currency": answers.currency,
            "label_price": answers.label_price,
            "reviewer_wage": answers.reviewer_wage,
            "machine_price": answers.machine_price,
            "correct_answer_value": float(f"{answers.label_price / ANSWERS_PER_LABEL:.4g}"),
            "answers_per_month": 100_000,
        },
    }


def config_text(answers: Answers, folder: Path, lang: str = "en") -> str:
    """The file: every section with what it is for and what people usually change.

    Args:
        answers: what the company said.
        folder: absolute folder that the file will lie in.
        lang: language of the comments, `en` or `ja`.

    Raises:
        ConfigError: a path whose name is not Unicode, or an unknown language.
    """
    words = texts("mmupt.starter", lang)
    lines = [_comment(words["head"])]
    for section, value in settings(answers, folder).items():
        about = words.get(f"{section}.none") if value is None else words.get(section)
        if about:
            lines += ["", _comment(about)]
        if not isinstance(value, dict):
            lines.append(f"{section}: {_scalar(value)}")
            continue
        lines.append(f"{section}:")
        pairs = [(f"  {key}: {_scalar(one)}", f"{section}.{key}") for key, one in value.items()]
        width = min(34, max(len(pair) for pair, _ in pairs))
        for pair, name in pairs:
            note = words.get(name)
            lines.append(f"{pair:{width}}  # {note}" if note else pair)
    return "\n".join(lines) + "\n"


def is_large(weight_bytes: int) -> bool:
    """Whether a model is too large to train as a whole on an ordinary machine."""
    return weight_bytes > SMALL_MODEL


def check_price(value: float, name: str) -> float:
    """A price as it is.

    Raises:
        ConfigError: below 0, or no number.
    """
    if not (math.isfinite(value) and value >= 0):
        raise ConfigError(f"{name}: expected a price of 0 or more, such as 0.5, found {value}")
    return value


def check_share(value: float, name: str) -> float:
    """A share as it is.

    Raises:
        ConfigError: not between 0 and 1.
    """
    if not 0 <= value <= 1:
        raise ConfigError(f"{name}: expected a share from 0 to 1, such as 0.7, found {value}")
    return value


def check_currency(value: str, name: str) -> str:
    """An ISO 4217 code in capitals.

    Raises:
        ConfigError: not three letters.
    """
    code = value.strip().upper()
    if not (len(code) == 3 and code.isascii() and code.isalpha()):
        raise ConfigError(f"{name}: expected three letters such as USD, found {value!r:.40}")
    return code


def check_kind(value: str, name: str) -> str:
    """A kind of answer.

    Raises:
        ConfigError: not one of `KINDS`.
    """
    kind = value.strip()
    if kind not in KINDS:
        raise ConfigError(f"{name}: expected one of {', '.join(KINDS)}, found {value!r:.40}")
    return kind


def _place(path: Path, folder: Path) -> str:
    """As the file says it: relative where it lies below the file's folder, else absolute."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        shown = str(path).encode("utf-8", "backslashreplace").decode()
        raise ConfigError(
            f"{shown}: its name is not Unicode and cannot stand in a file; rename it"
        ) from None
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def _scalar(value: object) -> str:
    """A value on one line, quoted where YAML needs it."""
    # PyYAML reads some line ends, such as U+0085, back as spaces unless they are escaped.
    odd = isinstance(value, str) and any(category(c) in _ODD for c in value)
    text = yaml.safe_dump(
        value,
        default_flow_style=True,
        default_style='"' if odd else None,
        allow_unicode=not odd,
        width=2**31,
    )
    return text.removesuffix("\n").removesuffix("\n...")


def _comment(text: str) -> str:
    return "\n".join(f"# {line}".rstrip() for line in text.split("\n"))
