"""Tiny image-text models as complete Hugging Face folders: ten architectures.

Real classes from configurations and a seed, with their real processors and one byte tokenizer;
nothing is fetched. Each has two vision and two text layers of width 32 and a few image tokens. What
makes an architecture special is kept: Qwen's windows and positions in three dimensions, tiles of
SmolVLM and InternVL, anyres grids of LLaVA-OneVision, Gemma's sliding window and its bidirectional
pictures, PaliGemma's bidirectional prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tiny

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"
MAX_LENGTH = 512
SIDE, PATCH = 32, 8
"""Fixed pictures are 32 x 32: 16 patches."""
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": MAX_LENGTH,
}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": SIDE,
    "patch_size": PATCH,
}
HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def tokenizer(special: Sequence[str], named: Mapping[str, str] | None = None) -> Any:
    """One token per byte behind the special ones; no merges, so any text round-trips.

    Args:
        special: the architecture's own tokens.
        named: attributes under which its processor looks for some of them.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = [PAD, BOS, EOS, *special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE({token: i for i, token in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    words = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        padding_side="left",
        model_max_length=MAX_LENGTH,
        extra_special_tokens=dict(named or {}),
    )
    words.add_special_tokens(
        {"additional_special_tokens": [t for t in special if t not in (named or {}).values()]},
        replace_extra_special_tokens=False,
    )
    return words


def template(image: str, start: str = "", turn: str = EOS, reply: str = "=") -> str:
    """A chat template: `start`, then text and pictures as they come, then the reply's mark."""
    return (
        start + "{% for message in messages %}{% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}" + image + "{% else %}{{ part['text'] }}{% endif %}"
        "{% endfor %}" + turn + "{% endfor %}{% if add_generation_prompt %}" + reply + "{% endif %}"
    )


def save(folder: Path, model: Any, processor: Any, seed: int) -> Path:
    """Draw the weights and write everything."""
    tiny.spread_weights(model, seed)
    words = processor.tokenizer
    model.generation_config.eos_token_id = words.eos_token_id
    model.generation_config.pad_token_id = words.pad_token_id
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def text_config(words: Any, model_type: str = "", **more: Any) -> dict[str, Any]:
    """The text model's part of a configuration."""
    named = {"model_type": model_type} if model_type else {}
    return {
        **named,
        **TEXT,
        "vocab_size": len(words),
        "pad_token_id": words.pad_token_id,
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        **more,
    }


QWEN_TOKENS = (
    "<|im_start|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
QWEN_TEMPLATE = template(
    "<|vision_start|><|image_pad|><|vision_end|>",
    start="<|im_start|>user\n",
    reply="<|im_start|>assistant\n",
)


def qwen_parts(
    patch: int,
) -> tuple[Any, dict[str, int], Any, Any]:
    """Tokenizer, token ids, image processor and video processor of the Qwen family.

    A picture becomes patches of `patch` pixels, four of which make one image token; it has between
    4 and 24 tokens whatever its size.
    """
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor
    from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

    words = tokenizer(QWEN_TOKENS)
    _, start, end, image, video = words.convert_tokens_to_ids(list(QWEN_TOKENS))
    ids = {
        "image_token_id": image,
        "video_token_id": video,
        "vision_start_token_id": start,
        "vision_end_token_id": end,
    }
    token = (2 * patch) ** 2
    sizes = {"size": {"shortest_edge": 4 * token, "longest_edge": 24 * token}}
    shape = {"patch_size": patch, "temporal_patch_size": 2, "merge_size": 2, **sizes, **HALF}
    return words, ids, Qwen2VLImageProcessor(**shape), Qwen2VLVideoProcessor(**shape)


def save_qwen2_vl(folder: Path, seed: int = 0) -> Path:
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration, Qwen2VLProcessor

    words, ids, images, videos = qwen_parts(patch=4)
    rope = {"rope_type": "default", "rope_theta": 100.0, "mrope_section": [1, 1, 2]}
    config = Qwen2VLConfig(
        text_config=text_config(words, rope_parameters=rope),
        vision_config={
            "depth": 2,
            "embed_dim": 32,
            "hidden_size": 32,
            "mlp_ratio": 2,
            "num_heads": 4,
            "patch_size": 4,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
        **ids,
    )
    processor = Qwen2VLProcessor(images, words, videos, chat_template=QWEN_TEMPLATE)
    return save(folder, Qwen2VLForConditionalGeneration(config), processor, seed)


def save_qwen2_5_vl(folder: Path, seed: int = 0) -> Path:
    """The first vision block sees windows of 2 x 2 image tokens, the second the whole picture."""
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
    )

    words, ids, images, videos = qwen_parts(patch=4)
    rope = {"rope_type": "default", "rope_theta": 100.0, "mrope_section": [1, 1, 2]}
    config = Qwen2_5_VLConfig(
        text_config=text_config(words, rope_parameters=rope),
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
            "out_hidden_size": 32,
        },
        **ids,
    )
    processor = Qwen2_5_VLProcessor(images, words, videos, chat_template=QWEN_TEMPLATE)
    return save(folder, Qwen2_5_VLForConditionalGeneration(config), processor, seed)


def save_qwen3_vl(folder: Path, seed: int = 0) -> Path:
    """Features of the first vision block are added again inside the text model (deepstack)."""
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration, Qwen3VLProcessor
    from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor

    words, ids, images, videos = qwen_parts(patch=4)
    rope = {"rope_type": "default", "rope_theta": 100.0, "mrope_section": [2, 1, 1]}
    config = Qwen3VLConfig(
        text_config=text_config(words, head_dim=8, rope_parameters=rope),
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 4,
            "patch_size": 4,
            "temporal_patch_size": 2,
            "spatial_merge_size": 2,
            "out_hidden_size": 32,
            "num_position_embeddings": 16,
            "deepstack_visual_indexes": [0],
        },
        **ids,
    )
    videos = Qwen3VLVideoProcessor(size=videos.size, patch_size=4, merge_size=2)
    processor = Qwen3VLProcessor(images, words, videos, chat_template=QWEN_TEMPLATE)
    return save(folder, Qwen3VLForConditionalGeneration(config), processor, seed)


def save_smolvlm(folder: Path, seed: int = 0) -> Path:
    """Pictures are cut into tiles of 32 x 32, at most 2 x 2, beside the picture as a whole."""
    from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration, SmolVLMProcessor
    from transformers.models.smolvlm.image_processing_smolvlm import SmolVLMImageProcessor
    from transformers.models.smolvlm.video_processing_smolvlm import SmolVLMVideoProcessor

    tiles = [f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2)]
    words = tokenizer(
        ("<end_of_utterance>", "<fake_token_around_image>", "<image>", "<global-img>", *tiles)
    )
    edges = {"size": {"longest_edge": 2 * SIDE}, "max_image_size": {"longest_edge": SIDE}}
    config = SmolVLMConfig(
        image_token_id=words.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        tie_word_embeddings=True,
        pad_token_id=words.pad_token_id,
        text_config=text_config(words, "llama", tie_word_embeddings=True),
        vision_config=VISION,
    )
    processor = SmolVLMProcessor(
        SmolVLMImageProcessor(**edges, do_image_splitting=True, **HALF),
        words,
        SmolVLMVideoProcessor(**edges, **HALF),
        image_seq_len=(SIDE // PATCH // 2) ** 2,
        chat_template=template("<image>", turn="<end_of_utterance>"),
    )
    return save(folder, SmolVLMForConditionalGeneration(config), processor, seed)


def save_llava(folder: Path, seed: int = 0) -> Path:
    """LLaVA 1.5: CLIP without its class token, 16 image tokens each."""
    from transformers import LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    words = tokenizer(("<image>",))
    config = LlavaConfig(
        text_config=text_config(words, "llama"),
        vision_config={"model_type": "clip_vision_model", "projection_dim": 32, **VISION},
        image_token_index=words.convert_tokens_to_ids("<image>"),
        image_seq_length=(SIDE // PATCH) ** 2,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )
    processor = LlavaProcessor(
        CLIPImageProcessorPil(
            size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}, **HALF
        ),
        words,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template("<image>", start="USER: ", turn=" ", reply="ASSISTANT:"),
    )
    return save(folder, LlavaForConditionalGeneration(config), processor, seed)


def save_llava_onevision(folder: Path, seed: int = 0) -> Path:
    """One picture alone is cut by the grid that fits it best; several are not cut."""
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        LlavaOnevisionProcessor,
    )
    from transformers.models.llava_onevision.image_processing_llava_onevision import (
        LlavaOnevisionImageProcessor,
    )
    from transformers.models.llava_onevision.video_processing_llava_onevision import (
        LlavaOnevisionVideoProcessor,
    )

    words = tokenizer(("<image>", "<video>"))
    patch = 16  # 4 patches a tile
    size = {"height": SIDE, "width": SIDE}
    grid = [[SIDE, SIDE], [SIDE, 2 * SIDE], [2 * SIDE, SIDE], [2 * SIDE, 2 * SIDE]]
    config = LlavaOnevisionConfig(
        text_config=text_config(words, "qwen2", tie_word_embeddings=True),
        vision_config={
            "model_type": "siglip_vision_model",
            **VISION,
            "patch_size": patch,
            "vision_use_head": False,
        },
        image_token_index=words.convert_tokens_to_ids("<image>"),
        video_token_index=words.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=grid,
        vision_aspect_ratio="anyres_max_9",
        tie_word_embeddings=True,
    )
    processor = LlavaOnevisionProcessor(
        LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=grid, **HALF),
        words,
        LlavaOnevisionVideoProcessor(size=size, **HALF),
        num_image_tokens=(SIDE // patch) ** 2,
        vision_feature_select_strategy="full",
        vision_aspect_ratio="anyres_max_9",
        chat_template=template("<image>\n", start="user\n"),
    )
    return save(folder, LlavaOnevisionForConditionalGeneration(config), processor, seed)


def save_internvl(folder: Path, seed: int = 0) -> Path:
    """Pictures are cut into one to four patches and a thumbnail, four image tokens each."""
    from transformers import InternVLConfig, InternVLForConditionalGeneration, InternVLProcessor
    from transformers.models.got_ocr2.image_processing_got_ocr2 import GotOcr2ImageProcessor
    from transformers.models.internvl.video_processing_internvl import InternVLVideoProcessor

    named = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    words = tokenizer(tuple(named.values()), named)
    size = {"height": SIDE, "width": SIDE}
    tokens = (SIDE // PATCH // 2) ** 2
    config = InternVLConfig(
        text_config=text_config(words, "qwen2", tie_word_embeddings=True),
        vision_config={**VISION, "image_size": [SIDE, SIDE], "patch_size": [PATCH, PATCH]},
        image_token_id=words.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=tokens,
        downsample_ratio=0.5,
    )
    processor = InternVLProcessor(
        GotOcr2ImageProcessor(
            size=size, crop_to_patches=True, min_patches=1, max_patches=4, **HALF
        ),
        words,
        InternVLVideoProcessor(size=size, **HALF),
        image_seq_length=tokens,
        chat_template=template("<IMG_CONTEXT>\n", start="user\n"),
    )
    return save(folder, InternVLForConditionalGeneration(config), processor, seed)


def save_gemma3(folder: Path, seed: int = 0) -> Path:
    """A layer that sees 8 tokens back and one that sees all; a picture's tokens see each other."""
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration, Gemma3Processor
    from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

    named = {
        "image_token": "<image_soft_token>",
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
    }
    words = tokenizer(tuple(named.values()), named)
    ids = words.convert_tokens_to_ids(list(named.values()))
    config = Gemma3Config(
        text_config=text_config(
            words,
            head_dim=8,
            query_pre_attn_scalar=8,
            sliding_window=8,
            layer_types=["sliding_attention", "full_attention"],
        ),
        vision_config={**VISION, "vision_use_head": False},
        image_token_index=ids[0],
        boi_token_index=ids[1],
        eoi_token_index=ids[2],
        mm_tokens_per_image=4,
    )
    processor = Gemma3Processor(
        Gemma3ImageProcessorPil(size={"height": SIDE, "width": SIDE}, **HALF),
        words,
        image_seq_length=4,
        chat_template=template("<start_of_image>", start="{{ bos_token }}user\n"),
    )
    return save(folder, Gemma3ForConditionalGeneration(config), processor, seed)


def save_paligemma(folder: Path, seed: int = 0) -> Path:
    """16 image tokens each. Its processor adds over a thousand tokens for places and segments."""
    from transformers import (
        PaliGemmaConfig,
        PaliGemmaForConditionalGeneration,
        PaliGemmaProcessor,
    )
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    images = SiglipImageProcessorPil(size={"height": SIDE, "width": SIDE}, **HALF)
    images.image_seq_length = (SIDE // PATCH) ** 2
    processor = PaliGemmaProcessor(
        images, tokenizer(("<image>",)), chat_template=template("<image>", turn="", reply="")
    )
    words = processor.tokenizer
    config = PaliGemmaConfig(
        text_config=text_config(words, "gemma", head_dim=8),
        vision_config={
            "model_type": "siglip_vision_model",
            **VISION,
            "projection_dim": 32,
            "vision_use_head": False,
        },
        image_token_index=words.convert_tokens_to_ids("<image>"),
        vocab_size=len(words),
        projection_dim=32,
        hidden_size=32,
    )
    return save(folder, PaliGemmaForConditionalGeneration(config), processor, seed)


ARCHITECTURES: dict[str, Callable[[Path], Path]] = {
    "qwen2_vl": save_qwen2_vl,
    "qwen2_5_vl": save_qwen2_5_vl,
    "qwen3_vl": save_qwen3_vl,
    "idefics3": tiny.save_idefics3,
    "smolvlm": save_smolvlm,
    "llava": save_llava,
    "llava_onevision": save_llava_onevision,
    "internvl": save_internvl,
    "gemma3": save_gemma3,
    "paligemma": save_paligemma,
}
"""Model type -> writes a folder of it."""
