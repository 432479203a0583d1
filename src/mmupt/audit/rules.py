"""Error-detection rules over the pseudo-labels of a round: what each detects, and whom it hits.

A rule looks for an error that shows without the true answer. What it hits is not proven wrong, and
what it lets pass is not proven right; hits are what people audit first. docs/rules.md has an
example of each.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from mmupt.audit.injection import suspicious
from mmupt.audit.rule_facts import Facts, classes_of, last_of_each, world_of
from mmupt.audit.rule_units import Measured, Reader, reader_of
from mmupt.config_supervision import BuiltInRule, RuleConfig, RulesConfig
from mmupt.consensus.equivalence import equivalent, partition
from mmupt.expressions import judge, read_condition

Confirmed = Mapping[str | tuple[str, str], str]
"""Answers that people confirmed, by sample id or by (digest of the pictures, problem)."""

MIN_QUESTIONS = 20
"""Fewer labelled questions say nothing about a constant answer."""
MIN_VOTES = 3
"""With fewer votes a lead of one is no doubt."""


@dataclass(frozen=True, slots=True)
class Hits:
    """What a rule says of a round.

    Attributes:
        rule: its name.
        description: what it looks for, in words; of a rule of people's own its condition.
        ids: samples that it hits, in the order of the round.
        count: how many.
        of: how many it could judge; the others lack what it looks at.
    """

    rule: str
    description: str
    ids: tuple[str, ...]
    count: int
    of: int


@dataclass(frozen=True)
class Round:
    """All that the rules look at.

    Attributes:
        facts: one of each sample.
        config: settings of the rules.
        confirmed: answers that people confirmed earlier.
        kind, rtol: when two answers say the same, as in the votes.
        read: labels as numbers in the configured unit.
    """

    facts: Sequence[Facts]
    config: RulesConfig
    confirmed: Confirmed
    kind: str
    rtol: float | None
    read: Reader


Judged = Iterable[tuple[Facts, bool | None]]
"""Each sample with whether it is hit; None: it cannot be judged."""


def apply_rules(
    facts: Sequence[Facts],
    config: RulesConfig,
    *,
    confirmed: Confirmed | None = None,
    kind: str = "auto",
    rtol: float | None = None,
) -> tuple[Hits, ...]:
    """What every rule hits: the built-in ones that are not left out, then people's own.

    Args:
        facts: the round's labels; of a sample that is there twice the last counts.
        config: settings.
        confirmed: answers that people confirmed earlier.
        kind, rtol: when two answers say the same (`consensus.kind`, `consensus.rtol`).

    Raises:
        ConfigError: unknown kind, rtol out of range, or a condition that cannot be read.
    """
    seen = Round(
        last_of_each(facts), config, confirmed or {}, kind, rtol, reader_of(config.unit, kind)
    )
    built_in = [
        _hits(name, rule.about, rule.judge(seen))
        for name, rule in RULES.items()
        if name not in config.leave_out
    ]
    return (*built_in, *(_hits(own.name, own.when, _own(own, seen)) for own in config.own))


def hits_by_id(hits: Iterable[Hits]) -> dict[str, tuple[str, ...]]:
    """Names of the rules that hit each sample, in the order of the rules; only samples with one."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for hit in hits:
        for sample_id in hit.ids:
            found[sample_id].append(hit.rule)
    return {sample_id: tuple(names) for sample_id, names in found.items()}


# --- the rules ------------------------------------------------------------------------------------


def unparseable(seen: Round) -> Judged:
    """Most votes hold no readable answer: the format broke, or the question asks for none.

    False positives: free text where `consensus.kind` asks for a number; replies cut by a length
    limit that is too short.
    """
    for one in seen.facts:
        classes = classes_of(one, seen.kind, seen.rtol)
        yield one, 2 * classes.count(None) > len(classes) if classes else None


def no_label(seen: Round) -> Judged:
    """Readable votes without a label: a tie, or a majority that a check refused.

    False positives: a tie on a question that is ambiguous is no error of the model.
    """
    for one in seen.facts:
        readable = any(c is not None for c in classes_of(one, seen.kind, seen.rtol))
        yield one, one.pseudo_label is None if readable else None


def truncated(seen: Round) -> Judged:
    """Most replies were cut at the length limit: their answers were read from half a thought.

    False positives: few; a reply that had answered and went on is one.
    """
    for one in seen.facts:
        yield one, None if math.isnan(one.truncated) else one.truncated > 0.5


def out_of_range(seen: Round) -> Judged:
    """A number that cannot be: outside `number_range`, read in `unit`. Bounds are in the range.

    False positives: a range set too narrowly; a label in base units where no unit is set (12 mm is
    0.012). Labels that are no number, or of a unit that does not convert, are not judged.
    """
    limits = seen.config.number_range
    for one in seen.facts:
        found = _measured(one, seen)
        if limits is None or found is None or found.value is None:
            yield one, None
        else:
            low, high = (_exact(limit, found.value) for limit in limits)
            yield one, not low <= found.value <= high


def unit_missing(seen: Round) -> Judged:
    """A number without `unit`, or with one that does not convert to it (12 kg for mm).

    False positives: questions that ask for the number alone. Labels that are no number are not
    judged, nor is anything where no unit is set.
    """
    for one in seen.facts:
        found = _measured(one, seen) if seen.config.unit is not None else None
        yield one, None if found is None else not found.carries


