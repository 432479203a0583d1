"""`mmupt init`: from answers to a commented file that loads to exactly what was meant."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from mmupt import cli
from mmupt.cli.asking import number, path_of, share, yes_or_no
from mmupt.config import Config, load_config
from mmupt.consensus.extract import extract
from mmupt.data.handwriting import panels, write_pictures, write_rows
from mmupt.demo import embedded
from mmupt.errors import ConfigError
from mmupt.starter import (
    KINDS,
    TYPICAL_PRICES,
    Answers,
    check_currency,
    check_price,
    check_share,
    config_text,
    is_large,
)  # fmt: skip
from mmupt.starter import settings as tree_of
from mmupt.words import texts

MODEL, TEST = Path("/models/m"), Path("/data/test.jsonl")
PLAIN = Answers(MODEL, Path("/data/u.jsonl"), TEST, Path("/data/l.jsonl"))


# --- answers -> text -> configuration -------------------------------------------------------------

NASTY = (
    "with space", " leading", "trailing ", "it's", 'say "hi"', "a: b", "a #b", "# c", "- dash", "-",
    "--out", "写真 と質問", "100%", "{a}", "[b]", "*", "&x", "!tag", "null", "true", "1e3", "~", "?",
    "a\nb", "a\tb", "\x85", "\u2028", "\ufeff", "\x7f", "|", ">", "@", "`", "%", "é", "e\u0301", "😀",
    "a\\b", "a\\nb", "2026-11-24", "0x10", "<<", "=", "...", "---", "yes", ",", "ok ",
)  # fmt: skip
names = st.one_of(
    st.sampled_from(NASTY),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1),
).filter(lambda name: name not in (".", ".."))
places = st.lists(names, min_size=1, max_size=3)
prices = st.floats(min_value=0, allow_infinity=False, allow_nan=False)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("desk").resolve()


@settings(max_examples=100, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(data=st.data(), lang=st.sampled_from(["en", "ja"]))
def test_the_file_loads_to_what_was_meant(desk: Path, data: st.DataObject, lang: str) -> None:
    """Whatever the names, prices and choices are; relative below the folder, absolute elsewhere."""

    def path() -> Path:
        root = desk if data.draw(st.booleans()) else Path("/elsewhere")
        return root.joinpath(*data.draw(places))

    answers = Answers(
        path(), path(), path(), path() if data.draw(st.booleans()) else None,
        data.draw(st.sampled_from(KINDS)), data.draw(prices), data.draw(prices), data.draw(prices),
        data.draw(st.from_regex(r"[A-Z]{3}", fullmatch=True)), data.draw(st.floats(0, 1)),
        data.draw(st.booleans()), data.draw(st.booleans()),
    )  # fmt: skip
    target = desk / "config.yaml"
    target.write_text(config_text(answers, desk, lang), encoding="utf-8", newline="\n")
    config = load_config(target)
    assert config.model.path == answers.model
    assert config.out == desk / "project"
    found = config.data
    assert (found.labelled, found.unlabelled, found.test) == (
        answers.labelled, answers.unlabelled, answers.test,
    )  # fmt: skip
    assert (config.consensus.kind, config.eval.kind) == (answers.kind, answers.kind)
    assert config.views.shuffle_options is (answers.kind == "choice")
    roi = config.roi
    assert (roi.label_price, roi.reviewer_wage, roi.machine_price, roi.currency) == (
        answers.label_price, answers.reviewer_wage, answers.machine_price, answers.currency,
    )  # fmt: skip
    assert roi.correct_answer_value == pytest.approx(answers.label_price / 50, rel=1e-3, abs=5e-324)
    assert config.gate.min_precision == answers.min_precision
    assert (config.lora is not None) is answers.lora
    assert (config.sft is not None) is (answers.labelled is not None)
    # Nothing else depends on the answers.
    plain = desk / "plain.yaml"
    common = replace(
        PLAIN, labelled=answers.labelled and PLAIN.labelled, lora=answers.lora, large=answers.large
    )
    plain.write_text(config_text(common, desk), encoding="utf-8")
    same = load_config(plain)
    for section in ("sft", "train", "guard", "pilot", "audit", "rules", "promotion", "lora"):
        assert getattr(config, section) == getattr(same, section)
    written = yaml.safe_load(target.read_text(encoding="utf-8"))
    for value, given_path in (
        (written["model"]["path"], answers.model),
        (written["data"]["test"], answers.test),
    ):
        assert Path(value).is_absolute() is not given_path.is_relative_to(desk)


def test_the_recipe() -> None:
    """The choices that decisions 1 and 3 give reasons for."""
    tree = tree_of(PLAIN, Path("/p"))
    config = Config.model_validate(tree)
    assert (config.consensus.teacher, config.consensus.min_share) == ("ema", 0.5)
    assert config.consensus.strategy.name == "frequency"
    assert config.sft is not None
    assert config.sft.augment
    assert config.guard.action == "rollback-to-best"
    assert config.train.lr_scheduler_type == "linear"
    assert config.model.dtype == "bfloat16"
    whole = Config.model_validate(tree_of(replace(PLAIN, lora=False, large=False), Path("/p")))
    assert whole.lora is None
    assert whole.model.dtype == "float32"
    assert whole.sft is not None
    # An adapter takes ten times the learning rate.
    assert config.sft.learning_rate == pytest.approx(10 * whole.sft.learning_rate)
    assert config.train.learning_rate == pytest.approx(10 * whole.train.learning_rate)
    assert is_large(5 * 10**9)
    assert not is_large(10**8)


def test_every_section_says_what_it_is_for_in_both_languages() -> None:
    trees = [
        tree_of(replace(PLAIN, lora=lora, labelled=labelled), Path("/p"))
        for lora in (True, False)
        for labelled in (TEST, None)
    ]
    keys = {name for tree in trees for name in tree} | {
        f"{name}.{key}" for tree in trees for name, part in tree.items()
        if isinstance(part, dict) for key in part
    }  # fmt: skip
    keys |= {"head", "lora.none", "sft.none"}
    asked = ("ask.", "why.", "note.")
    said = {"read", "read_answer", "yes_or_no", "written", "next"}
    for lang in ("en", "ja"):
        words = texts("mmupt.starter", lang)
        assert set(trees[0]) - set(words) == {"seed"}
        unused = {key for key in words if not key.startswith(asked)} - keys - said
        assert not unused, "comments on settings that the file does not hold"
    english, japanese = (texts("mmupt.starter", lang) for lang in ("en", "ja"))
    assert set(english) == set(japanese)
    for key in english:
        parts = [sorted(p for p in ("{kinds}", "{size}", "{problem}", "{answer}", "{path}") if p in t)
                 for t in (english[key], japanese[key])]  # fmt: skip
        assert parts[0] == parts[1], key


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_settings_that_comments_name_are_accepted(lang: str) -> None:
    """What a comment tells to write can be written."""
    text = config_text(replace(PLAIN, lora=False, large=False, labelled=None), Path("/p"), lang)
    for old, new in (
        ("lora: null", "lora: {r: 16}"), ("sft: null", "sft: {augment: true}"),
        ("number_range: null", "number_range: [0, 200]"), ("unit: null", "unit: mm"),
        ("slices: []", "slices: [site, camera]"), ("auto: true", "auto: false"),
        ("rollout: 100%", "rollout: 5%"), ("require: suitable", "require: ready"),
        ("strategy: frequency", "strategy: mbr"), ("teacher: ema", "teacher: online"),
        ("anchor_fraction: 0.0", "anchor_fraction: 0.1"), ("crop: 0.04", "crop: 0"),
        ("resize: 0.75", "resize: 1"), ("reviewers: 1", "reviewers: 2"), ("rows: 200", "rows: 0"),
        ("device: auto", "device: cuda:1"), ("dtype: float32", "dtype: bfloat16"),
    ):  # fmt: skip
        assert old in text, old
        text = text.replace(old, new)
    config = Config.model_validate(yaml.safe_load(text))
    assert (config.rules.unit, config.promotion.rollout) == ("mm", "5%")


def test_names_that_are_not_unicode_are_refused() -> None:
    broken = Path(os.fsdecode(b"/data/\xff.jsonl"))
    with pytest.raises(ConfigError, match=r"not Unicode"):
        config_text(replace(PLAIN, test=broken), Path("/p"))


def test_every_kind_is_one_that_answers_are_read_as() -> None:
    for kind in KINDS:
        extract("The answer is 5.", kind)
    for code, values in TYPICAL_PRICES.items():
        assert check_currency(code, "") == code
        assert all(value > 0 for value in values)


# --- what people type -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [("0.5", 0.5), ("1,000", 1000), ("12,345,678.5", 12345678.5), ("７５", 75), ("1e3", 1000)],
)
def test_numbers(text: str, value: float) -> None:
    assert number(text, "label_price") == value


@pytest.mark.parametrize("text", ["0,5", "0,500", "1,00", "eur 5", "", "1.2.3", "1 000"])
def test_no_numbers(text: str) -> None:
    with pytest.raises(ConfigError, match="--label-price"):
        number(text, "label_price")


def test_shares_prices_and_yes() -> None:
    assert share("85%") == pytest.approx(0.85)
    assert share("７０％") == pytest.approx(0.7)
    assert share("0.7") == 0.7
    words = texts("mmupt.starter", "en")
    assert [yes_or_no(t, words) for t in ("Y", "はい", "no", "False")] == [True, True, False, False]
    for wrong in (float("nan"), float("inf"), -1.0):
        with pytest.raises(ConfigError):
            check_price(wrong, "--label-price")
        with pytest.raises(ConfigError):
            check_share(wrong, "--min-precision")
    with pytest.raises(ConfigError):
        yes_or_no("maybe", words)
    with pytest.raises(ConfigError):
        check_currency("円", "--currency")


def test_paths_as_people_type_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a b").touch()
    assert path_of(f"'{tmp_path}/a b'") == tmp_path / "a b"
    assert path_of("~/a b") == tmp_path / "a b"
    assert path_of("~nobody-of-this-name/x") == Path("~nobody-of-this-name/x")


# --- the verb -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("material").resolve()
    for name, split, count in (
        ("train", "labelled", 4),
        ("unlabelled", "unlabelled", 4),
        ("test", "test", 4),
    ):
        drawn = panels(split, count, 0)
        write_pictures(folder, name, drawn)
        write_rows(folder / f"{name}.jsonl", name, drawn, answers=split != "unlabelled")
    shutil.copytree(embedded("model"), folder / "model")
    return folder


def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str | Path
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["mmupt", *map(str, words)])
    code = 0
    try:
        cli.main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def options(material: Path) -> list[str]:
    return [
        "--model", str(material / "model"), "--unlabelled", str(material / "unlabelled.jsonl"),
        "--labelled", str(material / "train.jsonl"), "--test", str(material / "test.jsonl"),
    ]  # fmt: skip


def test_options_without_a_terminal(
    material: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "計画 1"
    words = [*options(material), "--lang", "ja", "--kind", "number", "--min-precision", "0.8"]
    code, out, err = call(monkeypatch, capsys, "init", folder, *words, "--json")
    assert (code, err) == (0, "")
    result = json.loads(out)
    assert result["config"] == str(folder / "config.yaml")
    assert result["next"][1] == f"mmupt run '{folder}/config.yaml'"
    assert "--data" in result["next"][0]
    config = load_config(folder / "config.yaml")
    assert config.model.path == material / "model"
    assert config.data.labelled == material / "train.jsonl"
    assert (config.gate.min_precision, config.consensus.kind) == (0.8, "number")
    assert (config.roi.currency, config.roi.label_price) == ("JPY", 75.0)
    assert config.lora is None  # a small model
    before = (folder / "config.yaml").read_bytes()
    assert "擬似ラベル" in before.decode()
    code, out, err = call(monkeypatch, capsys, "init", folder, *options(material))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "not overwritten" in err
    assert (folder / "config.yaml").read_bytes() == before


def test_a_project_with_its_data_can_be_moved(
    material: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Paths below the folder are relative, also from another working folder and with a link."""
    first, second = tmp_path / "first", tmp_path / "second"
    shutil.copytree(material, first)
    (first / "pool.jsonl").symlink_to(first / "unlabelled.jsonl")
    (tmp_path / "link").symlink_to(first)
    monkeypatch.chdir(first / "images")
    words = ["--model", "../model", "--unlabelled", "../pool.jsonl", "--test", "../test.jsonl"]
    assert call(monkeypatch, capsys, "init", tmp_path / "link", *words)[0] == 0
    monkeypatch.chdir(tmp_path)
    first.rename(second)
    config = load_config(second / "config.yaml")
    assert config.model.path == second / "model"
    assert config.data.unlabelled == second / "pool.jsonl"
    assert config.data.labelled is None
    assert config.sft is None


