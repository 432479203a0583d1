"""The model card that every checkpoint carries."""

from __future__ import annotations

from mmupt.config import Config, dump_config
from mmupt.guard.watch import Outcome
from mmupt.version import __version__


def model_card(
    stage: str,
    config: Config,
    labels_used: int,
    how: str | None = None,
    outcome: Outcome | None = None,
) -> str:
    """README.md of a checkpoint folder: what it is, how it was made, what to be careful about.

    Args:
        stage: name of the stage that made it.
        config: of the run.
        labels_used: by this stage.
        how: how it learned; None: as the stage's name says.
        outcome: how a watched round ended.
    """
    base = config.model.path.name if config.model.path else "unknown"
    how = how or {
        "sft": f"supervised fine-tuning on {labels_used} labelled rows",
        "supervised": f"GRPO towards {labels_used} true answers, an upper bound for comparison",
        "published": "online majority-vote GRPO as published (arXiv 2505.22453), for comparison",
    }.get(
        stage, "label-free GRPO on majority pseudo-labels (arXiv 2505.22453); no labels were used"
    )
    return f"""---
library_name: transformers
pipeline_tag: image-text-to-text
tags: [mmupt, {stage}]
---
# {base}: {stage}

Made by mmupt {__version__}: {how}.{_guarded(outcome)}

Load it with `AutoModelForImageTextToText.from_pretrained` and `AutoProcessor.from_pretrained`.
{_adapter(config)}
## Limits

The majority of a model's own answers can be wrong, and training on it makes the model surer of
the same mistake. Measure it on held-out questions with known answers before it is used.
The licence of the starting model and of the data hold on.

## Configuration

```yaml
{dump_config(config).rstrip()}
```
"""


def _adapter(config: Config) -> str:
    """What is in `adapter/`; nothing where the weights themselves are trained."""
    if config.lora is None:
        return ""
    kind = "DoRA" if config.lora.use_dora else "LoRA"
    return f"""
It is the model that this stage started from with a {kind} adapter merged into it. The adapter by
itself, for peft, is in `adapter/`.
"""


def _guarded(outcome: Outcome | None) -> str:
    """A sentence about a watched round; nothing where nothing watched."""
    if outcome is None or outcome.best_step is None:
        return ""
    end = f"stopped it after {outcome.steps}" if outcome.stopped else f"saw {outcome.steps}"
    rules = f" ({', '.join(outcome.stopped_by)})" if outcome.stopped else ""
    return f" The guard {end} updates{rules}; this is the checkpoint of update {outcome.best_step}."
