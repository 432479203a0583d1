"""Return on investment: the worked example of docs/roi.md, and the cases where there is none."""

from __future__ import annotations

import ast
import json
import math
import operator
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from mmupt.audit.records import Verdict
from mmupt.config_supervision import RoiConfig
from mmupt.errors import ConfigError, InputError
from mmupt.ledger import say
from mmupt.ledger.book import KINDS, Entry, Ledger, entry, review_entries, totals_of
from mmupt.ledger.figures import Accuracy, Results, Roi, Term
from mmupt.ledger.roi import roi_of
from mmupt.ledger.view import roi_json, roi_view
from mmupt.stats import Difference

DOC = Path(__file__).parents[2] / "docs" / "roi.md"

# The worked example


def rows(header: str) -> list[list[str]]:
    """Cells of the one table of the document whose header begins so."""
    text = DOC.read_text(encoding="utf-8")
    assert text.count(f"\n| {header}") == 1
    body = text.split(f"\n| {header}", 1)[1].split("\n")[2:]
    end = next(i for i, line in enumerate(body) if not line.startswith("|"))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in body[:end]]


def number(text: str) -> float:
    return float(text.replace(",", ""))


def worked_entries() -> list[Entry]:
    booked: list[Entry] = []
    for stage, kind, quantity, how in rows("stage | kind | quantity"):
        assert kind in KINDS
        booked.append(entry(stage, "hash", kind, number(quantity), how))
    for stage, count, seconds in rows("stage | verdicts"):
        verdicts = [
            Verdict(f"{stage}-{i}", stage, f"unit-{i}", "mina", "accept", seconds=number(seconds))
            for i in range(int(count))
        ]
        booked += review_entries(stage, verdicts)
    return booked


