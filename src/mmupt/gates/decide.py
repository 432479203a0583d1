"""The decision of the gate: every criterion's check, and what they amount to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, Literal, get_args

from mmupt.config_supervision import GateConfig
from mmupt.errors import InputError
from mmupt.gates.criteria import CRITERIA, Criterion, Finding, Name, Outcome
from mmupt.gates.evidence import Evidence, Reason, Subject, chosen, digest_of, moment
from mmupt.gates.figures import UnusableError
from mmupt.gates.words import explanation, sentence

Verdict = Literal["pass", "fail", "insufficient"]

FORMAT = 1
"""Of the stored JSON."""
LONGEST = 16 << 20
"""Longest stored decision that is read, in characters."""


@dataclass(frozen=True, slots=True)
class Check:
    """What one criterion said.

    Attributes:
        name: the criterion.
        verdict: `not-applicable` where it is switched off or says nothing about this version.
        figure: what was measured, as it was held against the bound: an end of an interval, or
            the loss of a group; None where no evidence could be used, and for the guard.
        bound: what it had to keep to; None where it is not asked, and for the guard.
        key, values: its sentence in the texts of this package, and what fills it.
        evidence: digests of the pieces that it rests on; none where none could be used.
    """

    name: Name
    verdict: Outcome
    figure: float | None
    bound: float | None
    key: str
    values: Mapping[str, Any]
    evidence: tuple[str, ...] = ()

    def sentence(self, lang: str) -> str:
        """The check in words."""
        return sentence(self.key, {"criterion": self.name, **self.values}, lang)


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a version may be promoted, and why.

    Attributes:
        verdict: only `pass` promotes.
        subject: what it is about.
        checks: one per criterion, in the order of `CRITERIA`.
        evidence: all pieces that were given, used or not.
        config: digest of the settings.
        made: when, UTC.
    """

    verdict: Verdict
    subject: Subject
    checks: tuple[Check, ...]
    evidence: tuple[Evidence, ...]
    config: str
    made: str

    def explain(self, lang: str) -> str:
        """The decision in a sentence, with the figures that it rests on.

        Raises:
            ConfigError: a language that there are no texts for.
        """
        checks = [(c.verdict, c.name, c.key, c.values) for c in self.checks]
        names = (self.subject.version, self.subject.baseline)
        return explanation(self.verdict, names, checks, lang)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON to be stored; `from_json` reads it."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, content: str | Mapping[str, Any]) -> Decision:
        """A stored decision, as text or as `as_json` gave it.

        Raises:
            InputError: not JSON of a decision, or one whose verdict does not follow from its
                checks.
        """
        try:
            if isinstance(content, str):
                if len(content) > LONGEST:
                    raise ValueError(f"{len(content):,} characters, at most {LONGEST:,} are read")
                content = json.loads(content)
            found = _read(content)
            for lang in ("en", "ja"):
                for check in found.checks:
                    check.sentence(lang)
                found.explain(lang)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            detail = str(error)[:120] or type(error).__name__
            raise InputError(
                f"decision {str(content)[:40]!r} cannot be read ({detail}); expected what "
                "Decision.as_json wrote"
            ) from error
        return found


def decide(
    subject: Subject, evidence: Sequence[Evidence], config: GateConfig, *, now: str
) -> Decision:
    """Whether a version has proven enough.

    Any criterion that fails refuses it; otherwise any that lacks evidence leaves it where it is;
    otherwise it passes. With no criterion asked, nothing is proven: `insufficient`.

    Args:
        subject: the version and what it would replace.
        evidence: pieces of any kind, in any order; what is not about the subject is not used.
        config: the criteria.
        now: this moment, ISO 8601 with an offset.

    Raises:
        InputError: `now` is no such time.
    """
    time = moment(now)
    if time is None:
        raise InputError(f"now is {str(now)[:60]!r}, expected a time in UTC")
    checks = tuple(_check(one, subject, evidence, config, time) for one in CRITERIA)
    return Decision(
        verdict_of([check.verdict for check in checks]),
        subject,
        checks,
        tuple(evidence),
        digest_of(config.model_dump(mode="json")),
        now,
    )


def verdict_of(outcomes: Sequence[Outcome]) -> Verdict:
    """What the checks amount to; nothing asked is nothing proven."""
    if "fail" in outcomes:
        return "fail"
    return "pass" if "insufficient" not in outcomes and "pass" in outcomes else "insufficient"


def _check(
    criterion: Criterion,
    subject: Subject,
    evidence: Sequence[Evidence],
    config: GateConfig,
    now: datetime,
) -> Check:
    name = criterion.name
    if not criterion.asked(config):
        return Check(name, "not-applicable", None, None, "off", {})
    if criterion.label_free_only and not subject.label_free:
        return Check(name, "not-applicable", None, None, "supervised", {})
    piece = chosen(criterion.kind, subject, evidence, now)
    if isinstance(piece, Reason):
        return _unusable(criterion, piece, config)
    try:
        found: Finding = criterion.judge(piece, config)
    except UnusableError as error:
        return _unusable(criterion, error.reason, config)
    return Check(
        name, found.outcome, found.figure, criterion.bound(config), found.key, found.values,
        (piece.digest,),
    )  # fmt: skip


def _unusable(criterion: Criterion, reason: Reason, config: GateConfig) -> Check:
    values = {"kind": criterion.kind, **reason.values}
    bound = criterion.bound(config)
    return Check(criterion.name, "insufficient", None, bound, reason.key, values)


def _read(found: Any) -> Decision:
    if found["format"] != FORMAT:
        raise ValueError(f"format {found['format']!r}, expected {FORMAT}")
    checks = tuple(_made(Check, one) for one in found["checks"])
    decision = Decision(
        found["verdict"],
        _made(Subject, found["subject"]),
        checks,
        tuple(_made(Evidence, one) for one in found["evidence"]),
        found["config"],
        found["made"],
    )
    if [check.name for check in checks] != [criterion.name for criterion in CRITERIA]:
        raise ValueError("its checks are not those of the gate")
    if any(check.verdict not in get_args(Outcome) for check in checks):
        raise ValueError("a check has no known verdict")
    if decision.verdict != verdict_of([check.verdict for check in checks]):
        raise ValueError(f"verdict {decision.verdict!r} does not follow from its checks")
    if moment(decision.made) is None or not isinstance(decision.config, str):
        raise ValueError("no time or no settings")
    return decision


def _made(kind: type[Any], found: Mapping[str, Any]) -> Any:
    values = {field.name: found[field.name] for field in fields(kind)}
    if kind is Check:
        values["evidence"] = tuple(str(one) for one in values["evidence"])
    return kind(**values)
