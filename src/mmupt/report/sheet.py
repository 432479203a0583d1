"""A sheet of example prompts: the picture, the question, how the votes fell, the pseudo-label."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.transforms import Affine2D, Transform
from numpy.typing import NDArray

from mmupt.report.curves import HAIRLINE, INK, QUIET
from mmupt.report.examples import Bar, Case, case_of, question_of, tally
from mmupt.report.pictures import picture
from mmupt.report.read import Rollout, RunRecord
from mmupt.report.text import clean, percent, stage_title, words, wrap

COLUMNS = 4
CARD_HEIGHT = 226
"""Pixels, without the space between two rows."""

_GUTTER = 28
_PICTURE_SIDE = 120
_BAR_STEP = 21
_COLOURS = {Case.CONFIDENT: "#1d3f66", Case.CONTESTED: "#c4501b", Case.LEFT_OUT: "#6b6b6b"}


@dataclass(frozen=True, slots=True)
class Canvas:
    """A figure addressed in pixels from its upper left corner.

    Attributes:
        figure: what is drawn on.
        width, height: its size in pixels.
        printable: replaces characters that no font at hand has.
    """

    figure: Figure
    width: float
    height: float
    printable: Callable[[str], str]

    @property
    def pixels(self) -> Transform:
        flip = Affine2D().scale(1 / self.width, -1 / self.height).translate(0, 1)
        return flip + self.figure.transFigure

    def text(self, x: float, y: float, text: str, **options: Any) -> None:
        """Text with its upper left corner at (x, y); never read as a formula."""
        style: dict[str, Any] = {"va": "top", "color": INK, "fontsize": 11, "linespacing": 1.3}
        self.figure.text(
            x,
            y,
            self.printable(text),
            transform=self.pixels,
            parse_math=False,
            **(style | options),
        )

    def box(self, x: float, y: float, width: float, height: float, **options: Any) -> None:
        """A rectangle with its upper left corner at (x, y)."""
        self.figure.add_artist(
            Rectangle((x, y), width, height, transform=self.pixels, **({"linewidth": 0} | options))
        )

    def place(self, x: float, y: float, width: float, height: float) -> list[float]:
        """The same rectangle as `Figure.add_axes` wants it."""
        return [
            x / self.width,
            1 - (y + height) / self.height,
            width / self.width,
            height / self.height,
        ]


def draw_sheet(
    canvas: Canvas, run: RunRecord, examples: Sequence[Rollout], x: float, y: float, width: float,
    lang: str,
) -> None:  # fmt: skip
    """Cards in rows of four, the upper left corner at (x, y).

    Args:
        canvas: where to draw.
        run: for the folders that pictures may come from.
        examples: what `choose_examples` chose.
        x, y, width: in pixels.
        lang: language of the words.
    """
    card = (width - (COLUMNS - 1) * _GUTTER) / COLUMNS
    for position, rollout in enumerate(examples):
        row, column = divmod(position, COLUMNS)
        left, top = x + column * (card + _GUTTER), y + row * (CARD_HEIGHT + _GUTTER / 2)
        _card(canvas, run, rollout, left, top, card, lang)


def outcome(rollout: Rollout, texts: Mapping[str, str], width: int) -> str:
    """What became of the vote: the pseudo-label and its share, or why there is none.

    The label takes at most `width` columns.
    """
    if rollout.pseudo_label is None:
        return texts["outcome_tie"] if rollout.tied else texts["outcome_none"]
    key = "outcome_kept" if rollout.kept else "outcome_left_out"
    share = "–" if math.isnan(rollout.share) else percent(rollout.share)
    return texts[key].format(label=_short(rollout.pseudo_label, width), share=share)


def bar_name(bar: Bar, texts: Mapping[str, str], width: int) -> str:
    """The words beside a bar, at most `width` columns."""
    if bar.answer is None:
        return texts["abstained"]
    if bar.others:
        return texts["other_answers"].format(count=bar.others)
    return _short(bar.answer, width) or texts["empty_answer"]


def _short(text: str, width: int) -> str:
    return "".join(wrap(clean(text, 200), width, 1))


def _card(
    canvas: Canvas, run: RunRecord, rollout: Rollout, x: float, y: float, width: float, lang: str
) -> None:
    texts = words(lang)
    case = case_of(rollout)
    canvas.box(x, y, width, 2.5, facecolor=_COLOURS[case])
    canvas.text(x, y + 10, texts[f"case_{case.value}"], color=_COLOURS[case], weight="bold")
    place = texts["place"].format(
        stage=_short(stage_title(rollout.stage, lang), 14), step=rollout.step
    )
    canvas.text(x + width, y + 11, place, color=QUIET, fontsize=9.5, ha="right")
    question = wrap(clean(question_of(rollout), 400), int(width / 8.2), 2)
    canvas.text(x, y + 33, "\n".join(question), fontsize=10.5)
    _picture(canvas, run, rollout, x, y + 76, texts)
    left = x + _PICTURE_SIDE + 14
    _bars(canvas, rollout, left, y + 76, width - _PICTURE_SIDE - 14, texts)
    below = {"fontsize": 10.5, "va": "baseline"}
    canvas.text(x, y + 218, outcome(rollout, texts, 14), weight="bold", **below)
    if len(rollout.images) > 1:
        note = texts["first_picture"].format(count=len(rollout.images))
        canvas.text(x + width, y + 218, note, color=QUIET, ha="right", **below)


def _bars(
    canvas: Canvas,
    rollout: Rollout,
    x: float,
    y: float,
    width: float,
    texts: Mapping[str, str],
) -> None:
    """One row for each class: the answer, a bar for its votes, their number."""
    name_width, room = 76, width - 76 - 8 - 24
    bars = tally(rollout, most=3)
    for position, bar in enumerate(bars):
        top = y + position * _BAR_STEP
        canvas.text(
            x + name_width,
            top + 7,
            bar_name(bar, texts, 10),
            fontsize=9.5,
            ha="right",
            va="center",
            weight="bold" if bar.chosen else "normal",
            color=INK if bar.answer is not None else QUIET,
        )
        length = room * bar.votes / max(1, len(rollout.votes))
        fill = _COLOURS[Case.CONFIDENT] if rollout.kept else "#a8a8a8"
        look: dict[str, Any] = {"facecolor": fill, "edgecolor": INK}
        if not bar.chosen:
            hatch = "" if bar.answer is None else "////"
            look = {"facecolor": "white", "edgecolor": "#8a8a8a", "hatch": hatch}
        canvas.box(x + name_width + 8, top, length, 14, linewidth=0.8, **look)
        canvas.text(
            x + name_width + 8 + length + 5, top + 7, str(bar.votes), fontsize=9.5, va="center"
        )


def _picture(
    canvas: Canvas, run: RunRecord, rollout: Rollout, x: float, y: float, texts: Mapping[str, str]
) -> None:
    """The first picture that can be shown, as large as fits."""
    pixels = _first_picture(run, rollout)
    side = _PICTURE_SIDE
    if pixels is None:
        canvas.box(x, y, side, side, facecolor="none", edgecolor=QUIET, linewidth=0.8,
                   linestyle=":")  # fmt: skip
        canvas.text(x + side / 2, y + side / 2, texts["no_picture"], color=QUIET, fontsize=9,
                    ha="center", va="center")  # fmt: skip
        return
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    axes = canvas.figure.add_axes(
        tuple(canvas.place(x, y, max(1.0, width * scale), max(1.0, height * scale)))  # type: ignore[arg-type]
    )
    axes.imshow(pixels, interpolation="antialiased", aspect="auto")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(HAIRLINE)


def _first_picture(run: RunRecord, rollout: Rollout) -> NDArray[np.uint8] | None:
    for name in rollout.images:
        image = picture(name, run.data_roots, 240)
        if image is not None:
            return np.asarray(image)
    return None
