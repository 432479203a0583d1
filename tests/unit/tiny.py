"""Tiny models, pictures and prompts, and the slow way to score a completion.

Everything here is built from configuration classes and seeds; nothing is fetched. The naive
functions know transformers' forward and the formulas, and nothing of `mmupt`: no cache, no shared
prompt, no padding, one row at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from mmupt.asking.prompt import Prompt
from mmupt.ballots import filters_of
from mmupt.config import Config, ConsensusConfig
from mmupt.consensus.filters import keep
from mmupt.consensus.vote import vote
from mmupt.pipeline.pilot_rows import RowFigures, figures_of
from mmupt.policy.inputs import PromptBatch
from mmupt.policy.model import Policy

SPECIAL = (
    "<pad>",
    "<bos>",
    "<end_of_utterance>",
    "<fake_token_around_image>",
    "<image>",
    "<global-img>",
)
CHAT_TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<end_of_utterance>{% endfor %}{% if add_generation_prompt %}={% endif %}"
)
SIDE, PATCH = 32, 8
"""Pictures become 32 x 32, 16 patches, 4 image tokens."""


def spread_weights(model: nn.Module, seed: int) -> None:
    """Weights of natural size instead of the usual 0.02.

    A tiny model as it is initialised gives almost uniform tokens and hardly sees the picture, so
    that a test of it would pass with the picture left out.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            draw = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim < 2:
                parameter.copy_((1.0 if "weight" in name else 0.0) + 0.1 * draw)
            elif "embed_tokens" in name or "lm_head" in name:
                parameter.copy_(0.25 * draw)
            else:
                parameter.copy_(draw / parameter[0].numel() ** 0.5)


def byte_tokenizer() -> Any:
    """One token per byte, and the special ones; no merges, so any text round-trips."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=SPECIAL[0],
        bos_token=SPECIAL[1],
        eos_token=SPECIAL[2],
        additional_special_tokens=list(SPECIAL[3:]),
        padding_side="left",
        model_max_length=256,
    )


def save_idefics3(folder: Path, seed: int = 0, stops: Sequence[int] = (2,)) -> Path:
    """A complete Idefics3 folder: hidden 32, two vision and two text layers, 50,000 weights.

    Args:
        folder: is made.
        seed: draws the weights.
        stops: tokens that end a turn.
    """
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration, Idefics3Processor
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

    tokenizer = byte_tokenizer()
    images = Idefics3ImageProcessorPil(
        size={"longest_edge": SIDE},
        max_image_size={"longest_edge": SIDE},
        do_image_splitting=False,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    token = tokenizer.convert_tokens_to_ids
    config = Idefics3Config(
        image_token_id=token("<image>"),
        scale_factor=2,
        tie_word_embeddings=True,
        pad_token_id=token("<pad>"),
        text_config={
            "model_type": "llama",
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 256,
            "tie_word_embeddings": True,
            "pad_token_id": token("<pad>"),
            "bos_token_id": token("<bos>"),
            "eos_token_id": token("<end_of_utterance>"),
        },
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": SIDE,
            "patch_size": PATCH,
        },
    )
    model = Idefics3ForConditionalGeneration(config)
    spread_weights(model, seed)
    model.generation_config.eos_token_id = list(stops)
    model.generation_config.pad_token_id = token("<pad>")
    model.save_pretrained(folder)
    tokens = (SIDE // PATCH // config.scale_factor) ** 2
    Idefics3Processor(
        images, tokenizer, image_seq_len=tokens, chat_template=CHAT_TEMPLATE
    ).save_pretrained(folder)
    return folder


def picture(seed: int, width: int = SIDE, height: int = SIDE) -> Image.Image:
    """Coloured noise, so that no two pictures look alike to the model."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


Row = dict[str, torch.Tensor]
"""What the model's forward takes for one prompt, without padding."""


