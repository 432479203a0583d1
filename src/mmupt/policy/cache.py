"""Keys and values as the engine holds them: of prompts once, of completions in place.

Each `update` changes nothing that a second call with the same tensors would change again, so that
layers can be computed anew in backward (gradient checkpointing).
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import Cache
from transformers.cache_utils import CacheLayerMixin


class PromptLayer(CacheLayerMixin):  # type: ignore[misc]
    """Keeps what a prefill computes, all of it, with its graph."""

    is_sliding = False

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Nothing to set up."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.keys, self.values = key_states, value_states
        return key_states, value_states

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return query_length, 0

    def get_seq_length(self) -> int:
        return 0

    def get_max_length(self) -> int:
        return -1


class OwnLayer(PromptLayer):
    """Completion tokens that all come in one forward: nothing is kept."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return key_states, value_states


class StepLayer(PromptLayer):
    """Completion tokens one by one, in room for `limit` of them that is taken once.

    Attributes:
        room: keys and values of all rows, both (R, K, limit, D); None before the first token.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit
        self.column, self.width = 0, 1
        self.room: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        new = (key_states, value_states)
        if self.room is None:
            keys, values = (x.new_zeros(*x.shape[:2], self.limit, x.shape[-1]) for x in new)
            self.room = keys, values
        keys, values = self.room
        keys[:, :, self.column] = key_states[:, :, 0]
        values[:, :, self.column] = value_states[:, :, 0]
        return keys[:, :, : self.width], values[:, :, : self.width]

    def keep(self, rows: torch.Tensor) -> None:
        """Only these rows go on."""
        if self.room is not None:
            self.room = self.room[0][rows], self.room[1][rows]

    def admit(self, rows: int) -> None:
        """Room for more rows, behind those there are."""
        if self.room is not None:
            keys, values = (torch.cat([x, x.new_zeros(rows, *x.shape[1:])]) for x in self.room)
            self.room = keys, values


def prompt_cache(layers: int) -> Cache:
    return Cache(layers=[PromptLayer() for _ in range(layers)])


def own_cache(layers: int) -> Cache:
    return Cache(layers=[OwnLayer() for _ in range(layers)])


class StepCache(Cache):  # type: ignore[misc]
    """Decoding: a ring of columns, one for each step; see `StepLayer`."""

    def __init__(self, layers: int, limit: int) -> None:
        super().__init__(layers=[StepLayer(limit) for _ in range(layers)])

    def turn(self, column: int, width: int) -> None:
        """Where the next token goes, and how many columns there are with it."""
        for layer in self.layers:
            layer.column, layer.width = column, width

    def keep(self, rows: torch.Tensor) -> None:
        for layer in self.layers:
            layer.keep(rows)

    def admit(self, rows: int) -> None:
        for layer in self.layers:
            layer.admit(rows)
