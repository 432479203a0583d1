"""One sample on the terminal: its picture, the question, the votes, the responses, the verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console, RenderableType
from rich.rule import Rule
from rich.style import Style
from rich.table import Table
from rich.text import Text

from mmupt.errors import InputError
from mmupt.report.examples import question_of, tally
from mmupt.report.pictures import picture
from mmupt.report.read import Rollout, RunRecord, load_run, rollouts_of
from mmupt.report.sheet import bar_name, outcome
from mmupt.report.text import (
    NOTHING,
    clean,
    clean_lines,
    count,
    moment,
    percent,
    stage_title,
    words,
)
from mmupt.report.values import number

_PICTURE_COLUMNS, _BAR = 44, 24
_RESPONSES, _RESPONSE_LIMIT = 8, 600

Verdicts = Sequence[Mapping[str, Any]]
"""What people said of a sample, oldest first: audit, time, reviewer, kind, answer, comment."""


def sample_view(
    run_dir: Path, sample: str, verdicts: Verdicts, console: Console, lang: str
) -> list[RenderableType]:
    """What there is to see of a sample; the newest rollout of several.

    Args:
        run_dir: the run folder.
        sample: its id.
        verdicts: of the project's audits; none for a run alone.
        console: whose width and colours count.
        lang: `en` or `ja`.

    Raises:
        InputError: neither a rollout nor a verdict knows the id.
    """
    texts = words(lang)
    run, found = _found(run_dir, sample, verdicts, lang)
    parts: list[RenderableType] = [Text(clean(sample, 120), "bold")]
    if found:
        newest = found[-1]
        parts += _rollout(run, newest, console, lang)
        if len(found) > 1:
            parts.append(Text(texts["show_seen"].format(count=count(len(found))), "dim"))
    parts.append(Rule(texts["show_verdicts"], align="left", style="dim"))
    parts += [Text(verdict_line(one, lang)) for one in verdicts]
    if not verdicts:
        parts.append(Text(texts["show_no_verdicts"], "dim"))
    return parts


def sample_figures(run_dir: Path, sample: str, verdicts: Verdicts) -> dict[str, Any]:
    """The same as plain JSON, all rollouts of the sample, oldest first.

    Raises:
        InputError: as `sample_view`.
    """
    _, found = _found(run_dir, sample, verdicts, "en")
    return {
        "id": sample,
        "rollouts": [
            {
                "stage": one.stage, "step": one.step, "question": question_of(one),
                "images": list(one.images), "votes": list(one.votes),
                "pseudo_label": one.pseudo_label, "share": one.share, "tied": one.tied,
                "kept": one.kept, "completions": list(one.completions),
                "rewards": list(one.rewards),
            }
            for one in found
        ],
        "verdicts": [dict(one) for one in verdicts],
    }  # fmt: skip


def verdict_line(verdict: Mapping[str, Any], lang: str) -> str:
    """What one reviewer said, on one line."""
    texts = words(lang)
    kind = str(verdict.get("kind"))
    line = texts["show_verdict"].format(
        time=moment(verdict.get("time")),
        reviewer=clean(str(verdict.get("reviewer")), 60),
        kind=texts.get(f"kind_{kind}", clean(kind, 20)),
        answer=clean(str(verdict.get("answer") or ""), 200),
        comment=clean(str(verdict.get("comment") or ""), 400),
    )
    return line.rstrip()


def blocks(image: Image.Image, columns: int) -> Text:
    """A picture in half-block characters, two pixels a character, one above the other.

    Args:
        image: RGB.
        columns: width; the height follows.
    """
    width = min(columns, image.width)
    height = max(2, round(image.height * width / image.width / 2) * 2)
    small = image.resize((width, height), Image.Resampling.LANCZOS).convert("RGB")
    text = Text(no_wrap=True)
    for y in range(0, height, 2):
        for x in range(width):
            upper, lower = (small.getpixel((x, y + row)) for row in (0, 1))
            text.append("▀", Style(color=_colour(upper), bgcolor=_colour(lower)))
        text.append("\n")
    text.rstrip()
    return text


def _found(
    run_dir: Path, sample: str, verdicts: Verdicts, lang: str
) -> tuple[RunRecord, list[Rollout]]:
    run = load_run(run_dir, lang)
    found = rollouts_of(run_dir, sample)
    if not found and not verdicts:
        raise InputError(
            f"{run_dir}: no rollout and no verdict knows the sample {clean(sample, 80)!r}; ids are "
            "those of the data file"
        )
    return run, found


def _rollout(run: RunRecord, rollout: Rollout, console: Console, lang: str) -> list[RenderableType]:
    texts = words(lang)
    place = texts["place"].format(stage=stage_title(rollout.stage, lang), step=rollout.step)
    parts: list[RenderableType] = [
        Text(place, "dim"),
        Text(clean(question_of(rollout), 2000)),
        *(_picture(run, name, console, texts) for name in rollout.images[:3]),
        _votes(rollout, texts),
        Text(outcome(rollout, texts, 120), "bold"),
        Rule(texts["responses"], align="left", style="dim"),
    ]
    for position, completion in enumerate(rollout.completions[:_RESPONSES]):
        reward = rollout.rewards[position] if position < len(rollout.rewards) else float("nan")
        said = NOTHING if reward != reward else f"{reward:g}"
        parts.append(
            Text.assemble((f"{said:>5}  ", "dim"), clean_lines(completion, _RESPONSE_LIMIT))
        )
    more = len(rollout.completions) - _RESPONSES
    if more > 0:
        parts.append(Text(texts["response_more"].format(count=more), "dim"))
    return parts


def _picture(run: RunRecord, name: str, console: Console, texts: Mapping[str, str]) -> Text:
    image = picture(name, run.data_roots, 384)
    if image is not None and console.color_system == "truecolor":
        return blocks(image, min(_PICTURE_COLUMNS, console.width))
    shown = clean(name, 300)
    return Text(shown if image is not None else texts["show_missing"].format(path=shown), "dim")


def _votes(rollout: Rollout, texts: Mapping[str, str]) -> Table:
    table = Table.grid(padding=(0, 1))
    total = max(1, len(rollout.votes))
    for bar in tally(rollout, most=8):
        share = bar.votes / total
        style = "bold" if bar.chosen else ""
        table.add_row(
            Text(bar_name(bar, texts, 40), style),
            Text("█" * max(1, round(share * _BAR)), style),
            Text(f"{bar.votes} ({percent(number(share))}%)", style),
        )
    return table


def _colour(pixel: Any) -> str:
    return "#{:02x}{:02x}{:02x}".format(*pixel[:3])
