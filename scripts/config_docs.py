"""Write docs/config.md from the schema: `python scripts/config_docs.py`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

from mmupt.config import Config
from mmupt.config_votes import Section, Strategy

TARGET = Path(__file__).parent.parent / "docs" / "config.md"

STRATEGIES: tuple[Any, ...] = get_args(get_args(Strategy)[0])
"""The sections that `consensus.strategy` may be."""

STRATEGY = "consensus.strategy"

STANDARD = {
    "seed": "Seed of everything random.",
    "temperature": "Temperature of sampling.",
    "top_p": "Nucleus sampling: the smallest set of tokens with this much probability.",
    "top_k": "Only the so many most likely tokens; 0: all.",
    "max_completion_length": "Longest reply in tokens; a longer one is cut and abstains.",
    "learning_rate": "Peak learning rate of AdamW.",
    "weight_decay": "Weight decay, on matrices only.",
    "max_grad_norm": "The gradient is clipped to this norm.",
    "epsilon": "Lower clip of the policy ratio.",
    "scale_rewards": "Divide advantages by the deviation of the group's rewards (`group`), of all "
    "rewards of the step (`batch`), or not (`none`).",
}


def render() -> str:
    lines = [
        "# Configuration",
        "",
        "One YAML file configures every command (`--config`, `mmupt run`);",
        "`--set KEY=VALUE` overrides one setting. Unknown keys are refused. Names are those of TRL",
        "and transformers where they mean the same. Written by `python scripts/config_docs.py`.",
    ]
    top = [name for name in Config.model_fields if section_of(Config, name) is None]
    lines += ["", "## At the top", "", *table(Config, top)]
    for name in Config.model_fields:
        lines += chapter(Config, name, (name,))
    lines += [
        "",
        "## `consensus.strategy`",
        "",
        "A name (`strategy: frequency`) or a section with options "
        "(`strategy: {name: restrain, sigma: 0.5}`).",
        "",
        "| name | what it does |",
        "|---|---|",
    ]
    for strategy in STRATEGIES:
        about = " ".join((strategy.__doc__ or "").split())
        lines.append(f"| `{strategy.model_fields['name'].default}` | {about} |")
    for strategy in STRATEGIES:
        options = [name for name in strategy.model_fields if name != "name"]
        if options:
            lines += ["", f"Options of `{strategy.model_fields['name'].default}`:", ""]
            lines += table(strategy, options)
    return "\n".join(lines) + "\n"


def chapter(parent: Any, name: str, place: tuple[str, ...]) -> list[str]:
    """A section's heading, what it is for, its keys, and the sections inside it."""
    section = section_of(parent, name)
    if section is None or ".".join(place) == STRATEGY:
        return []
    about = words((section.__doc__ or "").partition("\n\n")[0])
    field = parent.model_fields[name]
    if field.description and type(None) in get_args(field.annotation):
        about += " " + words(field.description)
    heading = f"{'#' * (len(place) + 1)} `{'.'.join(place)}`"
    lines = ["", heading, "", about, "", *table(section, list(section.model_fields), place)]
    for inner in section.model_fields:
        lines += chapter(section, inner, (*place, inner))
    return lines


def section_of(parent: Any, name: str) -> Any:
    """The section that a field is, may be or is a list of; None where it is a value."""
    annotation = parent.model_fields[name].annotation
    for kind in (annotation, *get_args(annotation)):
        if hasattr(kind, "model_fields"):
            return kind
    return None


def table(section: Any, names: list[str], place: tuple[str, ...] = ()) -> list[str]:
    rows = ["| key | default | meaning |", "|---|---|---|"]
    for name in names:
        field = section.model_fields[name]
        text = words(field.description or STANDARD[name]).replace("|", "\\|")
        if ".".join((*place, name)) == STRATEGY:
            default = f"`{field.default.name}`"
        elif field.is_required():
            default = "required"
        elif isinstance(field.default, Section):
            default = "below"
        else:
            default = f"`{value(field.default)}`"
        rows.append(f"| `{name}` | {default} | {text} |")
    return rows


def words(description: str) -> str:
    """On one line; None is null in YAML."""
    return re.sub(r"\bNone\b", "`null`", " ".join(description.split()))


def value(default: Any) -> str:
    """As one writes it in the file."""
    return default if isinstance(default, str) else json.dumps(default, ensure_ascii=False)


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")