def worked_config() -> RoiConfig:
    block = re.search(r"```yaml\n(.*?)```", DOC.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    return RoiConfig(**yaml.safe_load(block[1])["roi"])


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Roi:
    ledger = Ledger(tmp_path_factory.mktemp("roi") / "project.db")
    assert ledger.book_all(worked_entries()) == 13 + 2 * (40 + 60)
    assert ledger.book_all(worked_entries()) == 0
    accuracies = {
        name: Accuracy(float(value), float(low), float(high))
        for name, value, low, high in rows("version | accuracy")
    }
    results = Results("sft", "round-1", accuracies, 2560, Difference(0.086, 0.070, 0.102))
    return roi_of(ledger.totals(), results, worked_config())


_OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def by_hand(text: str) -> Fraction:
    """The value of a calculation in the document, exactly."""
    source = text.replace("×", "*").replace("÷", "/").replace("−", "-")

    def value(node: ast.expr) -> Fraction:
        if isinstance(node, ast.BinOp):
            done = _OPERATORS[type(node.op)](value(node.left), value(node.right))
            assert isinstance(done, Fraction)
            return done
        assert isinstance(node, ast.Constant)
        return Fraction(ast.get_source_segment(source, node) or "")

    return value(ast.parse(source, mode="eval").body)


def test_the_worked_example_is_what_the_code_prints(worked: Roi) -> None:
    seen = set()
    for name, calculation, exact, printed in rows("figure | by hand"):
        assert float(by_hand(calculation)) == pytest.approx(float(exact), rel=1e-8), name
        key, _, end = name.partition(", ")
        key, _, about = key.partition(" ")
        figure = worked.figure(key, about)
        if end:
            assert getattr(figure, end) == pytest.approx(float(exact), rel=1e-8), name
            continue
        seen.add((key, about))
        assert figure.value == pytest.approx(float(exact), rel=1e-8), name
        assert say.value_text(figure, "USD", "en") == printed, name
    assert seen == {(one.key, one.about) for one in worked.figures}


def test_the_worked_sentences_are_what_the_code_says(worked: Roi) -> None:
    quoted = re.findall(r"(?:^> .*\n)+", DOC.read_text(encoding="utf-8"), re.MULTILINE)
    found = [tuple(line.removeprefix("> ") for line in one.splitlines()) for one in quoted]
    assert found == [say.sentences(worked, "en"), say.sentences(worked, "ja")]


def test_formulas_carry_their_numbers(worked: Roi) -> None:
    assert say.formula_text(worked.figure("round_cost", "round-1"), "USD", "en") == (
        "machine 936.0 s ÷ 3,600 × 0.20 USD + energy 0.01865 kWh × 0.30 USD + "
        "review 480.0 s ÷ 3,600 × 30.00 USD"
    )
    assert say.formula_text(worked.figure("break_even"), "USD", "ja") == (
        "9.13米ドル ÷ 月額 86.00米ドル"
    )
    assert worked.figure("break_even").assumptions == (
        ("machine_price", 0.2),
        ("energy_price", 0.3),
        ("watts", 65.0),
        ("reviewer_wage", 30.0),
        ("answers_per_month", 100_000),
        ("correct_answer_value", 0.01),
    )


@pytest.mark.parametrize("lang", ["en", "ja"])
@pytest.mark.parametrize("width", [80, 140])
def test_the_view_shows_every_figure(worked: Roi, lang: str, width: int) -> None:
    console = Console(width=width, record=True, file=Path("/dev/null").open("w"))  # noqa: SIM115
    console.print(roi_view(worked, lang))
    console.file.close()
    page = "".join(console.export_text().split())
    assert "…" not in page
    for line in say.sentences(worked, lang):
        assert "".join(line.split()) in page
    if width == 140:
        for figure in worked.figures:
            assert "".join(say.value_text(figure, "USD", lang).split()) in page
    assert all(stage in page for stage in worked.totals)


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_json_is_json(worked: Roi, lang: str) -> None:
    found = roi_json(worked, lang)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    figures = {(one["key"], one["about"]): one for one in found["figures"]}
    assert figures["net_saving", None]["value"] == pytest.approx(1220.87436)
    assert figures["net_saving", None]["unit"] == "USD"
    assert figures["cost_labels_avoided", None]["assumptions"] == {
        "label_price": 0.5,
        "labels_instead": None,
    }
    assert found["booked"]["round-1/audit"]["review_seconds"]["quantity"] == 480
    assert found["assumptions"]["reviewer_wage"] == 30.0


def test_another_language_is_refused(worked: Roi) -> None:
    with pytest.raises(ConfigError, match="lang = 'de'"):
        roi_view(worked, "de")


# Other cases


def small(
    gain: Difference | None = None,
    *,
    entries: list[Entry] | None = None,
    accuracies: dict[str, Accuracy] | None = None,
    after: str = "round-1",
    questions: int = 10,
    **config: Any,
) -> Roi:
    """One round of an hour of the machine, at 2 USD, unless told otherwise."""
    booked = [entry("round-1/train", "a", "compute_seconds", 3600.0)]
    results = Results("sft", after, accuracies or {}, questions, gain)
    prices = RoiConfig(**{"machine_price": 2.0, **config})
    return roi_of(totals_of(booked if entries is None else entries), results, prices)


def shown(roi: Roi, key: str, lang: str = "en") -> str:
    return say.value_text(roi.figure(key), roi.config.currency, lang)


def test_without_a_gain_it_never_pays() -> None:
    roi = small(Difference(-0.02, -0.05, 0.01))
    assert shown(roi, "gain") == "−2.0 points [−5.0, 1.0]"
    assert shown(roi, "cost_per_point") == "undefined: no gain"
    assert shown(roi, "break_even") == "never: no gain"
    assert shown(roi, "monthly_value") == "−20.00 USD [−50.00, 10.00]"
    assert "Without a gain, better answers never pay for this." in say.sentences(roi, "en")
    assert "向上しませんでした" in say.sentences(roi, "ja")[0]


def test_a_gain_that_may_be_none_is_not_proven() -> None:
    roi = small(Difference(0.02, -0.01, 0.05))
    assert shown(roi, "gain") == "2.0 points [−1.0, 5.0]; not proven"
    assert shown(roi, "cost_per_point") == "1.00 USD [0.400, no upper end]; not proven"
    assert shown(roi, "break_even") == "0.100 months [0.0400, no upper end]; not proven"
    assert roi.figure("break_even").high == math.inf
    text = " ".join(say.sentences(roi, "en"))
    assert "A gain is not proven: 2.0 points (95% interval −1.0 to 3.0)" not in text
    assert "A gain is not proven: 2.0 points (95% interval −1.0 to 5.0), which holds zero." in text
    # .1 months are 3.04 days and .04 are 1.2, a day begun counts
    assert "after 4 days, at best after 2 days; as the gain is not proven" in text
    figure = next(f for f in roi_json(roi)["figures"] if f["key"] == "break_even")
    assert (figure["high"], figure["why"]) == (None, "not-proven")


def test_an_end_of_exactly_zero_is_not_proven() -> None:
    assert small(Difference(0.02, 0.0, 0.04)).figure("break_even").why == "not-proven"


def test_nothing_promoted_is_no_gain() -> None:
    roi = small(after="sft", accuracies={"sft": Accuracy(0.7, 0.6, 0.8)})
    assert shown(roi, "gain") == "0.0 points [0.0, 0.0]"
    assert shown(roi, "break_even") == "never: no gain"


def test_without_an_accuracy_nothing_is_claimed() -> None:
    roi = small(accuracies={"sft": Accuracy(0.7, 0.6, 0.8)})
    for key in ("gain", "cost_per_point", "monthly_value", "break_even"):
        assert shown(roi, key) == "not measured"
    assert "What that won is not measured." in say.sentences(roi, "en")[0]


def test_an_unpaired_gain_by_hand() -> None:
    # d = .1; low = .1 - sqrt(.03^2 + .04^2) = .05; high = .1 + sqrt(.06^2 + .08^2) = .2
    roi = small(accuracies={"sft": Accuracy(0.5, 0.42, 0.54), "round-1": Accuracy(0.6, 0.57, 0.66)})
    gain = roi.figure("gain")
    assert gain.value == pytest.approx(10)
    assert (gain.low, gain.high) == (pytest.approx(5), pytest.approx(20))


def test_answers_that_are_worth_nothing_never_pay() -> None:
    for prices in ({"correct_answer_value": 0.0}, {"answers_per_month": 0}):
        roi = small(Difference(0.02, 0.01, 0.03), **prices)
        assert shown(roi, "break_even") == "never: a better answer is worth 0"
        assert shown(roi, "cost_per_point") == "1.00 USD [0.667, 2.00]"
    assert shown(small(correct_answer_value=0.0), "break_even") == "not measured"


def test_without_rounds_there_is_no_return() -> None:
    roi = small(
        entries=[entry("sft", "a", "compute_seconds", 1800), entry("sft", "a", "labels", 4)]
    )
    for key in ("labels_avoided", "cost_per_round", "label_free_cost", "net_saving"):
        assert shown(roi, key) == "no round yet"
    for lang in ("en", "ja"):  # a project that has come no further can be looked at too
        formulas = {one["key"]: one["formula"] for one in roi_json(roi, lang)["figures"]}
        assert formulas["labels_avoided"].count("–") == 2
    assert shown(roi, "total_cost") == "3.00 USD"  # 0.5 h x 2 + 4 x 0.5
    assert len(say.sentences(roi, "en")) == len(say.sentences(roi, "ja")) == 1
    assert shown(small(entries=[]), "total_cost").startswith("not available")


def test_energy_that_costs_but_is_not_known_is_never_zero() -> None:
    roi = small(Difference(0.02, 0.01, 0.03), energy_price=0.5)
    for key in ("cost_per_round", "total_cost", "cost_per_point", "break_even", "net_saving"):
        assert shown(roi, key).startswith("not available: energy has a price"), key
    assert "kWh" not in say.formula_text(roi.figure("round_cost", "round-1"), "USD", "en")
    assert "energy not available × 0.50 USD" in say.formula_text(
        roi.figure("round_cost", "round-1"), "USD", "en"
    )
    assert "an unknown amount" in say.sentences(roi, "en")[0]
    # 500 W over an hour are half a kWh: 2 + .5 x .5
    assert shown(small(energy_price=0.5, watts=500), "cost_per_round") == "2.25 USD"


def test_booked_energy_goes_before_an_estimate() -> None:
    booked = [
        entry("round-1/train", "a", "compute_seconds", 3600.0),
        entry("round-1/train", "a", "energy_joules", 7.2e6),
        entry("round-1/audit", "a", "review_seconds", 0.0),
    ]
    assert shown(small(entries=booked, energy_price=0.5, watts=500), "cost_per_round") == "3.00 USD"


def test_a_round_without_machine_time_has_no_cost() -> None:
    booked = [
        entry("round-1/train", "a", "compute_seconds", 3600.0),
        entry("round-2/audit", "a", "review_seconds", 60.0),
    ]
    roi = small(Difference(0.02, 0.01, 0.03), entries=booked)
    assert roi.figure("round_cost", "round-1").value == pytest.approx(2.0)
    assert roi.figure("round_cost", "round-2").why == "not-booked"
    for key in ("cost_per_round", "label_free_cost", "break_even"):
        assert roi.figure(key).value is None
        assert roi.figure(key).why == "not-booked"


def test_labels_instead_is_what_the_user_says() -> None:
    roi = small(labels_instead=3, label_price=0.25)
    assert shown(roi, "labels_avoided") == "3"
    assert shown(roi, "cost_labels_avoided") == "0.750 USD"
    assert shown(roi, "net_saving") == "−1.25 USD"
    text = " ".join(say.sentences(roi, "en"))
    assert "would have cost 0.750 USD, 1.25 USD less" in text
    assert "is an assumption (roi.labels_instead)" in text


def test_more_audited_than_asked_avoids_nothing() -> None:
    booked = [
        entry("round-1/train", "a", "compute_seconds", 3600.0),
        entry("round-1/audit", "a", "audited_labels", 12.0),
    ]
    assert small(entries=booked).figure("labels_avoided").value == 0.0


def test_rounds_come_in_the_order_of_their_numbers() -> None:
    booked = [entry(f"round-{n}", "a", "compute_seconds", 1.0) for n in (10, 2, 1)]
    roi = small(entries=booked)
    assert [f.about for f in roi.figures if f.key == "round_cost"] == [
        "round-1",
        "round-2",
        "round-10",
    ]


@pytest.mark.parametrize(
    ("gain", "accuracies", "said"),
    [
        (None, {"sft": Accuracy(70.0, 60.0, 80.0)}, "expected fractions"),
        (None, {"sft": Accuracy(0.7, 0.71, 0.8)}, "within its interval"),
        (None, {"sft": Accuracy(math.nan, 0.1, 0.8)}, "expected fractions"),
        (Difference(0.2, 0.3, 0.4), {}, "within its interval"),
        (Difference(8.6, 7.0, 10.0), {}, "difference of fractions"),
        (
            Difference(0.2, 0.1, 0.3),
            {"sft": Accuracy(0.7, 0.6, 0.8), "round-1": Accuracy(0.8, 0.7, 0.9)},
            "from the same rows",
        ),
    ],
)
def test_results_that_cannot_be_are_refused(
    gain: Difference | None, accuracies: dict[str, Accuracy], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        small(gain, accuracies=accuracies)


def test_a_gain_that_is_not_defined_is_not_measured() -> None:
    nan = Difference(math.nan, math.nan, math.nan)
    assert small(nan).figure("gain").why == "not-measured"


@given(
    cost=st.floats(0, 1e6),
    ends=st.lists(st.floats(-1, 1), min_size=3, max_size=3).map(sorted),
    answers=st.integers(0, 10**9),
)
def test_intervals_hold_their_value(cost: float, ends: list[float], answers: int) -> None:
    low, value, high = ends
    booked = [entry("round-1", "a", "compute_seconds", cost)]
    roi = small(Difference(value, low, high), entries=booked, answers_per_month=answers)
    for figure in roi.figures:
        if figure.value is None:
            assert figure.why is not None
            assert figure.low is None
        elif figure.low is not None and figure.high is not None:
            assert figure.low <= figure.value * (1 + 1e-12) + 1e-300 or figure.value < 0
            assert figure.value <= figure.high * (1 + 1e-12) + 1e-300 or figure.high < 0
        for lang in ("en", "ja"):
            assert say.value_text(figure, "USD", lang)
            assert say.formula_text(figure, "USD", lang)
            assert say.title(figure, lang)
    json.dumps(roi_json(roi), allow_nan=False)


# Numbers as text


@pytest.mark.parametrize(
    ("value", "unit", "currency", "text"),
    [
        (1280.0, "money", "USD", "1,280.00 USD"),
        (0.010549, "money", "USD", "0.0105 USD"),
        (-3.456, "money", "USD", "−3.46 USD"),
        (0.0, "money", "USD", "0.00 USD"),
        (-0.0, "money", "JPY", "0 JPY"),
        (276.4, "money", "JPY", "276 JPY"),
        (3.456, "money", "JPY", "3.46 JPY"),
        (1.5, "money", "KWD", "1.500 KWD"),
        (0.5, "price", "USD", "0.50 USD"),
        (0.00125, "price", "USD", "0.00125 USD"),
        (1e-7, "price", "USD", "0.0000001 USD"),
        (1500.0, "price", "JPY", "1,500 JPY"),
        (8.625, "points", "USD", "8.62 points"),
        (0.018651, "kwh", "USD", "0.01865 kWh"),
        (2560.0, "count", "USD", "2,560"),
        (None, "kwh", "USD", "not available"),
    ],
)
def test_numbers_as_people_write_them(
    value: float | None, unit: say.Unit, currency: str, text: str
) -> None:
    assert say.shown(Term(value, unit), currency, "en") == text


def test_money_in_japanese() -> None:
    assert say.shown(Term(1840.0, "money"), "JPY", "ja") == "1,840円"
    assert say.shown(Term(1.84, "money"), "USD", "ja") == "1.84米ドル"
    assert say.shown(Term(1.84, "money"), "CHF", "ja") == "1.84 CHF"


def test_both_languages_have_the_same_texts_and_places() -> None:
    en, ja = say.words("en"), say.words("ja")
    assert set(en) == set(ja)
    # Currencies that a language has a word for are its own affair.
    own = {"money_JPY", "money_USD", "money_EUR"}
    for key in set(en) - own:
        assert set(re.findall(r"{(\w+)}", en[key])) == set(re.findall(r"{(\w+)}", ja[key])), key
