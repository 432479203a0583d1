"""Attention of many completions to the prompts they share, without copies of the prompts.

The rows of a group have their prompt's keys in common. Their queries are laid side by side and
attend to those keys once, as one long query; to the tokens of their own completion each attends
alone. Two softmaxes over parts of the keys make the softmax over all of them:

    lse = log(exp(lse_1) + exp(lse_2)),   out = out_1 exp(lse_1 - lse) + out_2 exp(lse_2 - lse)

and the gradient of each part is that of a flash attention (arXiv 2205.14135) which is given the
merged `out` and `lse`: its probabilities exp(score - lse) are then those of the whole softmax. On
the CPU both parts run on PyTorch's flash kernel; elsewhere, and for models whose scores are capped,
the prompt's keys are repeated and ordinary attention runs.

Shapes: R rows (completions), H query heads, K key heads, g = H / K, T new tokens of each row,
S own tokens seen so far, B prompts, L prompt tokens, D head size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

NAME = "mmupt_shared_prompt"
"""What the attention is called among transformers' implementations."""

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
_DTYPES = (torch.float32, torch.bfloat16)


@dataclass(frozen=True)
class Block:
    """Prompts that were prefilled together, and their rows.

    Attributes:
        keys: of each layer, (B, K, L, D).
        values: of each layer, (B, K, L, D).
        mask_BL: which prompt tokens are no padding.
        owner_R: the prompt of each row, ascending.
    """

    keys: Sequence[torch.Tensor]
    values: Sequence[torch.Tensor]
    mask_BL: torch.Tensor
    owner_R: torch.Tensor
    slots: Slots
    bias: torch.Tensor | None

    @classmethod
    def of(
        cls,
        keys: Sequence[torch.Tensor],
        values: Sequence[torch.Tensor],
        mask_BL: torch.Tensor,
        owner_R: torch.Tensor,
    ) -> Block:
        bias = None
        if not bool(mask_BL.all()):
            zero = torch.zeros((), dtype=keys[0].dtype, device=mask_BL.device)
            bias = zero.new_zeros(mask_BL.shape).masked_fill(mask_BL == 0, float("-inf"))
            bias = bias[:, None, None, :]
        return cls(keys, values, mask_BL, owner_R, Slots.of(owner_R, len(mask_BL)), bias)


@dataclass(frozen=True)
class Slots:
    """Where rows stand when each prompt has the same number of places.

    Attributes:
        places: per prompt.
        index_R: place of each row among prompts x places; None: row i stands at i.
    """

    prompts: int
    places: int
    index_R: torch.Tensor | None

    @classmethod
    def of(cls, owner_R: torch.Tensor, prompts: int) -> Slots:
        counts = torch.bincount(owner_R, minlength=prompts)
        places = int(counts.max())
        if bool((counts == places).all()):
            return cls(prompts, places, None)
        starts = counts.cumsum(0) - counts
        within = torch.arange(len(owner_R), device=owner_R.device) - starts[owner_R]
        return cls(prompts, places, owner_R * places + within)

    def spread(self, rows: torch.Tensor) -> torch.Tensor:
        """(R, ...) -> (prompts, places, ...), with zeros where no row stands."""
        if self.index_R is not None:
            room = rows.new_zeros(self.prompts * self.places, *rows.shape[1:])
            rows = room.index_copy(0, self.index_R, rows)
        return rows.view(self.prompts, self.places, *rows.shape[1:])

    def gather(self, placed: torch.Tensor) -> torch.Tensor:
        """The way back from `spread`."""
        rows = placed.reshape(-1, *placed.shape[2:])
        return rows if self.index_R is None else rows[self.index_R]


@dataclass
class SharedPrompt:
    """What a forward over completions needs to know of their prompts.

    Attributes:
        blocks: rows of block 0 first, then those of block 1, ...
        start_R: text tokens of each row's prompt: the index of its first own token.
        index_RT: which own token each query is, counted from 0.
        own_index_RS: which own token each own key is, -1 for none; None: keys are the queries'
            own tokens, each sees itself and those before it.
    """

    blocks: Sequence[Block]
    start_R: torch.Tensor
    index_RT: torch.Tensor
    own_index_RS: torch.Tensor | None = None


def fold(q: torch.Tensor, slots: Slots, heads: int) -> torch.Tensor:
    """(R, H, T, D) -> (B, K, places * g * T, D): the queries that share keys, side by side."""
    placed = slots.spread(q.reshape(len(q), heads, -1, *q.shape[2:]))  # B P K g T D
    prompts, places, _, g, T, D = placed.shape
    return placed.transpose(1, 2).reshape(prompts, heads, places * g * T, D)


