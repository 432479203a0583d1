"""A small Qwen2.5-VL on disk, its prompts and pictures: what the engine's benchmarks run on.

Real classes from a configuration and a seed; hidden 256, four vision and four text layers. Nothing
is fetched.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from PIL import Image

VOCABULARY = 4096
SPECIAL = ("<pad>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
           "<|image_pad|>", "<|video_pad|>")  # fmt: skip
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def operators() -> None:
    """Two operators that published torchvision wheels miss beside a CPU build of torch.

    Its processors never call them; without their schemas it cannot be imported.
    """
    sys.path.append(str(Path(sys.prefix) / "torchvision"))  # where `make setup` puts it
    if hasattr(operators, "library"):
        return
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    operators.library = library  # type: ignore[attr-defined]  # the schemas live as long as it
    sys.path.append(str(Path(sys.prefix) / "torchvision"))  # see the Makefile


def tokenizer() -> Any:
    """One token per byte; the rest of the vocabulary are words that no text has."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    words += [f"<w{i}>" for i in range(VOCABULARY - len(words))]
    backend = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",  # noqa: S106
        eos_token="<|im_end|>",  # noqa: S106
        additional_special_tokens=list(SPECIAL[3:]),
        padding_side="left",
        chat_template=CHAT_TEMPLATE,
    )


def save_model(folder: Path, hidden: int = 256, layers: int = 4, seed: int = 0) -> Path:
    """Write model and processor; returns the folder."""
    operators()
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
    )
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor
    from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor
    from transformers.utils import logging

    logging.disable_progress_bar()
    words = tokenizer()
    ids = dict(zip(SPECIAL, words.convert_tokens_to_ids(list(SPECIAL)), strict=True))
    heads = hidden // 64
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": VOCABULARY, "hidden_size": hidden, "intermediate_size": 2 * hidden,
            "num_hidden_layers": layers, "num_attention_heads": heads,
            "num_key_value_heads": max(1, heads // 2), "max_position_embeddings": 8192,
            "rope_parameters": {"rope_type": "default", "mrope_section": [8, 12, 12],
                                "rope_theta": 1e6},
            "tie_word_embeddings": False, "pad_token_id": ids["<pad>"],
            "eos_token_id": ids["<|im_end|>"], "bos_token_id": None,
        },
        vision_config={
            "depth": layers, "hidden_size": hidden, "intermediate_size": 2 * hidden,
            "num_heads": heads, "out_hidden_size": hidden, "patch_size": 14,
            "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 112,
            "fullatt_block_indexes": [layers - 1],
        },
        image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"], vision_end_token_id=ids["<|vision_end|>"],
    )  # fmt: skip
    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = ids["<|im_end|>"]
    model.generation_config.pad_token_id = ids["<pad>"]
    with torch.no_grad():
        for name, weight in model.named_parameters():  # larger than 0.02: the picture counts
            if weight.ndim >= 2 and "embed" not in name:
                weight.normal_(0.0, weight[0].numel() ** -0.5)
    size = {"shortest_edge": 28 * 28, "longest_edge": 4096 * 28 * 28}
    processor = Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=size),
        tokenizer=words,
        video_processor=Qwen2VLVideoProcessor(),
        chat_template=CHAT_TEMPLATE,
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def picture(image_tokens: int, seed: int) -> Image.Image:
    """Noise of a size that becomes `image_tokens` tokens: 16, 256, 1024 (a square of 28 pixels
    each)."""
    side = 28 * round(image_tokens**0.5)
    noise = torch.randint(0, 256, (side, side, 3), generator=torch.Generator().manual_seed(seed))
    return Image.fromarray(noise.to(torch.uint8).numpy())
