"""From a question and its pictures to what the model takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from mmupt.asking.prompt import IMAGE_MARK, Prompt
from mmupt.clock import part
from mmupt.errors import InputError
from mmupt.policy.model import Policy


@dataclass(frozen=True)
class PromptBatch:
    """B encoded prompts, left-padded to L tokens.

    Attributes:
        features: keyword arguments of the model's forward; `input_ids` and `attention_mask`
            are (B, L).
        prompts: what was encoded, so that it can be encoded again in parts.
    """

    features: dict[str, torch.Tensor]
    prompts: tuple[Prompt, ...] = ()

    @property
    def attention_mask(self) -> torch.Tensor:
        return self.features["attention_mask"]

    @property
    def lengths(self) -> torch.Tensor:
        """Tokens of each prompt without its padding, (B,)."""
        return self.attention_mask.sum(-1)

    def __len__(self) -> int:
        return int(self.attention_mask.shape[0])


def chat_text(policy: Policy, problem: str) -> str:
    """The problem as the user's turn in the model's own chat format, up to the reply."""
    return turn_text(policy.processor, problem)


def turn_text(processor: Any, problem: str) -> str:
    """As `chat_text`, for a processor without its model."""
    content: list[dict[str, str]] = []
    for index, piece in enumerate(problem.split(IMAGE_MARK)):
        if index:
            content.append({"type": "image"})
        if piece.strip():
            content.append({"type": "text", "text": piece.strip()})
    messages = [{"role": "user", "content": content}]
    text: str = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return text


def encode(policy: Policy, prompts: Sequence[Prompt]) -> PromptBatch:
    """Encode prompts with the model's processor, as its own `apply_chat_template` would.

    Prompts are never cut: a cut prompt loses image tokens and the model then fails, or worse,
    answers without the picture.

    Raises:
        InputError: a prompt is longer than the policy's `max_prompt_length` or than the model has
            positions for; it has no picture and the model's processor needs one; or the processor
            refuses it, such as a text that holds the model's own image tokens.
    """
    texts = [chat_text(policy, p.problem) for p in prompts]
    arguments: dict[str, Any] = {"padding": True, "return_tensors": "pt"}
    if any(p.images for p in prompts):
        arguments["images"] = [list(p.images) for p in prompts]
    if "mm_token_type_ids" in policy.forward_names:
        arguments["return_mm_token_type_ids"] = True
    begin = policy.tokenizer.bos_token
    if begin and texts[0].startswith(begin):  # the template has written it; once is enough
        arguments["add_special_tokens"] = False
    blind = next((p for p in prompts if not p.images), None)
    if blind is not None and not takes_text_alone(policy):
        raise InputError(
            f"{blind.origin or 'prompt'}: no image, and the processor of {policy.path} takes no "
            "text without one; leave such rows out or use another model"
        )
    try:
        with part("images"):
            encoded = policy.processor(text=texts, **arguments)
    except ValueError as error:
        raise InputError(
            f"{_between(prompts)}: refused by the processor of {policy.path}: {error}"
        ) from error
    wanted = policy.forward_names - {"labels"}  # PaliGemma's processor makes labels of the prompt
    features = {
        name: value.to(policy.device, policy.model.dtype if value.is_floating_point() else None)
        for name, value in encoded.items()
        if isinstance(value, torch.Tensor) and name in wanted
    }
    batch = PromptBatch(features, tuple(prompts))
    limit = min(policy.max_length, policy.max_prompt_length or policy.max_length)
    longest = int(batch.lengths.max())
    if longest > limit:
        worst = prompts[int(batch.lengths.argmax())]
        raise InputError(
            f"{worst.origin or 'prompt'}: {longest} tokens with its images, the limit is {limit}; "
            "shorten the problem, use smaller images, or raise model.max_prompt_length"
        )
    return batch


def takes_text_alone(policy: Policy) -> bool:
    """Whether the processor takes a prompt without pictures; PaliGemma's does not.

    Beside prompts that have some it would take one, and spoil it.
    """
    try:
        policy.processor(text=[chat_text(policy, "?")])
    except ValueError:
        return False
    return True


def _between(prompts: Sequence[Prompt]) -> str:
    """Where prompts come from: the first and the last of them."""
    ends = dict.fromkeys((prompts[0].origin, prompts[-1].origin))
    return " to ".join(filter(None, ends)) or "prompts"
