"""Samples on the page: examples of votes, wrong majorities, answers that changed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmupt.report.changes import Change, Changes
from mmupt.report.examples import Case, case_of, question_of, rewarded, tally
from mmupt.report.pictures import MAX_BYTES, data_uri, picture
from mmupt.report.read import Rollout
from mmupt.report.sheet import bar_name, outcome
from mmupt.report.text import NOTHING, clean, clean_lines, count, percent, stage_title, words
from mmupt.report.values import mapping, number
from mmupt.words import texts as words_of

MOST_WRONG = 6
"""Wrong majorities shown."""

_PICTURES = 3
"""Pictures shown for one example; the rest are counted."""

_RESPONSES = 3
"""Responses shown for one example."""

_MOST_BARS = 4
_PICTURE_SIDE = 384
_QUESTION_LIMIT = 600
_RESPONSE_LIMIT = 700


@dataclass(frozen=True, slots=True)
class Album:
    """Where pictures come from, and how large one may be.

    Attributes:
        roots: resolved folders that pictures may come from.
        limit: bytes of one picture.
    """

    roots: Sequence[Path]
    limit: int = MAX_BYTES
    _encoded: dict[str, str | None] = field(default_factory=dict, repr=False, compare=False)

    def shown(
        self, names: Sequence[str], sample: str, lang: str, most: int = _PICTURES
    ) -> list[tuple[str | None, str]]:
        """Data URI (None: not to be shown) and alternative text of the first pictures."""
        texts = words(lang)
        found = []
        for position, name in enumerate(names[:most], start=1):
            alt = texts["picture_alt"].format(number=position, sample=clean(sample, 60))
            found.append((self._uri(name), alt))
        return found

    def _uri(self, name: str) -> str | None:
        if name not in self._encoded:
            image = picture(name, self.roots, _PICTURE_SIDE)
            self._encoded[name] = None if image is None else data_uri(image, self.limit)
        return self._encoded[name]


def example_card(rollout: Rollout, album: Album, lang: str) -> dict[str, Any]:
    """How the votes on one prompt fell."""
    texts = words(lang)
    total = len(rollout.votes)
    responses = _responses(rollout, lang)
    return {
        "case": case_of(rollout).value,
        "heading": texts[f"case_{case_of(rollout).value}"],
        "place": texts["place"].format(stage=stage_title(rollout.stage, lang), step=rollout.step),
        "sample": clean(rollout.sample_id, 60),
        "question": clean(question_of(rollout), _QUESTION_LIMIT),
        "pictures": album.shown(rollout.images, rollout.sample_id, lang),
        "more_pictures": max(0, len(rollout.images) - _PICTURES),
        "bars": [
            _bar(
                bar_name(bar, texts, 40),
                bar.votes,
                total,
                "chosen" if bar.chosen else "none" if bar.answer is None else "other",
                texts,
            )
            for bar in tally(rollout)
        ],
        "outcome": outcome(rollout, texts, 60),
        "used": case_of(rollout) is not Case.LEFT_OUT,
        "rewarded": texts["rewarded"].format(
            rewarded=rewarded(rollout.rewards), total=len(rollout.completions)
        ),
        "responses": responses,
        "replies": [],
        "more_responses": len(rollout.completions) - len(responses),
    }


def wrong_rows(audits: Sequence[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """Wrong majorities worth showing, with their audit: the most common confusions of all audits
    first, each once, the newest audit before others."""
    found: list[tuple[str, Mapping[str, Any]]] = []
    for audit in reversed(audits):
        rows = audit.get("wrong_majorities")
        found += [
            (str(audit["name"]), mapping(one)) for one in (rows if isinstance(rows, list) else ())
        ]
    seen: set[tuple[str, str]] = set()
    chosen = []
    for name, one in sorted(found, key=lambda row: -number(row[1].get("times"))):
        pair = (str(one.get("pseudo_label")), str(one.get("answer") or one.get("sample_id")))
        if pair not in seen:
            seen.add(pair)
            chosen.append((name, one))
    return chosen[:MOST_WRONG]


def wrong_card(stage: str, one: Mapping[str, Any], album: Album, lang: str) -> dict[str, Any]:
    """A majority that people called wrong."""
    texts = words(lang)
    label = clean(str(one["pseudo_label"]), 60)
    given = one.get("answers")
    answers = given if isinstance(given, list) else []
    votes = [(clean(str(a["answer"]), 40) or texts["empty_answer"], int(a["count"]))
             for a in answers]  # fmt: skip
    total = sum(n for _, n in votes)
    right = one.get("answer")
    times = number(one.get("times"))
    return {
        "case": "wrong",
        "heading": texts["wrong_pair"].format(
            label=label, answer=texts["wrong_unknown"] if right is None else clean(str(right), 60)
        ),
        "place": stage_title(stage, lang)
        + (" · " + texts["wrong_times"].format(count=count(times)) if times > 1 else ""),
        "question": clean(str(one.get("question", "")).replace("<image>", " "), _QUESTION_LIMIT),
        "pictures": album.shown(one.get("images") or (), str(one["sample_id"]), lang, 2),
        "more_pictures": max(0, len(one.get("images") or ()) - 2),
        "bars": [
            _bar(name, n, total, "chosen" if name == label else "other", texts)
            for name, n in votes[:_MOST_BARS]
        ],
        "outcome": texts["wrong_share"].format(share=percent(number(one.get("share"))))
        + _rules(one, lang),
        "responses": [],
        "replies": [],
    }


def _rules(one: Mapping[str, Any], lang: str) -> str:
    """Names of the error-detection rules that hit it, as the review page calls them."""
    names, hit = words_of("mmupt.review", lang), one.get("rules")
    told = [
        names.get(f"rule_{str(rule).replace('-', '_')}") or clean(str(rule), 40)
        for rule in (hit if isinstance(hit, list) else ())
    ]
    return words(lang)["wrong_rules"].format(rules=", ".join(told)) if told else ""


def change_cards(changes: Changes, album: Album, lang: str) -> list[dict[str, Any]]:
    """Questions whose answer without sampling became right, then those where it became wrong."""
    return [_change(one, changes, album, lang) for one in changes.examples]


def _change(one: Change, changes: Changes, album: Album, lang: str) -> dict[str, Any]:
    texts = words(lang)
    sides = []
    replies = []
    for stage, value, right, said in (
        (changes.before, one.mean_before, one.kind == "worse", one.said_before),
        (changes.after, one.mean_after, one.kind == "better", one.said_after),
    ):
        verdict = texts["change_right"] if right else texts["change_wrong"]
        title = stage_title(stage, lang)
        name = texts["change_side"].format(stage=title, verdict=verdict)
        if said is not None:
            answer = texts["abstained"] if said.answer is None else clean(said.answer, 40)
            name = texts["change_said"].format(stage=title, verdict=verdict, answer=answer)
            replies.append((name, clean_lines(said.reply or NOTHING, _RESPONSE_LIMIT)))
        percentage = percent(value)
        sides.append({
            "name": name,
            "votes": NOTHING if math.isnan(value) else f"{percentage}%",
            "width": "0" if math.isnan(value) else f"{100 * value:.1f}",
            "look": "chosen" if right else "other",
            "alt": texts["change_alt"].format(name=name, value=percentage),
        })  # fmt: skip
    return {
        "case": one.kind,
        "heading": texts[f"change_{one.kind}"],
        "place": clean(one.sample_id, 40),
        "question": clean(one.question, _QUESTION_LIMIT) or NOTHING,
        "pictures": album.shown(one.images, one.sample_id, lang, 1),
        "more_pictures": max(0, len(one.images) - 1),
        "bars": sides,
        "outcome": texts["change_answer"].format(answer=clean(one.answer, 60) or NOTHING),
        "responses": [],
        "replies": replies,
    }


def _bar(
    name: str, votes: int, total: int, look: str, texts: Mapping[str, str]
) -> dict[str, str | int]:
    return {
        "name": name,
        "votes": votes,
        "width": f"{100 * votes / max(1, total):.1f}",
        "look": look,
        "alt": texts["votes_alt"].format(answer=name, votes=votes, total=total),
    }


def _responses(rollout: Rollout, lang: str) -> list[dict[str, str]]:
    """Some different responses, one of each reward first."""
    texts = words(lang)
    rows: list[dict[str, str]] = []
    for position, text in enumerate(rollout.completions):
        answer = rollout.answers[position] if position < len(rollout.answers) else None
        reward = rollout.rewards[position] if position < len(rollout.rewards) else math.nan
        row = {
            "text": clean_lines(text, _RESPONSE_LIMIT),
            "answer": texts["abstained"] if answer is None else clean(answer, 60),
            "reward": NOTHING if math.isnan(reward) else f"{reward:g}".replace("-", "−"),
        }
        if row not in rows:
            rows.append(row)
    first = list({row["reward"]: row for row in reversed(rows)}.values())
    rest = [row for row in rows if row not in first]
    return (first + rest)[:_RESPONSES]
