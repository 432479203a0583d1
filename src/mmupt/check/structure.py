"""Whether the parts of a folder fit each other: tokenizer, processor, model."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from mmupt.check.results import Check
from mmupt.policy.inputs import PromptBatch
from mmupt.policy.model import Policy


def image_token_id(policy: Policy) -> int | None:
    """The token that stands for a part of a picture, as the model's configuration says."""
    found = getattr(policy.model.config, "image_token_id", None)
    return None if found is None else int(found)


def vocabulary(policy: Policy) -> Check:
    """Every token that the tokenizer can give has an embedding."""
    rows = int(policy.model.get_input_embeddings().num_embeddings)
    largest = max(policy.tokenizer.get_vocab().values())
    marks = {"image token": image_token_id(policy)}
    marks |= {"end token": max(policy.stop_ids), "pad token": policy.pad_id}
    outside = [f"{name} {i}" for name, i in marks.items() if i is not None and i >= rows]
    if largest >= rows:
        outside.insert(0, f"tokens up to {largest} of the tokenizer")
    return Check(
        "vocabulary",
        not outside,
        float(largest),
        float(rows - 1),
        f"{' and '.join(outside)} outside the model's {rows} embeddings: tokenizer.json and "
        "config.json belong to different models, or the embeddings were not resized"
        if outside
        else "every token has an embedding",
    )


def image_tokens(policy: Policy, batch: PromptBatch) -> Check:
    """The processor writes as many image tokens as the model makes features of the pictures."""
    mark = image_token_id(policy)
    written = batch.features["input_ids"].flatten().tolist().count(mark)
    try:
        made = feature_count(policy.model, batch)
    except (RuntimeError, ValueError, IndexError, TypeError, AttributeError) as error:
        return Check(
            "image tokens",
            False,
            float(written),
            None,
            f"the vision tower fails on what the processor makes of a picture: {_first(error)}; "
            "preprocessor_config.json (image or patch size) does not fit config.json",
        )
    if written == made and written:
        message = "the processor writes as many image tokens as the model makes features"
    elif not written:
        message = (
            f"no image token (id {mark}, from config.json) in the encoded prompt: the chat "
            "template leaves pictures out, or the processor uses another token"
        )
    else:
        message = (
            f"the processor writes {written} image tokens, the model makes {made} features of the "
            "same pictures: patch, merge or sequence size of the processor's configuration does "
            "not fit config.json"
        )
    return Check("image tokens", written == made and written > 0, float(written), made, message)


def feature_count(model: Any, batch: PromptBatch) -> int:
    """How many image features the model makes of a batch's pictures, one for each token."""
    inner = getattr(model, "model", model)
    function = inner.get_image_features
    named = inspect.signature(function).parameters
    arguments = {k: v for k, v in batch.features.items() if k in named and k != "attention_mask"}
    with torch.no_grad():
        output = function(**arguments)
    found = getattr(output, "pooler_output", output)
    parts = list(found) if isinstance(found, list | tuple) else [found]
    return sum(part.numel() // part.shape[-1] for part in parts)


def fallbacks(policy: Policy, longest: int) -> list[str]:
    """What is done instead of what the model lacks or does otherwise.

    Args:
        longest: tokens of the longest prompt and reply.
    """
    found = []
    text = policy.model.config.get_text_config()
    window = getattr(text, "sliding_window", None)
    kinds = getattr(text, "layer_types", None) or ["sliding_attention"]
    if window is not None and window < longest and "sliding_attention" in kinds:
        found.append(
            f"layers that see {window} tokens back: they get the prompt's keys for every "
            "completion, which is slower and takes more memory; results are the same"
        )
    if getattr(text, "attn_logit_softcapping", None) is not None:
        found.append(
            "attention scores are capped: every completion gets the prompt's keys, which is "
            "slower and takes more memory; results are the same"
        )
    if policy.tokenizer.eos_token_id is None:
        found.append(
            "the tokenizer names no end token: that of the generation config is used "
            f"({policy.end_of_turn})"
        )
    if not hasattr(text, "max_position_embeddings"):
        found.append("the configuration names no longest sequence: none is enforced")
    return found


def _first(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
