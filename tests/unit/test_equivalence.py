"""Which answers are equal: the golden table, tolerance, kinds, hostile strings."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mmupt.consensus.canonical import MAX_ANSWER, canonical
from mmupt.consensus.equivalence import equivalent, partition
from mmupt.errors import ConfigError

TABLE = Path(__file__).parents[1] / "golden" / "equivalence.tsv"
JAPANESE = re.compile("[\u3040-\u30ff\u3400-\u9fff\uff01-\uffee①-⑳]")


def rows() -> list[tuple[str, str, str, bool]]:
    """(kind, a, b, equal) of every row of the golden table."""
    found = []
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            kind, a, b, equal = line.split("\t")
            assert equal in ("yes", "no"), line
            found.append((kind, a, b, equal == "yes"))
    return found


ROWS = rows()


def test_the_table_is_large_and_mixed_enough() -> None:
    assert len(ROWS) >= 400
    assert sum(not equal for *_, equal in ROWS) >= len(ROWS) / 3
    assert sum(bool(JAPANESE.search(a + b)) for _, a, b, _ in ROWS) >= 80
    assert len({(kind, a, b) for kind, a, b, _ in ROWS}) == len(ROWS)


@pytest.mark.parametrize(("kind", "a", "b", "equal"), ROWS)
def test_golden(kind: str, a: str, b: str, equal: bool) -> None:
    assert equivalent(a, b, kind) is equal
    assert equivalent(b, a, kind) is equal
    assert equivalent(a, a, kind)
    assert equivalent(b, b, kind)


def test_pairs_of_the_table_are_transitive_together() -> None:
    """One partition of all strings of a kind separates and joins exactly as the pairs do."""
    for kind in sorted({row[0] for row in ROWS}):
        strings = list(dict.fromkeys(s for k, a, b, _ in ROWS if k == kind for s in (a, b)))
        number = dict(zip(strings, partition(strings, kind), strict=True))
        for k, a, b, equal in ROWS:
            if k == kind:
                assert (number[a] == number[b]) is equal, (kind, a, b)


def test_classes_are_numbered_by_first_appearance() -> None:
    answers = [None, "3", "1/2", "0.5", "", "3.0", "left", None, "1/2"]
    assert partition(answers) == [None, 0, 1, 1, None, 0, 2, None, 1]


def test_abstentions_equal_nothing() -> None:
    assert not equivalent(None, None)
    assert not equivalent("", "")
    assert not equivalent("  ", "  ")
    assert not equivalent("1", None)
    assert equivalent("None", "none")


def test_the_intransitive_trio_of_percent() -> None:
    """math-verify says 30% = 30 and 30% = 0.3, but not 30 = 0.3."""
    assert partition(["30%", "30", "0.3", "30\\%"]) == [0, 1, 0, 0]


class TestTolerance:
    def test_exact_without(self) -> None:
        assert partition(["3.14", "3.15", "3.14"]) == [0, 1, 0]
        assert partition(["3.14", "3.15"], rtol=0.0) == [0, 1]

    def test_within_and_beyond(self) -> None:
        assert partition(["100", "101", "103", "-100"], rtol=0.01) == [0, 0, 1, 2]

    def test_the_bound_is_relative_to_the_larger(self) -> None:
        # |99 - 100| = 0.01 * max(99, 100); |98.9 - 100| = 1.1 is beyond.
        assert equivalent("99", "100", rtol=0.01)
        assert not equivalent("98.9", "100", rtol=0.01)

    def test_chains_are_one_component_in_any_order(self) -> None:
        # 1.00 ~ 1.01 ~ 1.02 within 1%, although 1.00 and 1.02 are not.
        assert not equivalent("1.00", "1.02", rtol=0.01)
        assert partition(["1.00", "1.02", "1.01"], rtol=0.01) == [0, 0, 0]
        assert partition(["1.02", "5", "1.01", "1.00"], rtol=0.01) == [0, 1, 0, 0]

    def test_zero_is_near_nothing_else(self) -> None:
        assert partition(["0", "1e-300", "-0"], rtol=0.5) == [0, 1, 0]

    def test_units_roots_and_pi(self) -> None:
        assert partition(["3.14", "\\pi", "22/7"], rtol=0.001) == [0, 0, 0]
        assert partition(["1.41421", "\\sqrt{2}"], rtol=1e-5) == [0, 0]
        assert partition(["12 cm", "0.1201 m", "12", "12 s"], rtol=0.01) == [0, 0, 1, 2]

    def test_inside_compounds(self) -> None:
        assert partition(["(1, 2)", "(1.001, 2)", "(2, 1)"], rtol=0.01) == [0, 0, 1]
        assert partition(["\\{1, 1.001\\}", "\\{1\\}", "1"], rtol=0.01) == [0, 0, 1]
        assert partition(["[1, 2)", "(1, 2)"], rtol=0.01) == [0, 1]

    def test_text_and_letters_are_not_touched(self) -> None:
        assert partition(["left", "right", "2x", "2.001x"], rtol=0.01) == [0, 1, 2, 3]

    @pytest.mark.parametrize("rtol", [-0.1, 1.0, float("nan"), float("inf")])
    def test_out_of_range(self, rtol: float) -> None:
        with pytest.raises(ConfigError, match="rtol"):
            partition(["1"], rtol=rtol)


class TestKinds:
    def test_unknown(self) -> None:
        with pytest.raises(ConfigError, match="'maths' is unknown; choose from auto, boxed"):
            partition(["1"], kind="maths")

    def test_number_abstains_without_a_number(self) -> None:
        assert partition(["about 12 apples", "12", "unknown"], kind="number") == [0, 0, None]

    def test_yesno_abstains_otherwise(self) -> None:
        assert partition(["y", "はい", "n", "maybe"], kind="yesno") == [0, 0, 1, None]

    def test_json_abstains_when_broken(self) -> None:
        assert partition(['{"a": 1}', '{"a":1.0}', "{a: 1}", "NaN"], kind="json") == [
            0,
            0,
            None,
            None,
        ]

    def test_choice_reads_other_answers_as_text(self) -> None:
        assert partition(["B", "(b)", "the dog", "dog", "2"], kind="choice") == [0, 0, 1, 1, 2]

    def test_text_reads_nothing_but_text(self) -> None:
        assert partition(["1/2", "0.5", "Dog.", "the dog"], kind="text") == [0, 1, 2, 2]


HOSTILE = [
    "9^9^9^9",
    "{" * 100_000,
    "9" * 100_000,
    "(" * 400,
    "1,1," * 5_000,
    "{" * 200 + "1" + "}" * 200,
    "\\frac{1}{" * 25 + "2" + "}" * 25,
    "\\sqrt{" * 40 + "2" + "}" * 40,
    "(1+x)^12" * 30,
    "2^" * 80 + "2",
    "√" * 250 + "2",
    "sin " * 60 + "x",
    "1e999999999",
    "9!!!!!!",
    "\\binom{1000}{500}^{99}",
    "$" * 20_000,
    "\\" * 20_000,
    "1 h " * 60,
    "±" * 100,
    "x=" * 100 + "1",
    "百万億兆" * 30,
    "①" * 5_000,
    "[" * 20_000,
    "n!" * 10_000,
    "!" * 19_998 + "a!",
    "1,2" * 5_000 + "a!",
    "(a|" * 6_000,
    "|" * 20_000,
    "a | " * 5_000,
    "d(x)/" * 50,
    "\ud800" * 10,
]


@pytest.mark.parametrize("answer", HOSTILE, ids=lambda answer: answer[:12].encode("unicode_escape"))
@pytest.mark.parametrize("kind", ["auto", "number", "choice", "yesno", "text", "json"])
def test_hostile_strings_end(answer: str, kind: str) -> None:
    """Read in a thread of its own, which has to be over long before the tests' patience is."""
    result: list[list[int | None]] = []
    worker = threading.Thread(
        target=lambda: result.append(partition([answer, answer], kind, rtol=0.01)), daemon=True
    )
    worker.start()
    worker.join(20)
    assert result in ([[0, 0]], [[None, None]])


def test_what_is_too_large_abstains() -> None:
    assert canonical("9^9^9^9") is None
    assert canonical("1e999999999") is None
    assert canonical("{" * 100_000) is None
    assert canonical("a" * MAX_ANSWER) is not None
    assert canonical("a" * (MAX_ANSWER + 1)) is None
    # Large, but held exactly.
    assert equivalent("2^{2024}", "4^{1012}")
    assert not equivalent("2^{2024}", "2^{2024}+1")


def test_nothing_is_evaluated() -> None:
    assert canonical("__import__('os').getpid()") == ("text", "__import__ os getpid")


def test_import_is_light() -> None:
    code = (
        "import sys, mmupt.consensus.vote, mmupt.consensus.extract, mmupt.consensus.reward;"
        "print(sorted({'torch', 'numpy', 'sympy', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
