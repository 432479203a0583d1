"""The gate's criteria by hand, its bounds by brute force, its words, and its settings."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import product
from typing import Any

import pytest
from rich.console import Console

from mmupt.config_supervision import GateConfig
from mmupt.errors import ConfigError, InputError
from mmupt.gates import Check, Decision, Evidence, Subject, decide
from mmupt.gates.paired import Paired, round_up, rows_needed, worse_p
from mmupt.gates.view import decision_view
from mmupt.stats import holm
from mmupt.words import texts

DIGEST, BASELINE = "a" * 64, "b" * 64
FINISHED, LATER, NOW = (
    "2026-03-01T10:00:00+00:00", "2026-03-01T11:00:00+00:00", "2026-03-01T12:00:00+00:00"
)  # fmt: skip
SUBJECT = Subject(
    "round-2", DIGEST, "round-1", BASELINE, {"test": "t" * 64, "round": "r" * 64}, FINISHED, True
)
OFF = GateConfig(
    min_precision=None, max_regression=None, max_consistency_loss=None, guard=False,
    max_slice_drop=None, max_blind_rise=None, max_format_rise=None,
)  # fmt: skip


def piece(kind: Any, figures: Mapping[str, Any], **changes: Any) -> Evidence:
    alone = kind in ("audit", "guard")
    values: dict[str, Any] = {
        "version_digest": DIGEST,
        "baseline_digest": None if alone else BASELINE,
        "data_digest": ("r" if alone else "t") * 64,
        "made": LATER,
    }
    return Evidence(kind, figures=figures, **{**values, **changes})


def audit(right: int, n: int, low: float, high: float, **changes: Any) -> Evidence:
    figures = {
        "n": n, "right": right, "wrong": n - right, "unsure": 0, "population": 600,
        "estimate": right / n, "low": low, "high": high, "confidence": 0.95,
        "still_needed": None, "design": "random", "size": "fixed", **changes,
    }  # fmt: skip
    return piece("audit", figures)


def outcomes(kept: int, lost: int, won: int, wrong: int) -> tuple[list[int], list[int]]:
    """Before and after with these numbers of questions."""
    return [1] * (kept + lost) + [0] * (won + wrong), [1] * kept + [0] * lost + [1] * won + [
        0
    ] * wrong


def held_out(
    greedy: tuple[Sequence[float], Sequence[float]],
    mean: tuple[Sequence[float], Sequence[float]] | None = None,
    **changes: Any,
) -> Evidence:
    n = len(greedy[0])
    figures: dict[str, Any] = {"ids_sha256": "i" * 64}
    flat = {"share": 0.8, "abstained": 0.0, "truncated": 0.0}
    for k, end in enumerate(("before", "after")):
        figures[f"greedy_{end}"] = list(greedy[k])
        figures[f"mean_{end}"] = list((mean or greedy)[k])
        figures |= {f"{name}_{end}": [value] * n for name, value in flat.items()}
    return piece("held-out", {**figures, **changes})


GUARD = {"watched": True, "stopped_by": [], "best_step": 12, "steps": 30, "evidence": []}


def check(evidence: Sequence[Evidence], name: str, **settings: Any) -> Check:
    """One criterion alone, with the defaults of its setting unless told."""
    field = {
        "precision": "min_precision", "regression": "max_regression", "guard": "guard",
        "consistency": "max_consistency_loss", "slices": "max_slice_drop",
        "blind": "max_blind_rise", "format": "max_format_rise",
    }[name]  # fmt: skip
    config = OFF.model_copy(update={field: getattr(GateConfig(), field), **settings})
    decision = decide(SUBJECT, evidence, config, now=NOW)
    [found] = [one for one in decision.checks if one.name == name]
    assert decision.verdict == found.verdict  # it alone decides
    assert {c.verdict for c in decision.checks if c.name != name} == {"not-applicable"}
    return found


# Bounds


def test_tangos_bound_by_hand() -> None:
    """No question differs: T = sqrt(n d / (1 - d)) for a loss d, so the bound is -z^2 / (n + z^2)."""
    z2 = 1.6448536269514722**2
    assert Paired(100, 0, 0, 0, True).lower(0.95) == pytest.approx(-z2 / (100 + z2), abs=1e-9)
    assert Paired(100, 0, 0, 0, True).upper(0.95) == pytest.approx(z2 / (100 + z2), abs=1e-9)


def test_a_model_at_the_margin_passes_as_often_as_the_confidence_says() -> None:
    """All outcomes of 100 questions: 8% lost and 3% won, so the true loss is the margin of 5%."""
    n, lost_rate, won_rate, margin = 100, 0.08, 0.03, 0.05
    passed = 0.0
    for lost, won in product(range(30), range(20)):
        same = n - lost - won
        ways = math.factorial(n) // (math.factorial(lost) * math.factorial(won))
        chance = ways // math.factorial(same) * lost_rate**lost * won_rate**won * 0.89**same
        passed += chance * (Paired(n, won, lost, won + lost, True).lower(0.95) >= -margin)
    assert 0.03 < passed < 0.06


def test_tangos_bound_solves_its_equation() -> None:
    """With q found by maximising the likelihood on a fine grid instead of by the formula."""
    n, won, lost = 50, 3, 6
    delta = Paired(n, won, lost, won + lost, True).lower(0.95)

    def log_likelihood(q: float) -> float:
        p = q + delta  # of winning
        if not 0 < p < 1 or not 0 < q < 1 - p:
            return -math.inf
        return won * math.log(p) + lost * math.log(q) + (n - won - lost) * math.log(1 - p - q)

    q = max((k / 200_000 for k in range(1, 200_000)), key=log_likelihood)
    statistic = (won - lost - n * delta) / math.sqrt(n * (2 * q + delta * (1 - delta)))
    assert statistic == pytest.approx(1.6449, abs=2e-3)


def test_sampled_bound_by_hand() -> None:
    """Two questions, +0.5 and +0.25, and one more at -1: mean -1/12, t(2) at 95% one-sided 2.92."""
    seen = Paired.of([0.5, 0.25], [1.0, 0.5])
    values = [0.5, 0.25, -1.0]
    mean = sum(values) / 3
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / 2)
    assert seen.lower(0.95) == pytest.approx(max(-1, mean - 2.919986 * deviation / math.sqrt(3)))
    assert not seen.binary


def test_nothing_changed_in_few_rows_proves_little() -> None:
    for binary in (True, False):
        assert Paired(10, 0, 0, 0, binary).lower(0.95) < -0.2
        assert Paired(1000, 0, 0, 0, binary).lower(0.95) > -0.01


def test_one_sided_mcnemar_by_brute_force() -> None:
    """All 2^n ways in which n questions can fall to either model."""
    for n in range(1, 11):
        for lost in range(n + 1):
            ways = sum(sum(way) >= lost for way in product((0, 1), repeat=n))
            truth = Fraction(ways, 2**n)
            p = worse_p(lost, n - lost)
            assert p == pytest.approx(float(truth)) if lost > n - lost else p == 1.0 >= truth
    assert worse_p(0, 0) == 1.0


def test_mcnemar_of_many_questions_agrees_with_the_integers() -> None:
    for lost, won in ((560, 500), (700, 600), (505, 500)):
        n = lost + won
        exact = Fraction(sum(math.comb(n, i) for i in range(won + 1)), 2**n)
        assert worse_p(lost, won) == pytest.approx(float(exact), rel=1e-9)
    assert worse_p(60_000, 50_000) < 1e-100  # quick, too


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_rows_needed_would_do() -> None:
    seen = Paired(60, 6, 5, 11, True)
    needed = rows_needed(seen, 0.03, 0.95)
    assert needed is not None
    assert seen.lower(0.95) < -0.03 <= seen.scaled(needed).lower(0.95)
    assert seen.scaled(0.9 * needed).lower(0.95) < -0.03
    assert rows_needed(Paired(60, 0, 5, 5, True), 0.03, 0.95) is None  # the loss seen is larger
    assert round_up(1234) == 1300
    assert round_up(7) == 7
    assert round_up(100) == 100


# Criteria


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.70, 0.9, "pass"), (0.69, 0.9, "insufficient"), (0.4, 0.70, "insufficient"),
     (0.4, 0.69, "fail")],
)  # fmt: skip
def test_precision(low: float, high: float, verdict: str) -> None:
    found = check([audit(42, 60, low, high)], "precision")
    assert found.verdict == verdict
    assert found.bound == 0.7


def test_precision_says_how_many_verdicts_are_missing() -> None:
    found = check([audit(46, 60, 0.64, 0.87, still_needed=40)], "precision")
    assert found.sentence("en").endswith("so about 40 more verdicts are needed")
    assert found.sentence("ja").endswith("判定があと約40件必要です")


@pytest.mark.parametrize(
    ("lot", "verdict"),
    [({"accepted": True}, "pass"), ({"accepted": False}, "fail"), ({}, "insufficient"),
     ({"accepted": None}, "insufficient"), ({"accepted": 1}, "insufficient"), (None, "pass")],
)  # fmt: skip
def test_a_lot_plan_can_refuse_but_not_replace_the_bound(lot: Any, verdict: str) -> None:
    assert check([audit(75, 80, 0.86, 0.98, lot=lot)], "precision").verdict == verdict
    assert check([audit(60, 80, 0.64, 0.84, lot=lot)], "precision").verdict != "pass"


@pytest.mark.parametrize(
    ("counts", "verdict", "key"),
    [
        ((180, 6, 24, 90), "pass", "regression.pass"),
        ((180, 0, 0, 120), "pass", "regression.pass"),
        ((170, 14, 14, 102), "insufficient", "regression.more"),
        ((170, 14, 6, 110), "insufficient", "regression.open"),  # p = 0.058, 2.7 points lost
        ((170, 15, 6, 109), "fail", "regression.worse"),  # P(X >= 15 of 21) = 0.039
        ((4, 0, 0, 6), "insufficient", "regression.more"),  # unchanged, but ten rows
        ((0, 0, 20, 0), "pass", "regression.pass"),  # a great gain shows in twenty
    ],
)
def test_regression(counts: tuple[int, int, int, int], verdict: str, key: str) -> None:
    found = check([held_out(outcomes(*counts))], "regression")
    assert (found.verdict, found.key) == (verdict, key)


def test_a_sure_loss_is_refused_even_within_the_bound() -> None:
    """3,000 questions, 2 points lost: surely less than 3, and surely more than 0."""
    found = check([held_out(outcomes(1800, 80, 20, 1100))], "regression")
    assert (found.verdict, found.key) == ("fail", "regression.worse")
    assert found.figure is not None
    assert found.figure < 0.03


def test_sampled_answers_count_too() -> None:
    n = 300
    greedy = outcomes(180, 0, 0, 120)
    worse = ([0.75] * n, [0.625] * n)
    found = check([held_out(greedy, worse)], "regression")
    assert (found.verdict, found.key) == ("fail", "regression.fail")
    mixed = ([0.75] * n, [0.75, 0.0, 1.0] * (n // 3))
    assert check([held_out(greedy, mixed)], "regression").verdict != "pass"


def test_consistency() -> None:
    greedy = outcomes(180, 0, 0, 120)
    for after, verdict in ((0.8, "pass"), (0.76, "pass"), (0.7, "fail")):
        given = held_out(greedy, share_before=[0.8] * 300, share_after=[after] * 300)
        assert check([given], "consistency").verdict == verdict
    spread = held_out(greedy, share_before=[0.8] * 300, share_after=[1.0, 0.8, 0.47] * 100)
    assert check([spread], "consistency").verdict == "insufficient"


def test_format_looks_at_both_kinds() -> None:
    greedy = outcomes(180, 0, 0, 120)
    for name, words in (("abstained", "unreadable replies"), ("truncated", "truncated replies")):
        broken = held_out(greedy, **{f"{name}_after": [1.0] * 60 + [0.0] * 240})
        found = check([broken], "format")
        assert found.verdict == "fail"
        assert found.sentence("en").startswith(f"{words} rose from 0.0% to 20.0%")
    assert check([held_out(greedy)], "format").verdict == "pass"


def test_guard() -> None:
    assert check([piece("guard", GUARD)], "guard").verdict == "pass"
    for change, verdict in (
        ({"watched": False}, "insufficient"),
        ({"stopped_by": ["support-lost"]}, "fail"),
        ({"best_step": 0}, "fail"),
        ({"best_step": 31}, "insufficient"),
        ({"watched": 1}, "insufficient"),
        ({"stopped_by": "no"}, "insufficient"),
    ):
        assert check([piece("guard", {**GUARD, **change})], "guard").verdict == verdict


def test_blind_passes_an_unharmed_model_with_two_hundred_rows() -> None:
    """18 of 200 answers on blank pictures turn right and 18 wrong."""

    def given(counts: tuple[int, int, int, int]) -> Evidence:
        before, after = outcomes(*counts)
        return piece("blind", {"before": before, "after": after})

    assert check([given((2, 18, 18, 162))], "blind").verdict == "pass"
    assert check([given((2, 18, 40, 140))], "blind").verdict == "insufficient"
    assert check([given((20, 0, 60, 120))], "blind").verdict == "fail"


def group(n: int, lost: int, won: int = 0) -> dict[str, list[int]]:
    before, after = outcomes(n - lost - won, lost, won, 0)
    return {"before": before, "after": after}


def test_slices() -> None:
    """Groups of 50: 10 of 10 changed answers are lost, p = 2^-10, times six groups 0.006."""
    rest = {str(k): group(50, 2, 2) for k in range(5)}
    found = check(
        [piece("slices", {"site": {**rest, "night": group(50, 10)}})], "slices", slices=("site",)
    )
    assert (found.verdict, found.figure) == ("fail", 0.2)
    assert "site = night (50 rows) fell by 20.0 points" in found.sentence("en")
    passed = check([piece("slices", {"site": rest})], "slices", slices=("site",))
    assert passed.verdict == "pass"


def test_one_of_many_groups_may_fall_by_chance() -> None:
    """6 of 6 lost: p = 1/64 = 0.016, adjusted for six groups 0.09."""
    rest = {str(k): group(50, 2, 2) for k in range(5)}
    evidence = [piece("slices", {"site": {**rest, "night": group(50, 6)}})]
    assert check(evidence, "slices", slices=("site",)).verdict == "insufficient"
    alone = [piece("slices", {"site": {"night": group(50, 6)}})]
    assert check(alone, "slices", slices=("site",)).verdict == "fail"
    # Sure, but within what is allowed.
    small = [piece("slices", {"site": {"night": group(100, 8)}})]
    assert check(small, "slices", slices=("site",)).verdict == "pass"


def test_small_groups_decide_nothing_and_are_told() -> None:
    evidence = [piece("slices", {"site": {"a": group(50, 0), "b": group(19, 19)}})]
    found = check(evidence, "slices", slices=("site",))
    assert found.verdict == "pass"
    assert "1 groups below 20 rows not judged" in found.sentence("en")
    only = [piece("slices", {"site": {"b": group(19, 0)}})]
    assert check(only, "slices", slices=("site",)).verdict == "insufficient"
    other = [piece("slices", {"camera": {"a": group(50, 0)}})]
    assert check(other, "slices", slices=("site",)).verdict == "insufficient"


# Decisions


def good() -> list[Evidence]:
    greedy = outcomes(180, 6, 24, 90)
    return [
        audit(55, 60, 0.82, 0.97),
        held_out(greedy),
        piece("guard", GUARD),
        piece("slices", {"site": {"a": group(50, 1, 2)}}),
        piece("blind", {"before": [0] * 300, "after": [0] * 300}),
    ]


def test_all_evidence_of_a_good_model_passes() -> None:
    decision = decide(SUBJECT, good(), GateConfig(slices=("site",)), now=NOW)
    assert decision.verdict == "pass"
    assert [c.verdict for c in decision.checks] == ["pass"] * 7
    assert decision.explain("en").startswith(
        "round-2 may be promoted in place of round-1: of 60 audited pseudo-labels 55 were right "
        "(92%, surely at least 82%); accuracy on 300 held-out questions went from 62.0% to 68.0%"
    )


def test_one_failure_refuses_whatever_else_is_missing() -> None:
    decision = decide(SUBJECT, [audit(31, 60, 0.38, 0.65)], GateConfig(), now=NOW)
    assert decision.verdict == "fail"
    assert decision.explain("en") == (
        "round-2 is refused: of 60 audited pseudo-labels 31 were right (52%, surely below 70%)."
    )
    assert decision.explain("ja") == (
        "round-2の昇格は見送りです。理由：監査した擬似ラベル60件のうち正解は31件でした"
        "（52%、確実に70%未満）。"
    )


def test_nothing_asked_is_nothing_proven() -> None:
    decision = decide(SUBJECT, good(), OFF, now=NOW)
    assert decision.verdict == "insufficient"
    assert "nothing was asked" in decision.explain("en")


def test_supervised_fine_tuning_has_no_pseudo_labels_and_no_guard() -> None:
    tuned = Subject("sft", DIGEST, "base", BASELINE, SUBJECT.data, FINISHED, False)
    decision = decide(tuned, [good()[1], good()[4]], GateConfig(), now=NOW)
    assert decision.verdict == "pass"
    told = {c.name: c.verdict for c in decision.checks}
    assert [n for n, v in told.items() if v == "not-applicable"] == [
        "precision", "consistency", "guard", "slices"
    ]  # fmt: skip


def test_evidence_about_others_is_passed_over() -> None:
    """Older pieces in the same list do not hide the one that counts, nor count themselves."""
    foreign = audit(60, 60, 0.94, 1.0)
    foreign = piece("audit", foreign.figures, version_digest="c" * 64)
    config = GateConfig(slices=("site",))
    assert decide(SUBJECT, [foreign, *good(), foreign], config, now=NOW).verdict == "pass"
    rest = [one for one in good() if one.kind != "audit"]
    decision = decide(SUBJECT, [foreign, *rest], config, now=NOW)
    assert decision.verdict == "insufficient"
    assert "about another version" in decision.explain("en")


def test_a_decision_can_be_stored_and_read() -> None:
    deep: Any = 1
    for _ in range(20):
        deep = {"x": deep}
    for given in (good(), good()[:2], [], [piece("guard", {**GUARD, "deep": deep})]):
        decision = decide(SUBJECT, given, GateConfig(slices=("site",)), now=NOW)
        assert Decision.from_json(decision.as_json()) == decision
        assert Decision.from_json(json.dumps(decision.as_json(), allow_nan=False)) == decision


def test_a_stored_decision_does_not_say_what_its_checks_do_not() -> None:
    stored = decide(SUBJECT, [], GateConfig(), now=NOW).as_json()
    for change in (
        {"verdict": "pass"},
        {"checks": []},
        {"checks": stored["checks"][1:], "verdict": "insufficient"},
        {"format": 2},
        {"made": "yesterday"},
        {"checks": [{**stored["checks"][0], "key": "x"}, *stored["checks"][1:]]},
        {"checks": [{**stored["checks"][0], "values": {}}, *stored["checks"][1:]]},
    ):
        with pytest.raises(InputError, match=r"decision .* cannot be read"):
            Decision.from_json(json.dumps({**stored, **change}))
    for content in ("", "[]", "null", "[" * 100_000, {}):
        with pytest.raises(InputError, match="cannot be read"):
            Decision.from_json(content)


def test_bad_subjects_and_times_are_named() -> None:
    with pytest.raises(InputError, match="now is 'noon'"):
        decide(SUBJECT, [], GateConfig(), now="noon")
    with pytest.raises(InputError, match="digest is ''"):
        Subject("a", "", "b", BASELINE, {}, FINISHED, True)
    with pytest.raises(InputError, match="made is '2026-03-01'"):
        Subject("a", DIGEST, "b", BASELINE, {}, "2026-03-01", True)
    with pytest.raises(InputError, match="label_free is None"):
        Subject("a", DIGEST, "b", BASELINE, {}, FINISHED, None)  # type: ignore[arg-type]


def test_the_config_is_part_of_the_decision() -> None:
    first, same, other = (
        decide(SUBJECT, [], config, now=NOW).config
        for config in (GateConfig(), GateConfig(), GateConfig(min_precision=0.8))
    )
    assert first == same != other


# Words


def test_both_languages_say_the_same() -> None:
    english, japanese = texts("mmupt.gates", "en"), texts("mmupt.gates", "ja")
    assert list(english) == list(japanese)
    for key in english:
        if key.startswith("check."):
            assert not english[key].endswith(".")
            assert not japanese[key].endswith("。")
    with pytest.raises(ConfigError, match="lang"):
        decide(SUBJECT, [], GateConfig(), now=NOW).explain("fr")


def shown(decision: Decision, lang: str) -> str:
    console = Console(width=140, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(decision_view(decision, lang))
    return capture.get()


def test_the_table_is_legible_without_colour() -> None:
    decision = decide(SUBJECT, [audit(31, 60, 0.38, 0.65)], GateConfig(), now=NOW)
    english, japanese = shown(decision, "en"), shown(decision, "ja")
    assert "31 of 60 right, 38% to 65%" in english
    assert "at least 70%" in english
    assert english.count("✗ FAIL") == 1
    assert english.count("? insufficient") == 5
    assert english.count("– not asked") == 1  # no columns for slices
    assert "round-2 is refused" in english
    assert japanese.count("✗ 不合格") == 1
    assert "at least -3.0, no significant loss" in english  # also where nothing was measured


def test_names_from_data_cannot_colour_or_break_the_terminal() -> None:
    name = "[red]night\x1b[31m\n" + "x" * 500
    given = [piece("slices", {"site": {name: group(50, 10)}})]
    decision = decide(SUBJECT, given, OFF.model_copy(
        update={"max_slice_drop": 0.1, "slices": ("site",)}
    ), now=NOW)  # fmt: skip
    for lang in ("en", "ja"):
        assert "[red]night?[31m?" in shown(decision, lang)
        assert "\x1b" not in shown(decision, lang)
        assert "\n" not in decision.explain(lang)
        assert len(decision.explain(lang)) < 400
    assert Decision.from_json(decision.as_json()) == decision
