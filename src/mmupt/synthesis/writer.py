"""A copy of a model that was taught to write questions, on the unlabelled rows' own ones.

A small or narrow model answers every prompt and writes nothing. The questions of unlabelled rows
are themselves examples of writing: picture -> question, no answers needed. The copy writes; the
model as it is votes.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mmupt.asking.maker import PromptMaker
from mmupt.config import Config, dump_config
from mmupt.events import EventLog
from mmupt.policy.model import Policy, load_policy, save_policy
from mmupt.runs import RunFolder
from mmupt.synthesis.sources import Source
from mmupt.synthesis.wording import Request, writing_prompt
from mmupt.train.sft import run_sft
from mmupt.types import LabelledSample, Sample
from mmupt.version import __version__

STAGE = "writer"


def writing_rows(sources: Sequence[Source], count: int, seed: int) -> list[LabelledSample]:
    """`count` rows drawn at random: the request as it will be made, and the row's own question."""
    chosen = random.Random(f"{seed} {STAGE}").sample(sources, min(count, len(sources)))
    return [
        LabelledSample(_asked(source), answer=source.question, response=source.question)
        for source in chosen
    ]


def trained_writer(
    folder: RunFolder, config: Config, sources: Sequence[Source], count: int, log: EventLog
) -> Policy:
    """The writer of a run, fine-tuned once (section `sft`) and kept in the run's folder."""
    base = config.model.path
    assert config.sft is not None and base is not None  # noqa: S101, PT018  checked by the command
    path = folder.checkpoint(STAGE)
    if not path.exists():
        policy = load(config, base)
        maker = PromptMaker(config.views, max_pixels=config.model.max_pixels, seed=config.seed)
        rows = writing_rows(sources, count, config.seed)
        run_sft(
            policy, rows, config.sft, maker, log, state_dir=folder.state(STAGE),
            save_steps=config.save_steps, seed=config.seed, stage=STAGE,
        )  # fmt: skip
        save_policy(policy, path, _card(config, len(rows)))
    shutil.rmtree(folder.state(STAGE), ignore_errors=True)
    return load(config, path)


def load(config: Config, path: Path) -> Policy:
    """The model of a folder, held as the configuration says."""
    model = config.model
    return load_policy(
        path, dtype=model.dtype, device=model.device, max_prompt_length=model.max_prompt_length
    )


def _card(config: Config, rows: int) -> str:
    base = config.model.path.name if config.model.path else "unknown"
    return f"""---
library_name: transformers
pipeline_tag: image-text-to-text
tags: [mmupt, {STAGE}]
---
# {base}: a writer of questions

Made by mmupt {__version__}: supervised fine-tuning on the questions of {rows} unlabelled rows, to
write questions about pictures. No answers were used. It is not meant to answer questions.

## Configuration

```yaml
{dump_config(config).rstrip()}
```
"""


def _asked(source: Source) -> Sample:
    request = Request(len(source.sample.images), source.language, brief=True)
    return replace(source.sample, problem=writing_prompt(request), paraphrases=())


def special_tokens(policy: Policy) -> tuple[str, ...]:
    """Texts that a model's tokenizer reads as more than their letters, the image mark apart."""
    tokenizer = policy.tokenizer
    known = {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}
    return tuple(sorted(token for token in known if len(token.strip()) > 1 and not token.isalnum()))