def unfold(folded: torch.Tensor, slots: Slots, shape: torch.Size) -> torch.Tensor:
    """The way back from `fold`; `shape` is that of the rows, (R, H, T, D)."""
    H, T = shape[1], shape[2]
    heads = folded.shape[1]
    placed = folded.reshape(slots.prompts, heads, slots.places, H // heads, T, -1).transpose(1, 2)
    return slots.gather(placed).reshape(-1, H, T, folded.shape[-1])


def _own_bias(shared: SharedPrompt, dtype: torch.dtype) -> torch.Tensor | None:
    """Which own keys the queries may see, (R, 1, T, S) to be added; None: all, or causal."""
    if shared.own_index_RS is None or bool((shared.own_index_RS >= 0).all()):
        return None
    hidden = shared.own_index_RS < 0
    zero = torch.zeros(hidden.shape, dtype=dtype, device=hidden.device)
    return zero.masked_fill(hidden, float("-inf"))[:, None, None, :]


@dataclass(frozen=True)
class _Saved:
    """What backward needs besides tensors."""

    rows: list[slice]
    slots: list[Slots]
    biases: list[torch.Tensor | None]
    causal: bool
    scale: float | None
    groups: int


class _SharedAttention(torch.autograd.Function):
    """Attention to prompts and own tokens in two parts; see the module's docstring."""

    @staticmethod
    def forward(
        ctx: Any,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        own_bias: torch.Tensor | None,
        saved: _Saved,
        *prompts: torch.Tensor,
    ) -> torch.Tensor:
        # A causal own part has one key head per query head; a single query takes its key head's.
        if saved.causal:
            own_q, own_k, own_v = q, _repeated(k, saved.groups), _repeated(v, saved.groups)
        else:
            own_q, own_k, own_v = q.reshape(len(q), k.shape[1], saved.groups, -1), k, v
        out, lse = _flash(
            own_q, own_k, own_v, 0.0, saved.causal, attn_mask=own_bias, scale=saved.scale
        )
        out, lse = out.reshape(q.shape), lse.reshape(q.shape[:3])
        parts, folded = [], []
        count = len(saved.rows)
        for rows, slots, bias, pk, pv in zip(
            saved.rows, saved.slots, saved.biases, prompts[:count], prompts[count:], strict=True
        ):
            block_q = q[rows]
            wide = fold(block_q, slots, pk.shape[1])
            p_out, p_lse = _flash(wide, pk, pv, 0.0, False, attn_mask=bias, scale=saved.scale)
            parts.append(unfold(p_out, slots, block_q.shape))
            folded.append(unfold(p_lse[..., None], slots, block_q.shape)[..., 0])
        p_out = parts[0] if count == 1 else torch.cat(parts)
        p_lse = folded[0] if count == 1 else torch.cat(folded)
        whole = torch.logaddexp(lse, p_lse)
        merged: torch.Tensor = (
            out * (lse - whole).exp()[..., None] + p_out * (p_lse - whole).exp()[..., None]
        )
        merged = merged.to(q.dtype)
        ctx.saved = saved
        ctx.save_for_backward(q, k, v, merged, whole, *prompts)
        return merged

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        saved: _Saved = ctx.saved
        q, k, v, out, lse, *prompts = ctx.saved_tensors
        grad = grad.contiguous()
        own_k, own_v = _repeated(k, saved.groups), _repeated(v, saved.groups)
        dq, dk, dv = _flash_backward(
            grad, q, own_k, own_v, out, lse, 0.0, saved.causal, scale=saved.scale
        )
        dk, dv = _summed(dk, saved.groups), _summed(dv, saved.groups)
        count = len(saved.rows)
        more_q, dpk, dpv = [], [], []
        for rows, slots, bias, pk, pv in zip(
            saved.rows, saved.slots, saved.biases, prompts[:count], prompts[count:], strict=True
        ):
            shape, heads = q[rows].shape, pk.shape[1]
            wide_lse = fold(lse[rows][..., None], slots, heads)[..., 0].contiguous()
            p_dq, p_dk, p_dv = _flash_backward(
                fold(grad[rows], slots, heads), fold(q[rows], slots, heads), pk, pv,
                fold(out[rows], slots, heads), wide_lse, 0.0, False,
                attn_mask=bias, scale=saved.scale,
            )  # fmt: skip
            more_q.append(unfold(p_dq, slots, shape))
            dpk.append(p_dk)
            dpv.append(p_dv)
        dq = dq + (more_q[0] if count == 1 else torch.cat(more_q))
        return dq, dk, dv, None, None, *dpk, *dpv


def _repeated(x: torch.Tensor, groups: int) -> torch.Tensor:
    return x if groups == 1 else x.repeat_interleave(groups, dim=1)


def _summed(x: torch.Tensor, groups: int) -> torch.Tensor:
    """Gradient of `_repeated`."""
    if groups == 1:
        return x
    return x.reshape(len(x), -1, groups, *x.shape[2:]).sum(2)


def attend(
    shared: SharedPrompt,
    layer: int,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    scale: float | None = None,
    window: int | None = None,
    softcap: float | None = None,
) -> torch.Tensor:
    """Attention of completions to their prompts and themselves.

    Args:
        shared: the prompts.
        layer: whose keys.
        q: (R, H, T, D).
        k: own keys, (R, K, S, D).
        v: own values, (R, K, S, D).
        scale: of the scores; None: 1 / sqrt(D).
        window: a token sees only keys less than so many tokens back.
        softcap: scores become softcap * tanh(score / softcap).

    Returns:
        (R, H, T, D).
    """
    if torch.is_autocast_enabled(q.device.type):  # as torch's own: rotary positions leave float32
        half = torch.get_autocast_dtype(q.device.type)
        q, k, v = q.to(half), k.to(half), v.to(half)
    longest = max(int(block.mask_BL.shape[1]) for block in shared.blocks)
    reach = longest + int(k.shape[2])
    windowed = window is not None and window < reach
    simple = shared.own_index_RS is None or (q.shape[2] == 1 and not torch.is_grad_enabled())
    usable = q.device.type == "cpu" and q.dtype in _DTYPES and softcap is None
    if windowed or not usable or not simple:
        return _expanded(shared, layer, q, k, v, scale, window if windowed else None, softcap)
    rows, start = [], 0
    for block in shared.blocks:
        rows.append(slice(start, start + len(block.owner_R)))
        start += len(block.owner_R)
    saved = _Saved(
        rows,
        [b.slots for b in shared.blocks],
        [None if b.bias is None else b.bias.to(q.dtype) for b in shared.blocks],
        causal=shared.own_index_RS is None,
        scale=scale,
        groups=q.shape[1] // k.shape[1],
    )
    prompts = [b.keys[layer].to(q.dtype) for b in shared.blocks]
    prompts += [b.values[layer].to(q.dtype) for b in shared.blocks]
    merged: torch.Tensor = _SharedAttention.apply(  # type: ignore[no-untyped-call]
        q, k, v, _own_bias(shared, q.dtype), saved, *prompts
    )
    return merged


def _expanded(
    shared: SharedPrompt,
    layer: int,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    scale: float | None,
    window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    """The plain way: every row with its prompt's keys; any device, window and cap."""
    longest = max(b.mask_BL.shape[1] for b in shared.blocks)
    keys, values, seen = [], [], []
    for b in shared.blocks:
        short = longest - b.mask_BL.shape[1]
        pad = torch.nn.functional.pad
        keys.append(pad(b.keys[layer], (0, 0, short, 0))[b.owner_R])
        values.append(pad(b.values[layer], (0, 0, short, 0))[b.owner_R])
        seen.append(pad(b.mask_BL, (short, 0))[b.owner_R])
    mask_RL = torch.cat(seen).bool()
    own_index = shared.index_RT if shared.own_index_RS is None else shared.own_index_RS
    # Place of keys and queries in the row's own text, padding not counted.
    prompt_place = mask_RL.long().cumsum(-1) - 1
    own_place = shared.start_R[:, None] + own_index
    key_place = torch.cat([prompt_place, own_place], dim=1)[:, None, None, :]
    query_place = (shared.start_R[:, None] + shared.index_RT)[:, None, :, None]
    real = torch.cat([mask_RL, own_index >= 0], dim=1)[:, None, None, :]
    mask = real & (key_place <= query_place)
    if window is not None:
        mask = mask & (query_place - key_place < window)
    groups = q.shape[1] // k.shape[1]
    full_k = _repeated(torch.cat([torch.cat(keys), k], dim=2), groups)
    full_v = _repeated(torch.cat([torch.cat(values), v], dim=2), groups)
    if softcap is None:
        return torch.nn.functional.scaled_dot_product_attention(
            q, full_k, full_v, attn_mask=mask, scale=scale
        )
    scores = q @ full_k.transpose(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    scores = softcap * (scores / softcap).tanh()
    weights = scores.masked_fill(~mask, float("-inf")).float().softmax(-1).to(q.dtype)
    return weights @ full_v


def _interface(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    *,
    shared_prompt: SharedPrompt,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' attention interface; the mask is ours to know, `attention_mask` is None."""
    out = attend(
        shared_prompt, module.layer_idx, query, key, value,
        scale=scaling, window=sliding_window, softcap=softcap,
    )  # fmt: skip
    return out.transpose(1, 2).contiguous(), None


@contextmanager
def shared_attention(config: Any) -> Iterator[None]:
    """Text layers with this configuration attend through `attend` inside."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, _interface)
    former = config._attn_implementation
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = former