def test_bad_options_are_one_line(
    material: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    good = options(material)
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"image": "no.png", "problem": "?", "answer": "1"}\n', encoding="utf-8")
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    cases: list[tuple[list[str], str]] = [
        ([], "--model, --unlabelled, --test missing"),
        (good[2:], "--model missing"),
        ([*good, "--currency", "CHF"], "--label-price, --reviewer-wage, --machine-price missing"),
        ([*good, "--currency", "francs"], "--currency"),
        ([*good, "--kind", "digits"], "--kind"),
        ([*good, "--label-price", "-1"], "--label-price"),
        ([*good, "--machine-price", "inf"], "--machine-price"),
        ([*good, "--reviewer-wage", "nan"], "--reviewer-wage"),
        ([*good, "--min-precision", "70"], "--min-precision"),
        ([*good, "--model", str(tmp_path / "empty")], "config.json"),
        ([*good, "--model", str(tmp_path / "none")], "not a folder"),
        ([*good, "--labelled", str(material / "unlabelled.jsonl")], "unlabelled.jsonl:1"),
        ([*good, "--test", str(bad)], "bad.jsonl:1"),
        ([*good, "--test", str(tmp_path / "none.jsonl")], "does not exist"),
        ([*good, "--test", str(material / "train.jsonl")], "held-out rows have to be others"),
    ]
    for words, said in cases:
        code, out, err = call(monkeypatch, capsys, "init", tmp_path / "new", *words, "--yes")
        assert (code, out, err.count("\n")) == (2, "", 1), (words, err)
        assert said in err
        assert "--skip-bad" not in err
        assert not (tmp_path / "new").exists()
    code, _, err = call(monkeypatch, capsys, "init", tmp_path / "file", *good)
    assert (code, err.count("\n")) == (2, 1)
    (tmp_path / "empty" / "config.yaml").symlink_to(tmp_path / "nowhere")
    assert call(monkeypatch, capsys, "init", tmp_path / "empty", *good)[0] == 2