def idefics3_row(policy: Policy, prompt: Prompt) -> Row:
    """One prompt through the processor alone: the template written out by hand, no padding."""
    text = prompt.problem + "<end_of_utterance>="
    pictures = {"images": [list(prompt.images)]} if prompt.images else {}
    return dict(policy.processor(text=[text], **pictures, return_tensors="pt"))


def naive_logprobs(
    model: Any, row: Row, completion: Sequence[int], temperature: float = 1.0
) -> torch.Tensor:
    """log pi(y_t | x, y_<t) for t = 1..T by one plain forward over prompt and completion."""
    return naive_distributions(model, row, completion, temperature)[
        torch.arange(len(completion)), torch.tensor(list(completion))
    ]


def naive_distributions(
    model: Any, row: Row, completion: Sequence[int], temperature: float = 1.0
) -> torch.Tensor:
    """The log-probabilities of all tokens at each place of a completion, (T, V)."""
    prompt = row["input_ids"].shape[1]
    reply = torch.tensor([list(completion)])
    full = {**row, "input_ids": torch.cat([row["input_ids"], reply], dim=1)}
    full["attention_mask"] = torch.ones_like(full["input_ids"])
    if "mm_token_type_ids" in row:
        full["mm_token_type_ids"] = torch.cat(
            [row["mm_token_type_ids"], torch.zeros_like(reply)], dim=1
        )
    logits = model(**full, use_cache=False).logits[0, prompt - 1 : -1]
    scores: torch.Tensor = logits / temperature
    return scores - scores.logsumexp(-1, keepdim=True)


QWEN_IMAGE, QWEN_START, QWEN_END, QWEN_EOS, QWEN_VOCABULARY = 90, 91, 92, 1, 96


class StubTokenizer:
    """What the sampler asks of a tokenizer. Qwen's processor needs torchvision, its model not."""

    pad_token_id = 0
    eos_token_id = QWEN_EOS

    def batch_decode(self, rows: Sequence[Sequence[int]], skip_special_tokens: bool) -> list[str]:
        assert skip_special_tokens
        return [" ".join(str(i) for i in row if i != QWEN_EOS) for row in rows]


class StubProcessor:
    tokenizer = StubTokenizer()


