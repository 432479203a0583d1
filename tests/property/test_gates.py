"""A gate never passes on missing, stale, foreign or broken evidence, whatever the evidence is."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmupt.config_supervision import GateConfig
from mmupt.gates import Decision, Evidence, Subject, decide
from mmupt.gates.evidence import COMPARES, KINDS, MEASURED_ON
from mmupt.gates.paired import Paired, worse_p

CONFIG = GateConfig(slices=("site", "camera"))
HEX = st.text("0123456789abcdef", min_size=64, max_size=64)
START = datetime.fromisoformat("2026-01-01T00:00:00+00:00")
JUNK: tuple[Any, ...] = (
    None, math.nan, math.inf, -math.inf, -1, 1.5, 10**400, "0.9", "", b"1", object(), [], {},
    [None], [[]], {"x": 1}, True, False, {1: 2},
)  # fmt: skip
BAD_VALUES: tuple[Any, ...] = (None, math.nan, math.inf, 2, -0.1, "1", True, [1], {}, object())
HARMLESS = (("guard", "watched", True), ("guard", "stopped_by", []))
"""What is among them and yet right."""

Case = tuple[Subject, list[Evidence], str]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A subject and evidence that lets it pass; the order of the pieces is arbitrary."""
    names = draw(st.lists(HEX, min_size=4, max_size=4, unique=True))
    finished = START + timedelta(minutes=draw(st.integers(0, 10_000)))
    subject = Subject(
        "round-2", names[0], "round-1", names[1], {"test": names[2], "round": names[3]},
        finished.isoformat(), True,
    )  # fmt: skip
    figures = {
        "audit": draw(audits()),
        "held-out": draw(held_outs()),
        "guard": {
            "watched": True, "stopped_by": [], "best_step": draw(st.integers(1, 30)), "steps": 30,
            "evidence": [],
        },
        "slices": {
            column: {group: draw(gains(20, 60)) for group in ("a", "b", "c")}
            for column in CONFIG.slices
        },
        "blind": draw(unchanged(200, 400)),
    }  # fmt: skip
    made = [finished + timedelta(seconds=draw(st.integers(0, 10_000))) for _ in range(len(figures))]
    pieces = [
        Evidence(
            kind, subject.digest, subject.baseline_digest if kind in COMPARES else None,
            subject.data[MEASURED_ON[kind]], time.isoformat(), figures[kind],
        )
        for kind, time in zip(KINDS, made, strict=True)
    ]  # fmt: skip
    return subject, draw(st.permutations(pieces)), max(made).isoformat()


