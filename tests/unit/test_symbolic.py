"""The reader of last resort: its process, its limits, what it refuses, and that values decide."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmupt.consensus import symbolic
from mmupt.consensus.algebra import TooLargeError, UnreadableError
from mmupt.consensus.canonical import _short, canonical
from mmupt.consensus.equivalence import equivalent, partition
from mmupt.consensus.symbolic import decoded, encoded
from mmupt.consensus.symbolic_latex import explicit, letter, plausible, variable
from mmupt.errors import MmuptError

PATIENCE = 5.0
"""Seconds that nothing here may come near; the limits themselves are ten times smaller."""


def worker() -> int:
    """Process number of the worker, started if need be, with a reader that waits.

    Asked past the cache: `canonical` of a string that was read before starts nothing, and says
    nothing of whether the next reader has been forked yet.
    """
    symbolic._worker.ask("1")
    assert symbolic._worker.process is not None
    return symbolic._worker.process.pid


def child_of(process: int) -> int:
    """The process that reads; between two of them, for a moment, there is none."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        if len(children) == 1:
            return int(children[0])
        time.sleep(0.01)
    raise AssertionError(f"process {process} keeps no child that reads")


def gone(process: int) -> bool:
    """Whether a process has ended within the tests' patience."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        status = Path(f"/proc/{process}/stat")
        if not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.02)
    return False


def run(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    return done.stdout


@pytest.fixture(name="unread")
def _unread() -> None:
    """Forget what was read before this test, so that the strings here do reach the process."""
    _short.cache_clear()
    symbolic.asked.cache_clear()


@pytest.mark.usefixtures("unread")
class TestProcess:
    def test_ordinary_answers_start_none_and_load_nothing(self) -> None:
        ordinary = [
            "1/2", "0.5", "B", "(B) 12 cm", "\\frac{1}{2}", "2\\sqrt{3}", "\\sqrt{12}", "x=5",
            "\\frac{4}{3}\\pi r^3", "(1,2)", "\\{1,2\\}", "1200円", "はい", "left", "x^2+2x+1",
            "\\text{No solution}", "\\begin{pmatrix}1\\\\2\\end{pmatrix}", "9^9^9^9",
            "\\overrightarrow{AB}", "\\triangle ABC\\cong\\triangle DEF", "2^{2024}", "-\\infty",
        ]  # fmt: skip
        code = f"""
import json, sys, mmupt
mmupt.partition({ordinary!r})
from mmupt.consensus import symbolic
loaded = {{"sympy", "math_verify", "latex2sympy2_extended", "torch", "numpy"}} & set(sys.modules)
print(json.dumps([symbolic._worker.process is None, sorted(loaded)]))
"""
        assert json.loads(run(code)) == [True, []]

    def test_a_string_over_its_limit_is_killed_and_the_next_one_is_right(self) -> None:
        process = worker()
        reader = child_of(process)
        assert canonical(r"\sum_{k=1}^{10^{12}} \frac{1}{k}") is None
        assert gone(reader)
        assert canonical(r"\sum_{k=1}^{5} k") == ("num", 15, 1, ())
        assert worker() == process
        assert child_of(process) != reader

    @pytest.mark.parametrize("who", ["worker", "reader"])
    def test_killed_from_outside_it_comes_back(self, who: str) -> None:
        process = worker()
        victim, number = (process, 6) if who == "worker" else (child_of(process), 7)
        os.kill(victim, signal.SIGKILL)
        assert gone(victim)
        assert canonical(rf"\sum_{{k=1}}^{{{number}}} k") == (
            "num",
            number * (number + 1) // 2,
            1,
            (),
        )

    def test_it_ends_with_its_parent(self) -> None:
        code = """