def qwen_policy(seed: int = 0) -> Policy:
    """Qwen2.5-VL with two vision and two text layers, and multimodal rotary positions."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    config = Qwen2_5_VLConfig(
        image_token_id=QWEN_IMAGE,
        video_token_id=93,
        vision_start_token_id=QWEN_START,
        vision_end_token_id=QWEN_END,
        text_config={
            "vocab_size": QWEN_VOCABULARY,
            "hidden_size": 64,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 256,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 100.0,
                "mrope_section": [2, 3, 3],
            },
            "bos_token_id": 2,
            "eos_token_id": QWEN_EOS,
            "pad_token_id": 0,
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 4,
            "patch_size": 4,
            "temporal_patch_size": 2,
            "spatial_merge_size": 2,
            "window_size": 16,
            "fullatt_block_indexes": [1],
            "out_hidden_size": 64,
        },
    )
    model = Qwen2_5_VLForConditionalGeneration(config)
    spread_weights(model, seed)
    model.generation_config.eos_token_id = QWEN_EOS
    return Policy(model.eval(), StubProcessor(), Path("tiny-qwen"))


def qwen_row(seed: int, before: int, grids: Sequence[tuple[int, int]], after: int) -> Row:
    """Text, pictures, text, as Qwen's processor would lay them out.

    Args:
        seed: draws tokens and pixels.
        before, after: text tokens in front of and behind the pictures.
        grids: rows and columns of 4 x 4 patches per picture; four patches make one image token.
    """
    rng = np.random.default_rng(seed)
    tokens = [int(t) for t in rng.integers(3, 90, before)]
    kinds = [0] * before
    for rows, columns in grids:
        count = rows * columns // 4
        tokens += [QWEN_START, *[QWEN_IMAGE] * count, QWEN_END]
        kinds += [0, *[1] * count, 0]
    tokens += [int(t) for t in rng.integers(3, 90, after)]
    kinds += [0] * after
    row = {
        "input_ids": torch.tensor([tokens]),
        "attention_mask": torch.ones(1, len(tokens), dtype=torch.long),
    }
    if grids:
        patches = sum(rows * columns for rows, columns in grids)
        row["mm_token_type_ids"] = torch.tensor([kinds])
        row["pixel_values"] = torch.from_numpy(
            rng.standard_normal((patches, 3 * 2 * 4 * 4), dtype=np.float32)
        )
        row["image_grid_thw"] = torch.tensor([[1, rows, columns] for rows, columns in grids])
    return row


def left_padded(rows: Sequence[Mapping[str, torch.Tensor]]) -> PromptBatch:
    """Rows of different length as one batch, padded on the left with token 0."""
    width = max(row["input_ids"].shape[1] for row in rows)
    features: Row = {}
    per_token = ["input_ids", "attention_mask"]
    if any("mm_token_type_ids" in row for row in rows):
        per_token.append("mm_token_type_ids")
    for name in per_token:
        blank = torch.zeros(len(rows), width, dtype=torch.long)
        for line, row in zip(blank, rows, strict=True):
            if name in row:
                line[width - row[name].shape[1] :] = row[name][0]
        features[name] = blank
    for name in ("pixel_values", "image_grid_thw"):
        parts = [row[name] for row in rows if name in row]
        if parts:
            features[name] = torch.cat(parts)
    return PromptBatch(features)


def round_config(teacher: str, *, save_steps: int, max_steps: int) -> Config:
    """A label-free round in which the talker of `conftest.py` learns something in every step."""
    return Config.model_validate(
        {
            "seed": 4,
            "save_steps": save_steps,
            "consensus": {
                "teacher": teacher,
                "ema_decay": 0.7,
                "views": 2,
                "samples_per_view": 2,
                "temperature": 0.3,
                "min_share": 0.0,
            },
            "train": {
                "max_steps": max_steps,
                "prompts_per_step": 4,
                "num_generations": 16,
                "views": 2,
                "temperature": 0.7,
                "max_completion_length": 3,
                "learning_rate": 3e-3,
                "warmup_steps": 2,
                "beta": 0.05,
                "num_mini_batches": 2,
            },
            # It looks and decides, but lets the round go on: what is tested is the training.
            "guard": {
                "action": "warn",
                "load_best_model_at_end": False,
                "probe_views": 2,
                "jury_views": 2,
            },
        }
    )


def gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of every gradient; zeros where there is none."""
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad.detach().clone()
        for name, p in model.named_parameters()
    }


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def worst_error(found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> float:
    """Largest of |found - expected| / |expected| over the tensors, Euclidean norms.

    A tensor whose expected norm is below 1e-3 of the norm of all tensors together is measured
    against that floor: the key bias of an attention cancels in its softmax, its gradient is
    rounding and nothing else, and a relative error of rounding says nothing.
    """
    assert found.keys() == expected.keys()
    whole = sum(float(e.double().square().sum()) for e in expected.values()) ** 0.5
    assert whole > 0.0
    return max(
        float((found[name].double() - e.double()).norm())
        / max(float(e.double().norm()), 1e-3 * whole)
        for name, e in expected.items()
    )


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    """Bit for bit."""
    left, right = weights(one), weights(other)
    return left.keys() == right.keys() and all(
        torch.equal(left[name], right[name]) for name in left
    )


def judge(
    answers: Sequence[str | None], views: Sequence[int], config: ConsensusConfig
) -> RowFigures:
    """The figures of a pilot's row by the majority and the filters of `config`."""
    outcome = vote(answers, kind=config.kind, rtol=config.rtol)
    (kept,) = keep([outcome], filters_of(config))
    return figures_of(outcome, views, kept)