class Terminal:
    """`mmupt` in a pseudo-terminal; answers are typed when their question stands there."""

    def __init__(self, *words: str) -> None:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mmupt.cli", *words],
            stdin=slave, stdout=slave, stderr=slave, close_fds=True,
            env={**os.environ, "TERM": "dumb", "PYTHONIOENCODING": "utf-8"},
        )  # fmt: skip
        os.close(slave)
        self.shown = ""

    def until(self, text: str) -> None:
        start = len(self.shown)
        for part in self._parts():
            self.shown += part
            if text in self.shown[start:]:
                return
        raise AssertionError(f"{text!r} is not in {self.shown[start:]!r}")

    def answer(self, question: str, answer: str) -> None:
        self.until(f"{question}")
        os.write(self.master, f"{answer}\n".encode())

    def end(self) -> int:
        """Its exit code; whatever it still waits for never comes."""
        os.write(self.master, b"\x04")
        for part in self._parts():
            self.shown += part
        os.close(self.master)
        return self.process.wait(60)

    def _parts(self) -> Iterator[str]:
        while True:
            try:
                part = os.read(self.master, 65536)
            except OSError:  # the other end is closed
                return
            if not part:
                return
            yield part.decode("utf-8", "replace")


def test_questions_at_a_terminal(material: Path, tmp_path: Path) -> None:
    """Wrong answers are told and asked again; what was given as an option is not asked."""
    folder = tmp_path / "project"
    terminal = Terminal("init", str(folder), "--unlabelled", str(material / "unlabelled.jsonl"))
    try:
        terminal.answer("Model folder: ", str(material / "images"))
        terminal.answer("Model folder: ", str(material / "model"))
        terminal.answer("Labelled rows (Enter: none): ", "")
        terminal.answer("Held-out rows: ", str(material / "unlabelled.jsonl"))
        terminal.answer("Held-out rows: ", f"'{material / 'test.jsonl'}'")
        terminal.answer("Kind of answer [auto]: ", "number")
        terminal.answer("LoRA [n]: ", "y")
        terminal.answer("Currency [USD]: ", "eur")
        terminal.answer("label [0.5]: ", "0,4")
        terminal.answer("label [0.5]: ", "0.4")
        terminal.answer("hour [28]: ", "")
        terminal.answer("hour [1.4]: ", "")
        terminal.answer("prove [0.7]: ", "75%")
    finally:
        code = terminal.end()
    shown = terminal.shown
    assert code == 0, shown
    assert "no config.json in it" in shown
    assert "row has no answer" in shown
    assert "Unlabelled rows" not in shown
    assert f"mmupt run {folder}/config.yaml" in shown
    config = load_config(folder / "config.yaml")
    assert config.lora is not None
    assert (config.roi.currency, config.roi.label_price, config.roi.reviewer_wage) == (
        "EUR",
        0.4,
        28,
    )
    assert (config.gate.min_precision, config.eval.kind) == (0.75, "number")
    assert (config.data.labelled, config.data.test) == (None, material / "test.jsonl")


def test_leaving_the_questions_writes_nothing(tmp_path: Path) -> None:
    terminal = Terminal("init", str(tmp_path / "project"), "--lang", "ja")
    try:
        terminal.until("モデルのフォルダー: ")
    finally:
        code = terminal.end()
    assert code == 1
    assert not (tmp_path / "project").exists()
