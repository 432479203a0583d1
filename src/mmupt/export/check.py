"""Does what was written answer as what it was made from?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmupt.asking.prompt import Prompt
from mmupt.errors import ModelError
from mmupt.export.formats import Format, loaded, put_on
from mmupt.export.source import Source, adapter_base

if TYPE_CHECKING:
    from mmupt.policy.model import Policy
    from mmupt.types import Completion

MOST_TOKENS = 48
"""Longest greedy answer that is compared, in tokens."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What was compared.

    Attributes:
        prompts: questions that both were asked.
        equal: those with the same greedy tokens.
        equal_text: those with the same text.
        chat_template: whether a question becomes the same prompt.
        end_of_turn: whether the same tokens end a turn, and the tokenizer knows them by the same
            names.
        against: what it was compared with.
    """

    prompts: int
    equal: int
    equal_text: int
    chat_template: bool
    end_of_turn: bool
    against: str

    @property
    def passed(self) -> bool:
        return self.equal == self.prompts and self.chat_template and self.end_of_turn

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "passed": self.passed}


def check_export(
    kind: Format,
    source: Source,
    folder: Path,
    dtype: str | None,
    prompts: Sequence[Prompt],
) -> Checked:
    """Load an exported folder anew and ask it and its source the same questions.

    Both compute in float32. Where the export has narrower weights than its source, the source's
    are rounded the same way first, so that what is compared is the export and not the rounding.
    """
    wanted = dtype or ("bfloat16" if kind == "gguf-ready" else None)
    before = loaded(source, wanted)
    before.model.float()
    after = _exported(kind, source, folder)
    one, other = _answers(before, prompts), _answers(after, prompts)
    pairs = list(zip(one, other, strict=True))
    return Checked(
        prompts=len(prompts),
        equal=sum(a.token_ids == b.token_ids for a, b in pairs),
        equal_text=sum(a.text == b.text for a, b in pairs),
        chat_template=_chat(before, prompts) == _chat(after, prompts),
        end_of_turn=_ends(before) == _ends(after) and bool(_ends(after)),
        against=f"the source in {wanted}" if wanted else "the source",
    )


def made_prompts() -> list[Prompt]:
    """Questions about made pictures, for whoever has none at hand."""
    from PIL import Image, ImageDraw

    prompts = []
    for number in range(6):
        picture = Image.new("RGB", (96, 96), (255 - 20 * number, 200, 40 * number))
        draw = ImageDraw.Draw(picture)
        draw.ellipse((8 * number, 10, 8 * number + 40, 50), fill=(30, 30, 200))
        draw.text((20, 60), f"{number * 137}", fill=(0, 0, 0))
        prompts.append(Prompt(f"<image>What is shown in picture {number}?", (picture,)))
    return prompts


def _exported(kind: Format, source: Source, folder: Path) -> Policy:
    from mmupt.policy.model import load_policy

    if kind != "peft":
        return load_policy(folder, dtype="float32", device="cpu")
    from dataclasses import replace

    from transformers import AutoProcessor

    policy = load_policy(_base_of(source), dtype="float32", device="cpu")
    put_on(policy.model, folder)
    policy.model.eval()
    processor = AutoProcessor.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )
    processor.tokenizer.padding_side = "left"
    if processor.tokenizer.pad_token is None:
        processor.tokenizer.pad_token = processor.tokenizer.eos_token
    return replace(policy, processor=processor)


def _base_of(source: Source) -> Path:
    """The model that an adapter belongs on.

    Raises:
        ModelError: it is not where the adapter says.
    """
    if not source.merged or source.adapter is None:
        return source.model
    base = source.base or adapter_base(source.adapter)
    if base is None:
        raise ModelError(
            f"{source.adapter}: its base model, which the check needs, is not where it says; give "
            "the base model's folder with --base"
        )
    return base


def _answers(policy: Policy, prompts: Sequence[Prompt]) -> list[Completion]:
    from mmupt.asking.answerer import SamplingParams, greedy
    from mmupt.policy.answers import LocalAnswerer

    params = SamplingParams(max_completion_length=MOST_TOKENS)
    (groups,) = LocalAnswerer(policy, 4).complete(prompts, [greedy(len(prompts), params)])
    return [completion for group in groups for completion in group if completion is not None]


def _chat(policy: Policy, prompts: Sequence[Prompt]) -> list[str]:
    from mmupt.policy.inputs import chat_text

    return [chat_text(policy, prompt.problem) for prompt in prompts]


def _ends(policy: Policy) -> list[tuple[int, str]]:
    return [(token, str(policy.tokenizer.decode([token]))) for token in policy.stop_ids]
