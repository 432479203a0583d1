"""Floating-point operations of the model's passes, from its shapes.

    product of a token with a weight of n numbers   2 n
    attention of q queries to k keys, each layer    4 q k H D      (scores and values, unmasked)
    backward                                        2x of products, 2.5x of attention

Counted are the linear layers of the text model, its head where it is used, the projector at every
image token and the vision tower at every patch of the pictures that it runs on; padding is counted,
as it is computed. Attention is counted as if nothing were masked, and its backward 2.5x, as flash
kernels compute the scores again (arXiv 2205.14135): both as PyTorch's `FlopCounterMode` does. The
half of backward that belongs to weights is left out for weights that are not trained, and all of it
for a tower without any that are. What gradient checkpointing computes again does not count (as in
arXiv 2204.02311), nor do norms, rotations, softmax and the optimizer. A vision tower that `vision`
does not know counts nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mmupt.clock import add_flops, open_profile
from mmupt.policy import vision
from mmupt.policy.attention import SharedPrompt

ATTENTION_BACKWARD = 2.5


@dataclass(frozen=True)
class Dense:
    """Weights that every token is multiplied with.

    Attributes:
        size: how many numbers they are.
        trained: those of them that are trained.
    """

    size: int = 0
    trained: int = 0

    @classmethod
    def of(cls, weights: Iterable[torch.Tensor]) -> Dense:
        found = [(w.numel(), w.requires_grad) for w in weights]
        return cls(sum(n for n, _ in found), sum(n for n, trained in found if trained))


def products(tokens: float, dense: Dense, flows: bool = True) -> tuple[float, float]:
    """FLOPs forward and backward; without `flows` no gradient goes to the tokens."""
    return 2 * tokens * dense.size, 2 * tokens * (dense.size * flows + dense.trained)


def attention(pairs: float, width: int, layers: int) -> tuple[float, float]:
    """FLOPs forward and backward of `pairs` of query and key with heads of `width` together."""
    forward = 4.0 * pairs * width * layers
    return forward, ATTENTION_BACKWARD * forward


def linear_weights(module: nn.Module, leave_out: Sequence[str] = ()) -> list[torch.Tensor]:
    """Weights of the linear layers and convolutions inside, but for children of these names."""
    kinds = (nn.Linear, nn.Conv2d, nn.Conv3d)
    return [
        m.weight
        for name, m in module.named_modules()
        if isinstance(m, kinds) and name.split(".")[0] not in leave_out
    ]


def count_prompts(model: Any, features: Mapping[str, torch.Tensor]) -> None:
    """The text model on B prompts of L tokens, the head once for each, the projector."""
    if open_profile() is None:
        return
    rows, length = features["input_ids"].shape
    _add_text(model, rows * length, rows * length * length)
    count_head(model, rows)
    config = model.config
    token = getattr(config, "image_token_id", None) or getattr(config, "image_token_index", None)
    if token is not None and (projector := _projector(model)).size:
        _add(products(int((features["input_ids"] == token).sum()), projector))


def count_completions(model: Any, shared: SharedPrompt) -> None:
    """The text model on T more tokens of R rows, beside their prompts."""
    if open_profile() is None:
        return
    rows, new = shared.index_RT.shape
    own = new if shared.own_index_RS is None else shared.own_index_RS.shape[1]
    keys = sum(len(block.owner_R) * block.mask_BL.shape[1] for block in shared.blocks)
    _add_text(model, rows * new, new * (keys + rows * own))


def count_head(model: Any, tokens: int) -> None:
    """The head at so many tokens."""
    if open_profile() is not None:
        _add(products(tokens, Dense.of([model.get_output_embeddings().weight])))


def count_vision(tower: Any, pixels: torch.Tensor, named: Mapping[str, Any], output: Any) -> None:
    """The vision tower on the pictures that it ran on."""
    if open_profile() is None:
        return
    kind = type(tower.config).model_type
    flows = any(p.requires_grad for p in tower.parameters())
    parts = []
    if kind in vision.ROWS:
        hidden = output.last_hidden_state  # pictures or tiles, patches, width
        pictures, patches, width = hidden.shape
        dense = Dense.of(linear_weights(tower, leave_out=["head"]))
        parts.append(products(pictures * patches, dense, flows))
        layers = tower.config.num_hidden_layers
        parts.append(attention(pictures * patches**2, width, layers))
    elif kind in vision.PACKED:
        merge = tower.config.spatial_merge_size
        mergers = [name for name, _ in tower.named_children() if "merger" in name]
        merged = [w for name in mergers for w in linear_weights(getattr(tower, name))]
        parts.append(products(len(pixels), Dense.of(linear_weights(tower, mergers)), flows))
        parts.append(products(len(pixels) / merge**2, Dense.of(merged), flows))
        full, windowed = _packed_pairs(tower.config, named["grid_thw"].tolist())
        width, layers = int(tower.blocks[0].attn.proj.in_features), len(tower.blocks)
        wide = getattr(tower.config, "fullatt_block_indexes", None)
        seeing_all = layers if wide is None else len(wide)
        parts.append(attention(full, width, seeing_all))
        parts.append(attention(windowed, width, layers - seeing_all))
    for forward, backward in parts:
        _add((forward, backward if flows else 0.0))


def _packed_pairs(config: Any, grids: Sequence[Sequence[int]]) -> tuple[int, int]:
    """Pairs of patches that see each other in Qwen's towers: of whole pictures, and of windows."""
    merge, full, windowed = config.spatial_merge_size, 0, 0
    window = getattr(config, "window_size", 0) // (merge * config.patch_size)
    for frames, height, width in grids:
        full += frames * (height * width) ** 2
        if window:
            down, across = (_squares(side // merge, window) for side in (height, width))
            windowed += frames * down * across * merge**4
    return full, windowed


def _squares(side: int, window: int) -> int:
    """Sum of squares of the pieces that a side is cut into."""
    return side // window * window**2 + (side % window) ** 2


def _projector(model: Any) -> Dense:
    """What stands between tower and text model."""
    others = (vision.tower_of(model), model.get_decoder())
    weights: list[torch.Tensor] = []
    for child in model.model.children():
        if not any(child is other for other in others):
            weights += linear_weights(child)
            weights += [p for n, p in child.named_parameters() if n.endswith("projection_weight")]
    return Dense.of(weights)


def _text_layers(decoder: Any) -> Dense:
    """Once for a profile, as decoding asks for every token."""
    profile = open_profile()
    memo = {} if profile is None else profile.memo
    if decoder not in memo:
        memo[decoder] = Dense.of(linear_weights(decoder))
    found: Dense = memo[decoder]
    return found


def _add_text(model: Any, tokens: int, pairs: int) -> None:
    decoder, config = model.get_decoder(), model.config.get_text_config()
    _add(products(tokens, _text_layers(decoder)))
    if heads := getattr(config, "num_attention_heads", 0):
        size = getattr(config, "head_dim", None) or config.hidden_size // heads
        _add(attention(pairs, heads * size, config.num_hidden_layers))


def _add(flops: tuple[float, float]) -> None:
    """Forward to the part that is running; backward, if one follows, to `backward`."""
    forward, backward = flops
    add_flops(forward)
    if torch.is_grad_enabled():
        add_flops(backward, "backward")
