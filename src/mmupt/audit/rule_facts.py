"""What the rules know of a pseudo-label: its votes, its replies, and where it came from. Pure."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmupt.audit.rule_units import Reader, float_of
from mmupt.consensus.equivalence import equivalent, partition
from mmupt.consensus.filters import margin
from mmupt.errors import InputError
from mmupt.expressions import World
from mmupt.expressions.evaluate import MAX_TEXT
from mmupt.expressions.tree import Value

Classes = tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """One question of a round with its pseudo-label.

    Attributes:
        sample_id: whose; unique within a round.
        problem: the question.
        pseudo_label: what the votes gave; None: nothing.
        share: share of the votes behind it.
        margin: lead of the most frequent answer over the second, as a share of the votes.
        agreement: share of the model's own replies whose answer is the label; NaN: found from
            `own_answers`, unknown without them.
        answers: the votes, None for one that cannot be read.
        own_answers: the answers of the completions.
        completions: the model's replies.
        truncated: share of the completions cut at the length limit; NaN: not recorded.
        tokens: mean length of the completions in tokens; NaN: not recorded.
        kept: whether the label was trained on.
        meta: the row's own columns.
        image_digest: of the pictures, see `picture_digest`; None: unknown.
        blind_label: the label when the picture was blank or swapped; None: not asked.
        classes: class of each vote as the vote saw them; None: found from `answers`.
    """

    sample_id: str
    problem: str = ""
    pseudo_label: str | None = None
    share: float = math.nan
    margin: float = math.nan
    agreement: float = math.nan
    answers: tuple[str | None, ...] = ()
    own_answers: tuple[str | None, ...] = ()
    completions: tuple[str, ...] = ()
    truncated: float = math.nan
    tokens: float = math.nan
    kept: bool = True
    meta: Mapping[str, str] = field(default_factory=dict)
    image_digest: str | None = None
    blind_label: str | None = None
    classes: Classes | None = None


def facts_of(row: Mapping[str, Any], hash_of: Callable[[str], str] | None = None) -> Facts:
    """The facts of a row of the rollouts (`train.records`).

    Args:
        row: as recorded; may also have what only the caller knows: `meta` (a mapping), `agreement`,
            `image_digest`, `blind_label`, and `truncated` and `tokens` (a number, or one for each
            completion).
        hash_of: SHA-256 of the file of a path; with it the pictures are told apart by content.

    Raises:
        InputError: the row has no sample id.
    """
    if not row.get("sample_id"):
        raise InputError("a row of the rollouts has no sample_id; it was not written by mmupt")
    own, classes = tuple(row.get("answers") or ()), tuple(row.get("classes") or ())
    digest = row.get("image_digest")
    if digest is None and hash_of is not None:
        digest = picture_digest(row.get("images") or (), hash_of)
    return Facts(
        sample_id=row["sample_id"],
        problem=row.get("prompt") or "",
        pseudo_label=row.get("pseudo_label"),
        share=_mean(row.get("share")),
        margin=margin(classes) if classes else math.nan,
        agreement=_mean(row.get("agreement")),
        answers=tuple(row.get("teacher_answers") or own),
        own_answers=own,
        completions=tuple(row.get("completions") or ()),
        truncated=_mean(row.get("truncated")),
        tokens=_mean(row.get("tokens")),
        kept=bool(row.get("kept", True)),
        meta=dict(row.get("meta") or {}),
        image_digest=digest,
        blind_label=row.get("blind_label"),
        classes=classes or None,
    )


def picture_digest(paths: Iterable[str], hash_of: Callable[[str], str]) -> str:
    """Digest of a question's pictures: of one its SHA-256, of several SHA-256 over theirs.

    Args:
        paths: of the pictures, in their order; none gives an empty text.
        hash_of: SHA-256 of a file's bytes, in hex.
    """
    digests = [hash_of(path) for path in paths]
    if len(digests) <= 1:
        return "".join(digests)
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def last_of_each(facts: Iterable[Facts]) -> list[Facts]:
    """The last facts of each sample, in the order of their first."""
    return list({one.sample_id: one for one in facts}.values())


def classes_of(one: Facts, kind: str, rtol: float | None) -> Classes:
    """Class of each vote, None for one that cannot be read."""
    if one.classes is not None and len(one.classes) == len(one.answers):
        return one.classes
    return tuple(partition(one.answers, kind=kind, rtol=rtol))


def world_of(one: Facts, read: Reader, kind: str, rtol: float | None) -> World:
    """What the words of people's own rules are worth for a label."""
    classes = classes_of(one, kind, rtol)
    votes = len(classes)

    def number_of(text: str) -> float | None:
        found = read(text)
        return None if found is None else float_of(found.value)

    words: dict[str, Value] = {
        "id": one.sample_id,
        "problem": one.problem,
        "label": one.pseudo_label,
        "number": None if one.pseudo_label is None else number_of(one.pseudo_label),
        "share": one.share,
        "margin": one.margin,
        "agreement": _agreement(one, kind, rtol),
        "votes": float(votes),
        "classes": float(len(Counter(c for c in classes if c is not None))),
        "abstained": classes.count(None) / votes if votes else None,
        "truncated": one.truncated,
        "length": _mean([len(text) for text in one.completions]),
        "tokens": one.tokens,
        "replies": _joined(one.completions),
        "kept": one.kept,
        "blind": one.blind_label,
    }
    return World(
        words, one.meta, lambda a, b: equivalent(a, b, kind=kind, rtol=rtol), number_of
    )  # fmt: skip


def _agreement(one: Facts, kind: str, rtol: float | None) -> float:
    if not math.isnan(one.agreement) or one.pseudo_label is None or not one.own_answers:
        return one.agreement
    label, *own = partition([one.pseudo_label, *one.own_answers], kind=kind, rtol=rtol)
    return math.nan if label is None else own.count(label) / len(own)


def _joined(completions: Sequence[str]) -> str | None:
    return "\n".join(text[:MAX_TEXT] for text in completions)[:MAX_TEXT] if completions else None


def _mean(value: Any) -> float:
    """A number, or the mean of several; NaN: there is none."""
    if value is None:
        return math.nan
    if isinstance(value, Sequence):
        return math.fsum(value) / len(value) if value else math.nan
    return float(value)
