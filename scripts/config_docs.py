"""Write docs/config.md from the schema: `python scripts/config_docs.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from mmupt.config import Config
from mmupt.config_votes import Strategy

TARGET = Path(__file__).parent.parent / "docs" / "config.md"

STRATEGIES: tuple[Any, ...] = get_args(get_args(Strategy)[0])
"""The sections that `consensus.strategy` may be."""

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
    top = [name for name in Config.model_fields if section_of(name) is None]
    lines += ["", "## At the top", "", *table(Config, top)]
    for name in Config.model_fields:
        section = section_of(name)
        if section is not None:
            about = (section.__doc__ or "").splitlines()[0]
            lines += [
                "",
                f"## `{name}`",
                "",
                about,
                "",
                *table(section, list(section.model_fields)),
            ]
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


def section_of(name: str) -> Any:
    annotation = Config.model_fields[name].annotation
    for kind in (annotation, *getattr(annotation, "__args__", ())):
        if hasattr(kind, "model_fields"):
            return kind
    return None


def table(section: Any, names: list[str]) -> list[str]:
    rows = ["| key | default | meaning |", "|---|---|---|"]
    for name in names:
        field = section.model_fields[name]
        text = (field.description or STANDARD[name]).replace("\n", " ").replace("|", "\\|")
        default = "none" if field.default is None else field.default
        if name == "strategy":
            default = field.default.name
        rows.append(f"| `{name}` | `{default}` | {text} |")
    return rows


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")