@st.composite
def audits(draw: st.DrawFn) -> dict[str, Any]:
    n = draw(st.integers(50, 200))
    wrong = draw(st.integers(0, n // 10))
    estimate = (n - wrong) / n
    return {
        "n": n, "right": n - wrong, "wrong": wrong, "unsure": draw(st.integers(0, 5)),
        "population": draw(st.integers(n, 5000)), "estimate": estimate,
        "low": draw(st.floats(0.7, min(0.98, estimate))), "high": 1.0,
        "confidence": draw(st.floats(0.95, 0.999)),
        "still_needed": draw(st.none() | st.integers(0, 50)),
        "design": "risk-first", "size": "sequential",
    }  # fmt: skip


@st.composite
def gains(draw: st.DrawFn, least: int, most: int) -> dict[str, list[int]]:
    """Right or wrong before and after; as many are won as lost, or more."""
    n = draw(st.integers(least, most))
    lost = draw(st.integers(0, n // 100))
    won = draw(st.integers(lost, n // 10))
    kept = draw(st.integers(0, n - lost - won))
    wrong = n - lost - won - kept
    return {
        "before": [1] * (kept + lost) + [0] * (won + wrong),
        "after": [1] * kept + [0] * lost + [1] * won + [0] * wrong,
    }


@st.composite
def unchanged(draw: st.DrawFn, least: int, most: int) -> dict[str, list[int]]:
    n = draw(st.integers(least, most))
    right, turned = draw(st.integers(0, n // 2)), draw(st.integers(0, n // 20))
    return {
        "before": [1] * (right + turned) + [0] * (n - right - turned),
        "after": [1] * right + [0] * (n - right - turned) + [1] * turned,
    }


@st.composite
def held_outs(draw: st.DrawFn) -> dict[str, Any]:
    greedy = draw(gains(300, 400))
    n = len(greedy["before"])
    share, odd = draw(st.floats(0.3, 1.0)), draw(st.floats(0.0, 0.5))
    figures: dict[str, Any] = {"ids_sha256": draw(HEX)}
    for end, values in greedy.items():
        figures[f"greedy_{end}"] = values
        figures[f"mean_{end}"] = [0.1 + 0.8 * value for value in values]
        figures[f"share_{end}"] = [share] * n
        figures[f"abstained_{end}"] = [odd] * n
        figures[f"truncated_{end}"] = [odd] * n
    return figures


def verdict(case: Case, **changes: Any) -> str:
    subject, evidence, now = case
    decision = decide(subject, evidence, changes.get("config", CONFIG), now=now)
    for lang in ("en", "ja"):
        assert decision.explain(lang)  # whatever was decided, it can be said
    return decision.verdict


SOME = settings(max_examples=30)  # a case is some 5,000 figures


def with_piece(case: Case, kind: str, change: Callable[[Evidence], list[Evidence]]) -> Case:
    """The case with its piece of a kind replaced by none, one or several."""
    subject, evidence, now = case
    return subject, [new for p in evidence for new in (change(p) if p.kind == kind else [p])], now


@SOME
@given(cases())
def test_valid_evidence_of_a_good_model_passes(case: Case) -> None:
    """Control: without it, the tests below would hold for a gate that never passes."""
    assert verdict(case) == "pass"


def shifted(time: str, seconds: float) -> str:
    return (datetime.fromisoformat(time) + timedelta(seconds=seconds)).isoformat()


CORRUPTIONS: dict[str, Callable[[Evidence, Subject, str], list[Evidence]]] = {
    "missing": lambda p, s, now: [],
    "another version": lambda p, s, now: [replace(p, version_digest="0" * 63 + "x")],
    "the baseline itself": lambda p, s, now: [replace(p, version_digest=s.baseline_digest)],
    "no version": lambda p, s, now: [replace(p, version_digest="")],
    "another baseline": lambda p, s, now: [replace(p, baseline_digest="0" * 63 + "x")],
    "compared with itself": lambda p, s, now: [replace(p, baseline_digest=s.digest)],
    "other data": lambda p, s, now: [replace(p, data_digest="0" * 63 + "x")],
    "the other data": lambda p, s, now: [
        replace(p, data_digest=s.data["test" if MEASURED_ON[p.kind] == "round" else "round"])
    ],
    "older than the version": lambda p, s, now: [replace(p, made=shifted(s.made, -0.001))],
    "from the future": lambda p, s, now: [replace(p, made=shifted(now, 0.001))],
    "no time": lambda p, s, now: [replace(p, made="")],
    "a time without offset": lambda p, s, now: [replace(p, made=p.made[:19])],
    "no kind": lambda p, s, now: [replace(p, kind="other")],  # type: ignore[arg-type]
    "no figures": lambda p, s, now: [replace(p, figures={})],
    "figures that are none": lambda p, s, now: [replace(p, figures=None)],  # type: ignore[arg-type]
    "figures of another kind": lambda p, s, now: [replace(p, figures={"x": p.figures})],
    "a second piece with other figures": lambda p, s, now: [
        p, replace(p, figures={**p.figures, "note": 1})
    ],
    "a second piece without figures": lambda p, s, now: [replace(p, figures={}), p],
}  # fmt: skip


@pytest.mark.parametrize("name", CORRUPTIONS)
@settings(max_examples=8)
@given(case=cases(), kind=st.sampled_from(KINDS))
def test_a_single_corruption_never_passes(name: str, case: Case, kind: str) -> None:
    subject, _, now = case
    broken = with_piece(case, kind, lambda p: CORRUPTIONS[name](p, subject, now))
    assert verdict(broken) == "insufficient"


@SOME
@given(cases(), st.sampled_from(sorted(COMPARES)))
def test_a_comparison_names_its_baseline(case: Case, kind: str) -> None:
    assert (
        verdict(with_piece(case, kind, lambda p: [replace(p, baseline_digest=None)]))
        == "insufficient"
    )


@SOME
@given(cases(), st.sampled_from(["version", "baseline", "test", "round", "made"]))
def test_evidence_is_worthless_once_its_subject_has_changed(case: Case, what: str) -> None:
    subject, evidence, now = case
    other = "0" * 63 + "x"
    changed = {
        "version": replace(subject, digest=other),
        "baseline": replace(subject, baseline_digest=other),
        "test": replace(subject, data={**subject.data, "test": other}),
        "round": replace(subject, data={"test": subject.data["test"]}),
        "made": replace(subject, made=shifted(now, 0.001)),
    }[what]
    assert verdict((changed, evidence, now)) == "insufficient"


@SOME
@given(cases(), st.data())
def test_a_broken_figure_never_passes(case: Case, data: st.DataObject) -> None:
    """Any single figure replaced by something that it cannot be, or left out."""
    kind = data.draw(st.sampled_from(KINDS))
    [piece] = [p for p in case[1] if p.kind == kind]
    figures = deepcopy(dict(piece.figures))
    place: dict[str, Any] = figures
    if kind == "slices":
        place = data.draw(st.sampled_from([figures, figures["site"], figures["site"]["b"]]))
    key = data.draw(st.sampled_from(sorted(place.keys() - {"evidence", "still_needed"})))
    texts = key in ("design", "size", "ids_sha256")
    junk = [
        value
        for value in JUNK
        if not (texts and value == "0.9")
        and not any((kind, key) == h[:2] and value == h[2] for h in HARMLESS)
    ]
    if data.draw(st.booleans()) and place is not figures.get("site"):
        place.pop(key)
    else:
        place[key] = data.draw(st.sampled_from(junk))
    broken = with_piece(case, kind, lambda p: [replace(p, figures=figures)])
    assert verdict(broken) != "pass"


@SOME
@given(cases(), st.data())
def test_a_broken_list_never_passes(case: Case, data: st.DataObject) -> None:
    """One value that is none, one value too many or too few, or lists of different questions."""
    kind = data.draw(st.sampled_from(["held-out", "blind", "slices"]))
    [piece] = [p for p in case[1] if p.kind == kind]
    figures = deepcopy(dict(piece.figures))
    place = figures["camera"]["a"] if kind == "slices" else figures
    key = data.draw(st.sampled_from([k for k, v in place.items() if isinstance(v, list)]))
    how = data.draw(st.sampled_from(["value", "longer", "shorter", "empty"]))
    values = place[key]
    if how == "value":
        values[data.draw(st.integers(0, len(values) - 1))] = data.draw(st.sampled_from(BAD_VALUES))
    else:
        place[key] = {"longer": [*values, 1], "shorter": values[:-1], "empty": []}[how]
    broken = with_piece(case, kind, lambda p: [replace(p, figures=figures)])
    assert verdict(broken) == "insufficient"


@SOME
@given(cases(), st.floats(0.5, 0.9499))
def test_an_interval_of_lower_confidence_never_passes(case: Case, confidence: float) -> None:
    def lower(p: Evidence) -> list[Evidence]:
        return [replace(p, figures={**p.figures, "confidence": confidence})]

    assert verdict(with_piece(case, "audit", lower)) == "insufficient"


@SOME
@given(cases(), st.sampled_from(["right", "wrong", "n", "population", "low", "estimate"]))
def test_counts_that_contradict_each_other_never_pass(case: Case, what: str) -> None:
    def wrong(p: Evidence) -> list[Evidence]:
        f = dict(p.figures)
        f |= {
            "right": {"right": f["n"] + 1},
            "wrong": {"wrong": f["n"] + 1},
            "n": {"n": f["right"] + f["wrong"] + f["unsure"] + 1},
            "population": {"population": f["n"] - 1},
            "low": {"low": 0.9, "high": 0.8, "estimate": 0.9},
            "estimate": {"low": 0.99, "estimate": 0.98},
        }[what]
        return [replace(p, figures=f)]

    assert verdict(with_piece(case, "audit", wrong)) == "insufficient"


@SOME
@given(cases(), st.integers(1, 40))
def test_a_tiny_evaluation_never_passes_for_lack_of_power(case: Case, rows: int) -> None:
    """The same questions, but only so few that a loss could not have shown."""

    def cut(p: Evidence) -> list[Evidence]:
        few = {k: v[-rows:] if isinstance(v, list) else v for k, v in p.figures.items()}
        few |= {f"greedy_{end}": [1] * rows for end in ("before", "after")}
        return [replace(p, figures=few)]

    assert verdict(with_piece(case, "held-out", cut)) == "insufficient"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
NAMES = st.sampled_from(
    ["n", "right", "wrong", "low", "high", "estimate", "confidence", "watched", "stopped_by", "lot",
     "best_step", "steps", "site", "camera", "before", "after", "greedy_before", "greedy_after"]
)  # fmt: skip
GARBAGE = st.dictionaries(NAMES, JSON, max_size=18)


@SOME
@given(cases(), st.data())
def test_garbage_never_raises_and_never_passes(case: Case, data: st.DataObject) -> None:
    subject, evidence, now = case
    pieces = [replace(p, figures=data.draw(GARBAGE)) for p in evidence]
    assert verdict((subject, pieces, now)) != "pass"
    mixed = [p for pair in zip(evidence, pieces, strict=True) for p in pair]
    assert verdict((subject, mixed, now)) != "pass"


@SOME
@given(cases())
def test_with_every_criterion_off_nothing_passes(case: Case) -> None:
    off = GateConfig.model_validate(
        {name: None for name in GateConfig.model_fields if name.startswith(("max_", "min_p"))}
        | {"guard": False}
    )
    assert verdict(case, config=off) == "insufficient"


@SOME
@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_evidence_does_not_matter(case: Case, random: Any) -> None:
    subject, evidence, now = case
    other = list(evidence)
    random.shuffle(other)
    first, second = (decide(subject, e, CONFIG, now=now) for e in (evidence, other))
    assert first.checks == second.checks


@SOME
@given(cases(), st.lists(GARBAGE, max_size=3))
def test_a_decision_about_anything_can_be_stored(case: Case, garbage: list[Any]) -> None:
    subject, evidence, now = case
    pieces = [replace(p, figures=g) for p, g in zip(evidence, garbage, strict=False)]
    for given_pieces in (evidence, pieces):
        decision = decide(subject, given_pieces, CONFIG, now=now)
        assert Decision.from_json(decision.as_json()) == decision
        assert Decision.from_json(json.dumps(decision.as_json(), allow_nan=False)) == decision


COUNTS = st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(0, 200)).filter(any)


@given(COUNTS, st.floats(0.6, 0.99))
def test_bounds_hold_the_estimate_and_turn_round(
    counts: tuple[int, int, int], confidence: float
) -> None:
    won, lost, same = counts
    for binary in (True, False):
        seen = Paired(won + lost + same, won, lost, won + lost, binary)
        low, high = seen.lower(confidence), seen.upper(confidence)
        assert -1 <= low <= seen.estimate <= high <= 1
        assert seen.turned.lower(confidence) == pytest.approx(-high)
        assert seen.lower((1 + confidence) / 2) <= low + 1e-9
    assert 0 <= worse_p(lost, won) <= 1


@given(COUNTS)
def test_one_more_lost_question_never_helps(counts: tuple[int, int, int]) -> None:
    won, lost, same = counts
    n = won + lost + same + 1
    before = Paired(n, won, lost, won + lost, True)
    after = Paired(n, won, lost + 1, won + lost + 1, True)
    assert after.lower(0.95) <= before.lower(0.95) + 1e-9
    assert worse_p(lost + 1, won) <= worse_p(lost, won)
