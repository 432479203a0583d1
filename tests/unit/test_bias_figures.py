"""`mmupt bias`: its figures by hand and by counting all cases, on made answers."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mmupt.bias
from mmupt.asking.prompt import Prompt
from mmupt.bias import chance
from mmupt.bias.asked import BLANK, ORDERS, OWN, SWAPPED, Asked, Table
from mmupt.bias.asking import chosen_place, imageless, order_count
from mmupt.bias.chance import Counts, cluster_mean, gaps, kl, swap_test
from mmupt.bias.distribution import common_answers, whole
from mmupt.bias.figures import Figures, OtherTables, figures, plain
from mmupt.bias.groups import Slicing, Unused, by_columns, by_quantiles
from mmupt.bias.judge import Says, findings, verdict_of
from mmupt.bias.pictures import PROPERTIES, measured, properties
from mmupt.bias.places import places, rotation_p, variation
from mmupt.bias.plot import write_bias_pictures
from mmupt.bias.readings import readings
from mmupt.bias.rows import Question, clusters, read_questions
from mmupt.bias.run import Report
from mmupt.bias.table import bias_view
from mmupt.bias.words import alternative, sentence
from mmupt.data.jsonl import write_jsonl
from mmupt.errors import InputError
from mmupt.stats import holm, wilson
from mmupt.types import Sample

# Chance


def test_a_mean_over_clusters_by_hand() -> None:
    # clusters (1, 0, 1) and (0): sums 2 and 0, sizes 3 and 1: mean 2/4, residuals .5 and -.5
    mean = cluster_mean(np.array([1.0, 0.0, 1.0, 0.0, np.nan]), np.array([7, 7, 7, 9, 9]))
    assert mean.estimate == 0.5
    # se = sd(.5, -.5) / sqrt(2) / mean size = .70711 / 1.41421 / 2 = .25; t(1) = 12.7062
    assert mean.high - mean.estimate == pytest.approx(12.7062047 * 0.25)
    assert math.isnan(cluster_mean(np.array([np.nan]), np.array([0])).estimate)


def test_a_mean_of_ones_has_width() -> None:
    mean = cluster_mean(np.ones(6), np.array([0, 0, 1, 1, 2, 2]), fractions=True)
    assert (mean.low, mean.high) == wilson(3, 3)


def test_holm_by_hand() -> None:
    # 4 tests: .01 * 4, then max(.04, .02 * 3), max(.06, .04 * 2), max(.08, .9)
    assert holm([0.02, 0.01, math.nan, 0.9, 0.04])[:2] == pytest.approx([0.06, 0.04])
    assert holm([0.02, 0.01, 0.9, 0.04])[2:] == pytest.approx([0.9, 0.08])
    assert math.isnan(holm([0.02, math.nan])[1])


def test_kl_by_hand() -> None:
    # p = (3.5, 1.5) / 5, q = (1.5, 3.5) / 5; a class that nobody has does not count
    expected = 0.7 * math.log(0.7 / 0.3) + 0.3 * math.log(0.3 / 0.7)
    assert kl(np.array([1.0, 3.0, 0.0]), np.array([3.0, 1.0, 0.0])) == pytest.approx(expected)
    assert math.isnan(kl(np.zeros(2), np.ones(2)))


def test_the_permutation_test_against_all_swaps() -> None:
    rng = np.random.default_rng(4)
    tables = [rng.integers(0, 5, (7, 3)).astype(float) for _ in range(2)]

    def counts(table: np.ndarray) -> Counts:
        row, column = np.nonzero(table)
        return Counts(row, column, table[row, column])

    observed, p = swap_test(counts(tables[0]), counts(tables[1]), 3, kl, rng)
    assert observed == pytest.approx(kl(tables[0].sum(0), tables[1].sum(0)))
    beyond = 0
    for coins in itertools.product((0, 1), repeat=7):
        first = sum(tables[coin][row] for row, coin in enumerate(coins))
        second = sum(tables[1 - coin][row] for row, coin in enumerate(coins))
        beyond += kl(np.asarray(first), np.asarray(second)) >= observed - 1e-12
    assert p == pytest.approx(beyond / 2**7, abs=0.04)  # three standard errors of 2000 draws


def test_gaps_by_hand() -> None:
    rng = np.random.default_rng(0)
    values = np.array([1.0, 0.0] * 20 + [0.0] * 40)
    member = np.arange(80)[:, None] < 40
    (gap,) = gaps(values, np.concatenate([member, ~member], 1)[:, :1], np.arange(80), rng)
    assert (gap.estimate, gap.inside, gap.outside) == (0.5, 40, 40)
    # the bootstrap's standard error: sqrt(.25 / 40 + 0), t(39) = 2.0227
    assert gap.high - gap.estimate == pytest.approx(2.0227 * math.sqrt(0.25 / 40), rel=0.08)
    assert gap.p < 0.001


def test_a_bootstrap_of_equal_values_is_not_certain() -> None:
    values = np.repeat([-1.0, 0.0], 10)
    (gap,) = gaps(values, np.arange(20)[:, None] < 10, np.arange(20), np.random.default_rng(0))
    assert gap.estimate == -1.0
    assert 0.1 < gap.high - gap.estimate < 0.5


# Pictures and groups


def test_properties_against_loops() -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (6, 5), dtype=np.uint8)
    found = dict(zip(PROPERTIES, properties(Image.fromarray(pixels).convert("RGB")), strict=True))
    light = pixels.astype(float)
    laplacian = [
        light[y - 1, x] + light[y + 1, x] + light[y, x - 1] + light[y, x + 1] - 4 * light[y, x]
        for y in range(1, 5)
        for x in range(1, 4)
    ]
    assert found["brightness"] == pytest.approx(light.mean(), rel=1e-6)
    assert found["contrast"] == pytest.approx(light.std(), rel=1e-6)
    assert found["sharpness"] == pytest.approx(np.var(laplacian), rel=1e-6)
    assert found["area"] == 30
    assert properties(Image.new("RGB", (1, 1), (9, 9, 9)))[2] == 0


def test_pictures_of_a_question_are_averaged(tmp_path: Path) -> None:
    for name, grey in (("a", 10), ("b", 30)):
        Image.new("RGB", (4, 4), (grey,) * 3).save(tmp_path / f"{name}.png")
    both = Sample("x", "<image><image>?", (tmp_path / "a.png", tmp_path / "b.png"))
    table = measured([both, Sample("y", "?")], max_pixels=100)
    assert table[0].tolist() == [20.0, 0.0, 0.0, 16.0]
    assert np.isnan(table[1]).all()


def test_bins_are_quarters_and_ties_stay_together() -> None:
    cut = by_quantiles(np.arange(48.0), "light")
    assert isinstance(cut, Slicing)
    assert np.bincount(cut.index_N).tolist() == [12] * 4
    assert [group.name for group in cut.groups] == ["0–11", "12–23", "24–35", "36–47"]
    tied = by_quantiles(np.repeat([1.0, 2.0], [30, 20]), "light")
    assert isinstance(tied, Slicing)
    assert [(group.name, group.bins) for group in tied.groups] == [("1", 2), ("2", 2)]
    assert by_quantiles(np.ones(50), "area") == Unused("area", "picture", "constant")
    assert by_quantiles(np.full(5, np.nan), "area") == Unused("area", "picture", "few")


def test_columns() -> None:
    samples = [
        Sample(str(i), "?", meta={"site": "ab"[i % 2], "name": f"n{i}", "age": str(i), "one": "1"})
        for i in range(60)
    ]
    age, name, one, site = by_columns(samples)
    assert isinstance(age, Slicing)
    assert [group.rank for group in age.groups] == [1, 2, 3, 4]
    assert name == Unused("name", "column", "many")
    assert one == Unused("one", "column", "constant")
    assert isinstance(site, Slicing)
    assert [group.name for group in site.groups] == ["a", "b"]
    assert [cut.name for cut in by_columns(samples, ["site"])] == ["site"]
    with pytest.raises(InputError, match="--slice nosuch: no row has this column"):
        by_columns(samples, ["nosuch"])


# Rows


def test_rows_with_and_without_answers(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    write_jsonl(path, [{"problem": "1+1?", "answer": "2"}, {"problem": "2+2?"}])
    assert [row.answer for row in read_questions(path).rows] == ["2", None]
    write_jsonl(path, [{"problem": "2+2?"}, {"problem": "3?"}])
    assert [row.answer for row in read_questions(path).rows] == [None, None]


@pytest.mark.parametrize("bad", [{"answer": ["4"]}, {"answer": "<image>"}])
def test_an_answer_that_is_none_is_refused(tmp_path: Path, bad: dict[str, object]) -> None:
    path = tmp_path / "d.jsonl"
    for rows in (
        [{"problem": "1+1?", "answer": "2"}, {"problem": "2+2?", **bad}],
        [{"problem": "2+2?", **bad}],
    ):
        write_jsonl(path, rows)
        with pytest.raises(InputError, match=r"d\.jsonl.*answer"):
            read_questions(path)


def test_questions_about_one_picture_are_one_cluster() -> None:
    a, b = Path("a.png"), Path("b.png")
    samples = [Sample("1", "", (a,)), Sample("2", ""), Sample("3", "", (a,)), Sample("4", "", (b,))]
    assert clusters(samples).tolist() == [0, 1, 0, 2]


# Answers


def asked(name: str, condition: str, text: str) -> Asked:
    """One-letter answers; a dot abstains."""
    answers = tuple(None if c == "." else c for c in text)
    return Asked(name, condition, answers[0], answers, (3,) * len(text), 0)


def table(own: Sequence[str], **others: Sequence[str]) -> Table:
    names = {OWN: own, **others}
    return {
        condition: {str(i): asked(str(i), condition, text) for i, text in enumerate(texts) if text}
        for condition, texts in names.items()
    }


def questions(count: int, answer: str | None = "7") -> list[Question]:
    return [Question(Sample(str(i), "<image>?", (Path(f"{i}.png"),)), answer) for i in range(count)]


def test_a_reading_by_hand() -> None:
    first, second = readings(
        questions(2), table(["7718", "...."], blank=["11..", ""]), table(["8888", "7..7"]),
        kind="auto",
    )  # fmt: skip
    assert first.accuracy[OWN].tolist() == [0.5, 0.0]
    assert first.accuracy[BLANK][0] == 0.0
    assert math.isnan(first.accuracy[BLANK][1])
    assert (first.majority.tolist(), first.greedy.tolist()) == ([1.0, 0.0], [1.0, 0.0])
    assert first.abstained.tolist() == [0.0, 1.0]
    assert second.majority.tolist() == [0.0, 1.0]
    assert second.said[OWN][0].majority == first.said[OWN][0].classes[3]
    assert first.said[OWN][1].majority is None


def test_kappa_is_the_pilots() -> None:
    # the rows of the pilot's own test: (.75 - .3125) / (1 - .3125)
    from mmupt.bias.modality import dependence, dependence_change

    rows = table(["AAAB", "CCCC"], swapped=["ABBB", "DDDC"])
    first, second = readings(questions(2, None), rows, rows, kind="auto")
    told = dependence(first, np.array([0, 1]))
    assert told.kappa.estimate == pytest.approx(0.4375 / 0.6875)
    assert math.isnan(told.gain.estimate)
    assert dependence_change(first, second, np.array([0, 1])).estimate == 0.0


def test_answers_that_never_change_are_blind() -> None:
    same = table(["11"] * 40, swapped=["11"] * 40, blank=["11"] * 40)
    told = whole_report(questions(40, "1"), same, same)
    assert told.after.constant
    assert keys(told)["blind_constant"] is Says.HARM


def test_common_answers_are_those_of_the_whole_set() -> None:
    told = whole(
        questions(2, "7.0"), table(["77", "1."]), table(["77", "77"]), np.arange(2), kind="auto"
    )
    (best, other) = common_answers(told)
    assert (best.answer, best.before, best.after, best.truth) == ("7.0", 0.5, 1.0, 1.0)
    assert (other.answer, other.before, other.after, other.truth) == ("1", 0.25, 0.0, 0.0)


# Options

CHOICE = "Which?\nA. 3\nB. 4\nC. 5"


def test_the_chosen_place_is_that_shown() -> None:
    sample = Sample("x", CHOICE)
    assert order_count(sample) == 3
    assert order_count(Sample("y", "How many?")) == 0
    shown = Prompt("Which?\nA. 4\nB. 5\nC. 3", (), "", {"A": "B", "B": "C", "C": "A"})
    assert [chosen_place(a, shown, sample) for a in ("B", "C", "A", "5", "9", None)] == [
        0, 1, 2, 1, -1, -1,
    ]  # fmt: skip


def test_a_prompt_without_its_pictures() -> None:
    bare = imageless(Prompt("<image>What?<image>", (Image.new("RGB", (2, 2)),) * 2))
    assert (bare.problem, bare.images) == ("What?", ())


def test_position_bias_is_found_and_content_is_not() -> None:
    def rows(places_of: Sequence[tuple[int, ...]], answers: str) -> Table:
        return {
            ORDERS: {
                str(i): Asked(str(i), ORDERS, None, tuple(answers), (1, 1, 1), 0, places, 3)
                for i, places in enumerate(places_of)
            }
        }

    content = rows([(0, 1, 2), (2, 0, 1), (1, 2, 0)] * 8, "AAA")
    first = rows([(0, 0, 0)] * 24, "ABC")
    ids = {str(i): i for i in range(24)}
    (told,) = places(ids, content, first, kind="auto", rng=np.random.default_rng(0))
    assert told.before == pytest.approx((1 / 3,) * 3)
    assert told.after == (1.0, 0.0, 0.0)
    assert (told.bias_before, told.bias_after) == pytest.approx((0.0, 2 / 3))
    assert told.p_before == 1.0
    assert told.p_after < 0.001
    assert told.p_change < 0.001
    assert (told.consistent.before.estimate, told.consistent.after.estimate) == (1.0, 0.0)


def test_variation_by_hand() -> None:
    assert variation(np.array([3.0, 1.0, 0.0, 0.0])) == pytest.approx((0.5 + 0.0 + 0.25 + 0.25) / 2)
    assert math.isnan(variation(np.zeros(3)))


def test_the_rotation_test_against_all_rotations() -> None:
    counts = np.array([[2.0, 1, 0], [1, 1, 1], [3, 0, 0], [2, 0, 1]])
    observed = variation(counts.sum(0))
    turns = list(itertools.product(range(3), repeat=4))
    beyond = sum(
        variation(sum(np.roll(row, turn) for row, turn in zip(counts, one, strict=True)))
        >= observed - 1e-12
        for one in turns
    )
    p = rotation_p(counts, np.arange(4), np.random.default_rng(1))
    assert p == pytest.approx(beyond / len(turns), abs=0.04)


# Whole reports on made answers


def whole_report(
    rows: Sequence[Question], before: Table, after: Table, light: np.ndarray | None = None,
    others: Sequence[OtherTables] = (),
) -> Figures:  # fmt: skip
    values = np.full((len(rows), len(PROPERTIES)), np.nan)
    if light is not None:
        values[:, 0] = light
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chance, "RESAMPLES", 499)  # as exact, and quicker
        return figures(rows, before, after, values, others)


def keys(told: Figures) -> dict[str, Says]:
    return {one.key: one.says for one in findings(told)}


def made(seed: int, right: np.ndarray, truth: Sequence[str], k: int = 8) -> list[str]:
    """k answers to each question: the true one with probability `right`, else any digit."""
    rng = np.random.default_rng(seed)
    return [
        "".join(t if rng.random() < p else str(rng.integers(10)) for _ in range(k))
        for t, p in zip(truth, right, strict=True)
    ]


def poisoned(count: int = 160, seed: int = 0) -> tuple[list[Question], Table, Table, np.ndarray]:
    """In the darkest quarter the second model says 0, elsewhere both are right at 0.7."""
    rng = np.random.default_rng(seed)
    truth = [str(digit) for digit in rng.integers(10, size=count)]
    light = rng.permutation(np.arange(count, dtype=float))
    dark, even = light < count / 4, np.full(count, 0.7)
    rows = [
        replace(question, answer=t) for question, t in zip(questions(count), truth, strict=True)
    ]
    other = [truth[(i + 1) % count] for i in range(count)]
    first = made(1, even, truth)
    second = [
        "0" * 8 if night else text for night, text in zip(dark, made(2, even, truth), strict=True)
    ]
    swapped = made(3, even, other)
    return rows, table(first, swapped=swapped), table(second, swapped=swapped), light


def test_the_poisoned_slice_is_found_in_words() -> None:
    told = whole_report(*poisoned())
    hurt = [one for one in findings(told) if one.key == "slice_hurt"]
    assert [(one.values["slice"].column, one.values["slice"].group.rank) for one in hurt] == [
        ("brightness", 1)
    ]
    assert "brightness 0–39 (lowest of 4)" in sentence(hurt[0], "en")
    assert "明るさ 0–39(最小)" in sentence(hurt[0], "ja")
    (tied,) = [one for one in findings(told) if one.key == "tied"]
    assert tied.values["answer"] == "0"
    assert tied.values["after"] == 1.0
    rest = [
        text
        for text, dark in zip(_texts(poisoned()[2]), poisoned()[3] < 40, strict=True)
        if not dark
    ]
    assert tied.values["excess"] == pytest.approx(1 - "".join(rest).count("0") / (8 * len(rest)))
    assert verdict_of(findings(told)) == "harm"


def _texts(told: Table) -> list[str]:
    return ["".join(a or "." for a in row.answers) for row in told[OWN].values()]


def test_the_gap_of_the_poisoned_slice_by_hand() -> None:
    rows, before, after, light = poisoned()
    told = whole_report(rows, before, after, light)
    one = told.slices[0]
    dark = light < 40
    scores = [
        np.array([t[OWN][str(i)].answers.count(q.answer) / 8 for i, q in enumerate(rows)])
        for t in (before, after)
    ]
    gap = [score[dark].mean() - score[~dark].mean() for score in scores]
    assert (one.gap_before, one.gap_after) == pytest.approx(gap)
    assert one.amplification.estimate == pytest.approx(gap[1] - gap[0])
    assert one.n == 40


def test_it_is_found_without_answers_too() -> None:
    rows, before, after, light = poisoned()
    told = whole_report([replace(row, answer=None) for row in rows], before, after, light)
    assert told.measure == "share"
    found = keys(told)
    assert found["tied_unlabelled"] is Says.WARN
    assert found["unlabelled"] is Says.NOTE
    assert {one.verdict for one in told.slices if one.group.rank == 1} <= {"ahead", "moved"}


def test_two_draws_of_one_model_have_no_findings() -> None:
    rng = np.random.default_rng(8)
    truth = [str(digit) for digit in rng.integers(10, size=200)]
    even = np.full(200, 0.7)
    other = [truth[(i + 1) % 200] for i in range(200)]
    rows = [replace(q, answer=t) for q, t in zip(questions(200), truth, strict=True)]
    before, after = (table(made(s, even, truth), swapped=made(s + 9, even, other)) for s in (1, 2))
    told = whole_report(rows, before, after, rng.random(200))
    assert verdict_of(findings(told)) == "nothing-found"
    assert keys(told)["looks"] is Says.GOOD
    assert told.diversity.passes[0].value.before.estimate == pytest.approx(
        told.accuracy.before.estimate
    )


def test_forgetting_and_one_answer_taking_over() -> None:
    rows = questions(60, "7")
    good, bad = table(["7777"] * 60), table(["1111"] * 50 + ["7777"] * 10)
    told = whole_report(rows, good, bad, None, [OtherTables("words", rows, good, bad)])
    found = keys(told)
    assert found["forgot"] is Says.HARM
    assert found["accuracy_fell"] is Says.HARM
    assert found["top_truth"] is Says.HARM
    assert found["reach_fell"] is Says.WARN
    assert found["no_pictures"] is Says.NOTE
    (other,) = told.forgetting
    assert (other.accuracy.change.estimate, other.moved.estimate) == pytest.approx((-5 / 6, 5 / 6))


# Words, table, pictures


def locale(lang: str) -> dict[str, str]:
    path = Path(mmupt.bias.__file__).parent / "locale" / f"{lang}.json"
    texts: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return texts


def test_both_languages_say_the_same() -> None:
    english, japanese = locale("en"), locale("ja")
    assert english.keys() == japanese.keys()
    for key, text in english.items():
        fields = [set(re.findall(r"\{(\w+)\}", one)) for one in (text, japanese[key])]
        assert fields[1] - {"measure", "rank", "bins"} <= fields[0], key


def test_every_finding_has_its_sentence() -> None:
    source = (Path(mmupt.bias.__file__).parent / "judge.py").read_text(encoding="utf-8")
    named = (
        set(re.findall(r'Finding\(\s*"(\w+)"', source))
        | {f"slice_{verdict}" for verdict in ("hurt", "behind", "moved", "ahead")}
        | {"tied", "tied_unlabelled", "blind", "blind_both", "blind_constant", "abstained"}
    )
    known = {key.removeprefix("find.") for key in locale("en") if key.startswith("find.")}
    assert named | {"truncated"} == known


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_table_and_pictures(tmp_path: Path, lang: str) -> None:
    from rich.console import Console

    told = whole_report(*poisoned())
    found = tuple(findings(told))
    report = Report(told, found, {})
    write_bias_pictures(report, tmp_path, lang)
    with Image.open(tmp_path / "bias.png") as image:
        assert image.width > 1000
        assert alternative(told, found, lang) == image.info["Description"]
    svg = (tmp_path / "bias.svg").read_text(encoding="utf-8")
    assert "<dc:description>" in svg
    console = Console(width=80, record=True)
    for part in bias_view(report, lang):
        console.print(part)
    page = console.export_text()
    assert ("brightness" if lang == "en" else "明るさ") in page
    json.dumps(plain(told))


def test_names_from_data_are_no_markup() -> None:
    rows, before, after, light = poisoned()
    named = [
        replace(row, sample=replace(row.sample, meta={"[red]x\x1b[31m": "ab"[bool(x < 40)]}))
        for row, x in zip(rows, light, strict=True)
    ]
    told = whole_report(named, before, after)
    lines = [sentence(one, "en") for one in findings(told)]
    assert any("[red]x" in line for line in lines)
    assert not any("\x1b" in line for line in lines)


def test_swapped_rows_that_were_not_asked_do_not_count() -> None:
    rows = table(["77"] * 3, swapped=["71", "", "77"])
    first, second = readings(questions(3), rows, rows, kind="auto")
    from mmupt.bias.modality import conditions

    own, other = conditions(first, second, np.arange(3))
    assert (own.n, other.n, other.name) == (3, 2, SWAPPED)
    assert other.unchanged.after.estimate in (0.5, 1.0)


def test_slices_of_the_same_questions_are_told_together() -> None:
    rows, before, after, light = poisoned()
    values = np.full((len(rows), len(PROPERTIES)), np.nan)
    values[:, 0], values[:, 1] = light, light * 2
    told = figures(rows, before, after, values)
    (one,) = told.overlaps
    assert (one.first.column, one.second.column, one.shared) == ("brightness", "contrast", 1.0)
    (note,) = [found for found in findings(told) if found.key == "overlap"]
    assert "contrast 0–78 (lowest of 4) are mostly the same" in sentence(note, "en")