import os, signal
from pathlib import Path
from mmupt.consensus import symbolic
symbolic._worker.ask("1")
process = symbolic._worker.process.pid
print(process, Path(f"/proc/{process}/task/{process}/children").read_text(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        assert done.returncode == -signal.SIGKILL
        processes = [int(number) for number in done.stdout.split()]
        assert len(processes) == 2
        assert all(gone(process) for process in processes)

    def test_a_forked_process_has_its_own(self) -> None:
        code = r"""
import os
from mmupt.consensus import symbolic
from mmupt.consensus.canonical import _short, canonical
canonical(r"\sum_{k=1}^{4} k")
mine = symbolic._worker.process.pid
forked = os.fork()
if not forked:
    right = canonical(r"\sum_{k=1}^{5} k") == ("num", 15, 1, ())
    other = symbolic._worker.process.pid != mine
    symbolic.close()
    os._exit(0 if right and other else 1)
_, status = os.waitpid(forked, 0)
print(status, canonical(r"\sum_{k=1}^{6} k"), symbolic._worker.process.pid == mine)
"""
        assert run(code) == "0 ('num', 21, 1, ()) True\n"

    def test_it_works_off_the_main_thread_and_for_several_threads(self) -> None:
        found: dict[int, object] = {}

        def read(numbers: range) -> None:
            for number in numbers:
                found[number] = canonical(rf"\sum_{{k=1}}^{{{number}}} k^2")

        threads = [threading.Thread(target=read, args=(range(20 + i, 32, 2),)) for i in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        squares = {n: n * (n + 1) * (2 * n + 1) // 6 for n in range(20, 32)}
        assert found == {n: ("num", total, 1, ()) for n, total in squares.items()}

    def test_what_it_says_depends_on_the_string_alone(self) -> None:
        """Two processes with other hash seeds, asked in another order, one after a kill."""
        strings = [
            r"\frac{1}{x+1}+\frac{1}{y+z}", r"\sqrt{x+y}\sin z", r"\lfloor x+y \rfloor", r"\log_2 3",
            r"\frac{(n+2)!}{n!}\ln 2", r"\sqrt{(x-9)^2}+y", r"\sqrt{x+1}+y=2z", r"\ln 2+e^{-1000}",
        ]  # fmt: skip
        code = """
import json
from mmupt.consensus.canonical import _short, canonical
strings, kill = {arguments}
if kill:
    canonical(r"\\sum_{{k=1}}^{{10^{{12}}}} \\frac{{1}}{{k}}")
keys = {{string: repr(canonical(string)) for string in strings}}
print(json.dumps(keys, sort_keys=True))
"""
        first = run(code.format(arguments=(strings, False)), PYTHONHASHSEED="1")
        second = run(code.format(arguments=(strings[::-1], True)), PYTHONHASHSEED="2")
        assert first == second
        assert "None" not in first

    def test_a_worker_that_cannot_start_says_what_to_do(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fresh = symbolic._Worker()
        monkeypatch.setattr(symbolic.sys, "executable", "/bin/false")
        with pytest.raises(MmuptError, match=r"did not start.*pip install math-verify"):
            fresh.ask("1")


HOSTILE = [
    "{" * 100_000,
    "\\frac{1}{" * 5000 + "2" + "}" * 5000,
    "\\frac{1}{" * 60 + "2" + "}" * 60,
    "\\frac{1}{1+" * 22 + "x" + "}" * 22,
    "9^9^9^9",
    "\\ln 9^{9^{9^{9}}}",
    "2^{10^{12}}",
    "\\sum_{k=1}^{3} 2^{10^{12}}",
    "\\sum_{k=1}^{3} (10^9)!",
    "(10^9)!",
    "\\prod_{k=1}^{10^{6}} \\frac{k!}{k+1}",
    "\\sum_{k=1}^{10^9}\\sum_{j=1}^{k}\\sum_{i=1}^{j} \\frac{1}{i^2+j+k!}",
    "\\int_0^1 \\frac{\\sin x^x}{\\ln x^{x^x}} dx",
    "\\int_0^1\\int_0^1 e^{e^{xy}} dx dy",
    "\\lim_{n\\to\\infty}\\frac{n!^{n!}}{n^{n^n}}",
    "\\lim_{x\\to 0}\\lim_{y\\to 0}\\lim_{z\\to 0}\\frac{\\sin(x^y)}{z^{x}}",
    "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}^{10^9}",
    "(x+y+z+w+a+b+c)^{30}\\cdot\\frac{1}{x+1}",
    "\\binom{10^{9}}{5\\cdot 10^8}+\\frac{1}{x+1}",
    "\\sin(" * 20 + "x" + ")" * 20,
    "\\sin " * 60 + "x",
    "e^{" * 15 + "x" + "}" * 15 + "\\cdot\\ln 2",
    "\\left(" * 30 + "1" + "\\right)" * 30 + "\\cdot\\sum_{k=1}^2 k",
    "|" * 300 + "\\frac{x}{2}",
    "\\sum_{k=1}^" * 90,
    "\\variable{v78}",
    "\\sin__import__('os').getpid()",
    "\\ln\\write18{id}",
    "\\sum_{k=1}^{2} k\\\\" * 100,
]


@pytest.mark.parametrize("answer", HOSTILE, ids=lambda answer: answer[:24])
def test_hostile_strings_abstain_or_stay_text(answer: str) -> None:
    worker()
    start = time.monotonic()
    key = canonical(answer)
    assert time.monotonic() - start < PATIENCE
    # Text, or what the house reader says without the value; never a value.
    assert key is None or key[0] in ("latex", "text", "function", "form") or symbolic.opaque(key)
    assert canonical(r"\sum_{k=1}^{4} k") == ("num", 10, 1, ())


def test_memory_is_bounded() -> None:
    status = Path(f"/proc/{child_of(worker())}/limits").read_text()
    (limit,) = (line.split()[3] for line in status.splitlines() if line.startswith("Max address"))
    assert int(limit) < 1 << 30


def test_over_the_limit_raises_for_the_reader_and_abstains_for_the_vote() -> None:
    slow = r"\sum_{k=1}^{10^{13}} \frac{1}{k}"
    with pytest.raises(TooLargeError):
        symbolic.symbolic(slow)
    assert partition([slow, slow, r"\sum_{k=1}^{3} k", "6"]) == [None, None, 0, 0]


class TestSpelling:
    @pytest.mark.parametrize(
        "text",
        [
            "x^2_1", "10_2", "3!!+\\ln 2", "\\frac{dy}{dx}", "\\int_0^10 x dx", "\\int x dx", "3:4",
            "\\int_0^1 \\frac{dx}{x}", "30°", "\\sin 30°°", "a≈b", "\\lim_{x→0^+} x", "x^", "2 3",
            "x2", "\\ln x(x+1)", "\\frac{1}", "(1", "\\sum k", "∞+1", "1,2", "\\text{a}",
        ],
    )  # fmt: skip
    def test_refuses_what_can_be_misread(self, text: str) -> None:
        with pytest.raises(UnreadableError):
            explicit(text)

    @pytest.mark.parametrize(
        ("text", "written"),
        [
            ("1/2x", r"\frac{1}{2}\cdot \variable{v78}"),
            (r"\ln 2/3", r"\frac{\lbrace \ln 2\rbrace }{3}"),
            ("3.50", r"\frac{350}{100}"),
            (r"\sin 30°", r"\sin \lbrace 30\cdot \frac{\pi }{180}\rbrace "),
            (r"\sin^{-1} x", r"\arcsin \variable{v78}"),
            (r"\log 5", r"\variable{vLOG}\cdot \lbrace \ln 5\rbrace "),
            (r"2\frac12", r"2+\frac{1}{2}"),
            (r"\sum_{k=1}^{n} k", r"\sum_{z=1}^{\variable{v6e}}z"),
        ],
    )
    def test_writes_everything_out(self, text: str, written: str) -> None:
        assert explicit(text) in (written, rf"\lbrace {written}\rbrace ")

    @given(st.text(alphabet="xyz123+-*/^(){}[]|!_\\ .,=fracsqtinlomdegpu°∞→", max_size=40))
    @settings(deadline=None, max_examples=300)
    def test_any_string_is_written_or_refused(self, text: str) -> None:
        plausible(text)
        with suppress(UnreadableError):
            assert len(explicit(text)) < 100 * len(text) + 100

    @given(st.sampled_from("xαΨZ"), st.sampled_from(["", "_1", "_{12}", "_a"]))
    def test_letters_come_back(self, name: str, index: str) -> None:
        assert letter(variable(name + index)) == name + index
        assert variable(name + index).isalnum()


KEYS = st.recursive(
    st.integers() | st.text(max_size=5) | st.booleans() | st.fractions(),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=8,
)


@given(KEYS.map(lambda key: ("key", key)))
def test_keys_come_back_from_json(key: tuple[object, ...]) -> None:
    assert repr(decoded(json.loads(json.dumps(encoded(key))))) == repr(key)


def test_integers_that_python_will_not_print_come_back() -> None:
    key = ("num", 1 << 40_000, Fraction(1, 1 << 40_000))
    assert decoded(json.loads(json.dumps(encoded(key)))) == key


class TestValues:
    """Keys against values that are computed here, in floating point or by hand."""

    def test_numbers_have_the_keys_of_numbers(self) -> None:
        assert canonical(r"\sin\frac{\pi}{6}") == canonical("1/2") == ("num", 1, 2, ())
        assert canonical(r"\int_0^1 x^2 dx") == canonical("1/3")
        assert canonical(r"\sqrt{3+2\sqrt{2}}") == canonical(r"1+\sqrt{2}")
        assert canonical(r"\sum_{n=1}^\infty \frac{1}{n^2}") == canonical(r"\frac{\pi^2}{6}")
        assert canonical(r"\frac{x^2-1}{x-1}") == canonical("x+1")

    def test_digits_of_a_number_without_a_name(self) -> None:
        key = canonical(r"\cos\frac{2\pi}{7}")
        assert key is not None
        assert key[0] == "value"
        real, imaginary = map(float, str(key[1]).split())
        assert (real, imaginary) == (pytest.approx(math.cos(2 * math.pi / 7), rel=1e-15), 0.0)

    @pytest.mark.parametrize("digits", [20, 60, 200, 350])
    def test_decimals_that_differ_late_differ(self, digits: int) -> None:
        """Closer than the fingerprint's 300 digits, they are too long for one."""
        low, high = (rf"\sin 1+0.{'3' * (digits - 20)}{last}" for last in "34")
        assert not equivalent(low, high)

    def test_small_and_large_parts_are_not_lost(self) -> None:
        for tiny in ("e^{-1000}", "2^{-99}", "2^{-500}", "\\frac{1}{10^{50}}", "e^{-e^{5}}"):
            assert not equivalent(rf"\ln 2+{tiny}", r"\ln 2"), tiny
            assert not equivalent(rf"10^{{40}}\ln 2+{tiny}", r"10^{40}\ln 2"), tiny

    def test_agreement_on_half_of_the_line_is_not_enough(self) -> None:
        assert not equivalent(r"\sqrt{(x-9)^2}+\ln 2", r"9-x+\ln 2")
        assert not equivalent(r"\ln (x-90)^2", r"2\ln(90-x)")
        assert not equivalent(r"\left|\frac{x}{2}-90\right|", r"90-\frac{x}{2}")

    @given(st.data())
    @settings(deadline=None, max_examples=60)
    def test_equal_keys_mean_equal_values(self, data: st.DataObject) -> None:
        (first, value), (second, other) = data.draw(EXPRESSIONS), data.draw(EXPRESSIONS)
        if canonical(first) is not None and equivalent(first, second):
            assert value == pytest.approx(other, rel=1e-9, abs=1e-9)

    @given(st.data())
    @settings(deadline=None, max_examples=60)
    def test_the_order_of_terms_and_factors_does_not_matter(self, data: st.DataObject) -> None:
        (a, first), (b, second) = data.draw(EXPRESSIONS), data.draw(EXPRESSIONS)
        assert equivalent(rf"({a})+({b})+\sin 1", rf"\sin(1)+({b})+({a})")
        assert equivalent(rf"({a})({b})\ln 3", rf"\ln{{3}}\cdot ({b})\cdot ({a})")
        if abs(first - second) > 1e-9:
            assert not equivalent(rf"({a})+\sin 1", rf"({b})+\sin 1")


def _joined(pair: tuple[tuple[str, float], tuple[str, float]], sign: str) -> tuple[str, float]:
    (a, first), (b, second) = pair
    return {
        "+": (f"{a}+{b}", first + second),
        "-": (f"{a}-({b})", first - second),
        "*": (rf"({a})\cdot ({b})", first * second),
        "/": (rf"\frac{{{a}}}{{1+({b})^2}}", first / (1 + second**2)),
    }[sign]


def _applied(inner: tuple[str, float], name: str) -> tuple[str, float]:
    text, value = inner
    return {
        "sqrt": (rf"\sqrt{{2+({text})^2}}", math.sqrt(2 + value**2)),
        "sin": (rf"\sin({text})", math.sin(value)),
        "arctan": (rf"\arctan({text})", math.atan(value)),
        "ln": (rf"\ln(1+({text})^2)", math.log(1 + value**2)),
    }[name]


_NUMBERS = st.integers(1, 9).map(lambda n: (str(n), float(n))) | st.sampled_from(
    [(r"\pi", math.pi), (r"\frac{1}{3}", float(Fraction(1, 3))), ("0.5", 0.5)]
)
EXPRESSIONS = st.recursive(
    _NUMBERS,
    lambda inner: (
        st.tuples(st.tuples(inner, inner), st.sampled_from("+-*/")).map(lambda one: _joined(*one))
        | st.tuples(inner, st.sampled_from(["sqrt", "sin", "arctan", "ln"])).map(
            lambda one: _applied(*one)
        )
    ),
    max_leaves=4,
)
"""(LaTeX, value) of real expressions without singular points."""