def contradicts_confirmed(seen: Round) -> Judged:
    """The label differs from an answer that people confirmed for this question.

    Found by sample id, and by the same pictures with the same question under another id. Whether
    answers differ is what the votes say (0.5 = 1/2), never their spelling.

    False positives: the confirmed answer was wrong, or the question has two right answers.
    """
    for one in seen.facts:
        keys: list[str | tuple[str, str]] = [one.sample_id]
        if one.image_digest is not None:
            keys.append((one.image_digest, one.problem))
        known = [seen.confirmed[key] for key in keys if key in seen.confirmed]
        label = one.pseudo_label
        if label is None or not known:
            yield one, None
        else:
            yield one, not all(_same(label, answer, seen) for answer in known)


def unaffected_by_image(seen: Round) -> Judged:
    """The label is the same without the picture: it may come from the question's words alone.

    False positives: many where answers are few (yes or no); a guess hits the label by chance.
    """
    for one in seen.facts:
        if one.pseudo_label is None or one.blind_label is None:
            yield one, None
        else:
            yield one, _same(one.pseudo_label, one.blind_label, seen)


def constant_answer(seen: Round) -> Judged:
    """One answer to more than `constant_share` of the questions: a collapse (arXiv 2505.21444).

    Looked at over all questions and over those with the same words, from 20 on.

    False positives: the answer is that frequent, as `OK` in a line that makes few defects; raise
    `constant_share` above the true frequency.
    """
    labelled = [one for one in seen.facts if one.pseudo_label is not None]
    groups: defaultdict[str, list[Facts]] = defaultdict(list)
    for one in labelled:
        groups[one.problem].append(one)
    verdicts: dict[str, bool] = {}
    for group in (labelled, *groups.values()):
        if len(group) < MIN_QUESTIONS:
            continue
        # Exact values: over many questions a tolerance would chain all numbers into one class.
        classes = partition([one.pseudo_label for one in group], kind=seen.kind)
        counts = Counter(c for c in classes if c is not None)
        most = seen.config.constant_share * len(group)
        for one, own in zip(group, classes, strict=True):
            hit = own is not None and counts[own] > most
            verdicts[one.sample_id] = verdicts.get(one.sample_id, False) or hit
    for one in seen.facts:
        yield one, verdicts.get(one.sample_id)


def injection_like(seen: Round) -> Judged:
    """The question or a reply reads like instructions to a model or a reviewer (`injection`).

    False positives: pictures and questions about software, chats or e-mails that hold such text
    rightly; any link with a query.
    """
    for one in seen.facts:
        yield one, any(suspicious(text) for text in (one.problem, *one.completions))


def low_margin(seen: Round) -> Judged:
    """The most frequent answer leads the second by one vote at most: one reply decided.

    False positives: 43% of its hits on the demo are right (benchmarks/rules.py). Judged from 3
    votes on.
    """
    for one in seen.facts:
        votes = len(one.answers)
        known = not math.isnan(one.margin) and votes >= MIN_VOTES and one.pseudo_label is not None
        yield one, one.margin * votes < 1.5 if known else None


@dataclass(frozen=True, slots=True)
class Rule:
    """A built-in rule: what it looks for, and how it judges a round."""

    about: str
    judge: Callable[[Round], Judged]


RULES: Mapping[BuiltInRule, Rule] = {
    "unparseable": Rule("most votes hold no readable answer", unparseable),
    "no-label": Rule("readable votes gave no label: a tie, or a check refused it", no_label),
    "truncated": Rule("most replies were cut at the length limit", truncated),
    "out-of-range": Rule("a number outside rules.number_range", out_of_range),
    "unit-missing": Rule("a number without rules.unit", unit_missing),
    "contradicts-confirmed": Rule("differs from an answer that people confirmed earlier",
                                  contradicts_confirmed),
    "unaffected-by-image": Rule("the same label without the picture", unaffected_by_image),
    "constant-answer": Rule("one answer to nearly all questions", constant_answer),
    "injection-like": Rule("text like instructions to a model or a reviewer", injection_like),
    "low-margin": Rule("the answer leads the second by one vote at most", low_margin),
}  # fmt: skip


def _own(rule: RuleConfig, seen: Round) -> Judged:
    tree = read_condition(rule.when)
    for one in seen.facts:
        yield one, judge(tree, world_of(one, seen.read, seen.kind, seen.rtol))


def _hits(name: str, about: str, judged: Judged) -> Hits:
    verdicts = list(judged)
    ids = tuple(one.sample_id for one, hit in verdicts if hit)
    return Hits(name, about, ids, len(ids), sum(hit is not None for _, hit in verdicts))


def _measured(one: Facts, seen: Round) -> Measured | None:
    return None if one.pseudo_label is None else seen.read(one.pseudo_label)


def _same(one: str, other: str, seen: Round) -> bool:
    return one == other or equivalent(one, other, kind=seen.kind, rtol=seen.rtol)


def _exact(limit: float, value: Fraction) -> Fraction:
    """0.1 as it was written, not as the nearest binary number; an open end meets every value."""
    return value if math.isinf(limit) else Fraction(str(limit))
