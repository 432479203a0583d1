"""A picture that several prompts of a batch show goes through the vision tower once.

Equal pictures are found by their pixels, as the processor gives them to the tower. The tower runs
on one of each, its outputs are laid out again for all, and gradients of equal pictures add up on
their way back: the same as without, for the work of the different ones.

Two kinds of towers are known. In one every picture, or tile of a picture, is a row of a batch; in
the other, Qwen's, the patches of all pictures lie in one sequence beside a grid for each. A batch
without equal pictures, and a tower of another kind, runs as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

TOWERS = ("visual", "vision_tower", "vision_model")
"""What models call their vision tower."""
ROWS = {
    "clip_vision_model", "siglip_vision_model", "idefics3_vision", "smolvlm_vision",
    "internvl_vision",
}  # fmt: skip
PACKED = {"qwen2_vl_vision", "qwen2_5_vl_vision", "qwen3_vl_vision"}
PROBES = 16
"""Values of a picture that are compared before all of them are."""

Ran = Callable[[Any, torch.Tensor, dict[str, Any], Any], None]
"""Told the tower, the pixels that it ran on, its other arguments and its output."""


def tower_of(model: Any) -> Any | None:
    """The vision tower of an image-text model."""
    found = (getattr(model.model, name, None) for name in TOWERS)
    return next((tower for tower in found if tower is not None), None)


@contextmanager
def seen_once(model: Any, ran: Ran | None = None) -> Iterator[None]:
    """Inside, the model's vision tower computes equal pictures once."""
    tower = tower_of(model)
    if tower is None:
        yield
        return
    kind = type(tower.config).model_type
    tower.forward = _forward(tower, tower.forward, kind, ran)
    try:
        yield
    finally:
        del tower.forward  # the class's own is behind it


def first_equal(items: Sequence[Sequence[torch.Tensor]]) -> list[int]:
    """For each item the place of its equal among the different ones, numbered as they come.

    Args:
        items: one or more tensors each; items are equal where all their tensors are.
    """
    different: list[Sequence[torch.Tensor]] = []
    alike: dict[tuple[object, ...], list[int]] = {}
    places = []
    for item in items:
        flat = item[0].reshape(-1)
        probes = flat[:: max(1, len(flat) // PROBES)].tolist()
        bucket = alike.setdefault((*item[0].shape, *probes), [])
        place = next(
            (n for n in bucket if all(map(torch.equal, item, different[n]))), len(different)
        )
        if place == len(different):
            bucket.append(place)
            different.append(item)
        places.append(place)
    return places


def _forward(
    tower: Any, forward: Callable[..., Any], kind: str, ran: Ran | None
) -> Callable[..., Any]:
    def run(pixels: torch.Tensor, by_name: bool, named: dict[str, Any]) -> Any:
        output = forward(pixel_values=pixels, **named) if by_name else forward(pixels, **named)
        if ran is not None:
            ran(tower, pixels, named, output)
        return output

    def wrapped(*args: Any, **named: Any) -> Any:
        by_name = "pixel_values" in named
        if len(args) != 1 - by_name:
            return forward(*args, **named)
        pixels = named.pop("pixel_values") if by_name else args[0]
        tensors = {k: v for k, v in named.items() if isinstance(v, torch.Tensor)}
        if (
            kind in ROWS
            and pixels.ndim == 4
            and all(len(t) == len(pixels) for t in tensors.values())
        ):
            places = first_equal(list(zip(pixels, *tensors.values(), strict=True)))
            chosen = _firsts(places)
            if len(chosen) < len(places):
                fewer = {k: v[chosen] for k, v in tensors.items()}
                output = run(pixels[chosen], by_name, {**named, **fewer})
                index = torch.tensor(places, device=pixels.device)
                return _each(output, lambda t: t.index_select(0, index))
        elif kind in PACKED and tensors.keys() == {"grid_thw"}:
            grids, sizes = named["grid_thw"], named["grid_thw"].prod(-1).tolist()
            pictures = torch.split(pixels, sizes)
            places = first_equal(list(zip(pictures, grids, strict=True)))
            chosen = _firsts(places)
            if len(chosen) < len(places):
                fewer_pixels = torch.cat([pictures[i] for i in chosen])
                output = run(fewer_pixels, by_name, {**named, "grid_thw": grids[chosen]})
                patches = [sizes[i] for i in chosen]
                return _each(output, lambda t: _laid_out(t, patches, places))
        return run(pixels, by_name, named)

    return wrapped


def _firsts(places: Sequence[int]) -> list[int]:
    """The first item at each place."""
    return [places.index(place) for place in range(max(places, default=-1) + 1)]


def _laid_out(tokens: torch.Tensor, patches: Sequence[int], places: Sequence[int]) -> torch.Tensor:
    """Tokens of the different pictures, as many for each as it has patches or a fraction of it."""
    merged = sum(patches) // len(tokens)
    pieces = torch.split(tokens, [size // merged for size in patches])
    return torch.cat([pieces[place] for place in places])


def _each(output: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """The output with every tensor in it changed."""

    def changed(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return change(value)
        if isinstance(value, list | tuple):
            return type(value)(map(changed, value))
        return value

    return type(output)(**{name: changed(value) for name, value in output.items()})
