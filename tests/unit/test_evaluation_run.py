"""Evaluations end to end: all benchmarks, kills, failures, a judge, views, the verbs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import made_benchmarks
import pytest
from PIL import Image
from test_update_processes import Table, Threads

from mmupt.asking.answerer import Answerer, Draw
from mmupt.asking.prompt import Prompt
from mmupt.config import Config
from mmupt.demo import embedded
from mmupt.errors import InputError, RunFolderError
from mmupt.evaluate.asking import Plan
from mmupt.evaluate.comparing import compare, read_pairs
from mmupt.evaluate.judge import PROMPT, Judge, verdict
from mmupt.evaluate.parts import read_records
from mmupt.evaluate.reading import benchmark_items, own_items
from mmupt.evaluate.run import Evaluation, run_evaluation
from mmupt.evaluate.table import comparison_view, evaluation_view
from mmupt.events import EventLog, SilentLog
from mmupt.runs import RunFolder
from mmupt.types import Completion, Finish


def completion(text: str, finish: Finish = Finish.STOP) -> Completion:
    return Completion(text, tuple(range(len(text))), (0.0,) * len(text), finish)


class Scripted:
    """Answers by a function of the prompt, the draw (0: greedy) and the number of the sample."""

    def __init__(self, say: Callable[[Prompt, int, int], str | None], name: str = "scripted"):
        self.say, self.name = say, name
        self.asked: list[Prompt] = []
        self.most = 10**9

    def complete(
        self, prompts: Sequence[Prompt], draws: Sequence[Draw]
    ) -> list[list[list[Completion | None]]]:
        if len(self.asked) + len(prompts) > self.most:
            raise KeyboardInterrupt
        self.asked += prompts
        found: list[list[list[Completion | None]]] = []
        for draw in draws:
            place = 0 if draw.params.temperature == 0 else 1
            rows = []
            for prompt in prompts:
                said = [self.say(prompt, place, number) for number in range(draw.count)]
                rows.append([None if text is None else completion(text) for text in said])
            found.append(rows)
        return found


CONFIG = Config.model_validate(
    {"eval": {"num_samples": 3, "max_completion_length": 8, "batch_size": 2}}
)


def run(
    out: Path,
    items: Any,
    answerer: Answerer,
    plan: Plan,
    config: Config = CONFIG,
    judge: Judge | None = None,
    about: dict[str, Any] | None = None,
    model: str = "m",
) -> dict[str, Any]:
    rows, left_out = items
    told = about or {}
    evaluation = Evaluation(
        told.get("benchmark", "eval"), told, rows, left_out, plan, model, lambda: answerer, judge
    )
    return run_evaluation(
        RunFolder(out), evaluation, config, EventLog(out / "events.jsonl")
    )  # fmt: skip


@pytest.fixture(scope="module")
def policy(one_thread: None) -> Any:
    from mmupt.policy.model import load_policy

    return load_policy(embedded("model"), device="cpu")


@pytest.mark.parametrize("name", made_benchmarks.NAMES)
def test_every_benchmark_with_a_model_from_disk(name: str, policy: Any, tmp_path: Path) -> None:
    from mmupt.policy.answers import LocalAnswerer

    data = made_benchmarks.make(name, tmp_path / "data")
    config = CONFIG.model_copy(update={"eval": CONFIG.eval.model_copy(update={"num_samples": 2})})
    out = tmp_path / "out"
    out.mkdir()
    items = benchmark_items(name, data, out, config, None)
    count = 9 if name == "wemath" else 3
    metrics = run(out, items, LocalAnswerer(policy, 2), Plan(2), config, about={"benchmark": name})
    assert (metrics["n"], metrics["k"], metrics["unscored"], metrics["failed"]) == (count, 2, 0, 0)
    assert (metrics["pictures"], metrics["intervals"]) == (2, "cluster bootstrap")
    records = read_records(out / "replies.jsonl")
    assert [record.id for record in records] == [item.sample.id for item in items[0]]
    # What the model said is judged by the benchmark's own rule.
    right = [item.rule.judge([(Prompt(item.sample.problem, ()), completion(record.greedy.reply or ""))])
             for item, record in zip(items[0], records, strict=True)]  # fmt: skip
    assert metrics["greedy"] == sum(bool(one.right) for (one,) in right) / count
    assert json.loads((out / "metrics.json").read_text())["greedy"] == metrics["greedy"]
    assert not (out / "asked").exists()

    # A right reply is right in each schema, and a wrong one is not.
    said = made_benchmarks.right(name)
    other = tmp_path / "right"
    other.mkdir()
    metrics = run(
        other, benchmark_items(name, data, other, config, None),
        Scripted(lambda prompt, draw, number: said if number == 0 else "no idea"), Plan(2), config,
        about={"benchmark": name},
    )  # fmt: skip
    assert (metrics["greedy"], metrics["mean"], metrics["pass"]) == (1.0, 0.5, 1.0)
    assert [one["value"] for one in metrics["pass_at"]] == [0.5, 1.0]
    if name == "wemath":
        assert metrics["extra"]["strict"]["score"] == metrics["extra"]["strict"]["cm_rate"] == 1.0
        assert metrics["extra"]["strict"]["problems"] == 3


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Five questions about three pictures; one with options, one with a paraphrase, one without."""
    for shade in range(3):
        Image.new("RGB", (12, 12), (80 * shade, 10, 10)).save(tmp_path / f"{shade}.png")
    rows = [
        {"id": "a", "images": ["0.png"], "problem": "<image>How many?", "answer": "4", "site": "x"},
        {"id": "b", "images": ["0.png"], "problem": "<image>How many more?", "answer": "5", "site": "y"},
        {"id": "c", "images": ["1.png"], "problem": "<image>Which?\nA. red\nB. blue\nC. green", "answer": "B", "site": "x"},
        {"id": "d", "images": ["2.png"], "problem": "<image>How far?", "answer": "7", "paraphrases": ["<image>What distance?"], "site": "y"},
        {"id": "e", "problem": "2 + 2?", "answer": "4", "site": "y"},
    ]  # fmt: skip
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def by_words(prompt: Prompt, draw: int, number: int) -> str:
    """Reads the options; knows "How many?" in two of three samples; is thrown by a paraphrase."""
    if "A." in prompt.problem:
        label = next(line[0] for line in prompt.problem.splitlines() if "blue" in line)
        return f"\\boxed{{{label}}}"
    if "How many?" in prompt.problem:
        return "\\boxed{4}" if number < 2 else "\\boxed{9}"
    return {
        "<image>How many more?": "\\boxed{6}",
        "<image>How far?": "\\boxed{7}",
        "<image>What distance?": "\\boxed{70}",
        "2 + 2?": "four",
    }[prompt.problem]


def test_ways_of_asking_by_hand(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    items = own_items(data, CONFIG)
    metrics = run(out, items, Scripted(by_words), Plan(3, views=3, orders=3, paraphrases=2))
    assert metrics["greedy"] == pytest.approx(4 / 5)
    assert metrics["mean"] == pytest.approx((2 / 3 + 0 + 1 + 1 + 1) / 5)
    assert metrics["majority"] == metrics["pass"] == pytest.approx(4 / 5)
    ways = metrics["consistency"]
    # a: 2 of 3 pairs... one of the three pairs agrees; the others agree wholly.
    assert ways["samples"]["agreement"]["value"] == pytest.approx((1 / 3 + 4) / 5)
    assert ways["views"]["agreement"] == {"value": 1.0, "low": ways["views"]["agreement"]["low"],
                                          "high": 1.0, "n": 4}  # fmt: skip
    assert ways["orders"]["agreement"]["n"] == 1
    assert ways["orders"]["agreement"]["value"] == 1.0  # read back into the labels of the data
    assert ways["orders"]["all_right"]["value"] == 1.0
    assert ways["paraphrases"]["agreement"]["n"] == 1
    assert ways["paraphrases"]["unchanged"]["value"] == 0.0
    assert ways["paraphrases"]["accuracy"]["value"] == 0.5
    assert metrics["subsets"]["site"]["x"]["value"] == 1.0
    assert metrics["subsets"]["site"]["y"]["value"] == pytest.approx(2 / 3)
    assert metrics["pictures"] == 4
    # The options were shown in other orders: always B would have been exposed.
    out = tmp_path / "always"
    out.mkdir()
    metrics = run(out, items, Scripted(lambda *_: "\\boxed{B}"), Plan(0, orders=3))
    assert metrics["consistency"]["orders"]["agreement"]["value"] == 0.0
    assert metrics["consistency"]["orders"]["accuracy"]["value"] == pytest.approx(1 / 3)
    assert metrics["k"] == 0
    assert math.isnan(metrics["mean"])
    list(evaluation_view(metrics))


def test_a_killed_evaluation_goes_on_and_asks_nothing_twice(data: Path, tmp_path: Path) -> None:
    items, plan = own_items(data, CONFIG), Plan(3, views=2)
    whole = tmp_path / "whole"
    whole.mkdir()
    calm = Scripted(by_words)
    expected = run(whole, items, calm, plan)
    for most in range(1, len(calm.asked)):
        out = tmp_path / f"killed-{most}"
        out.mkdir()
        first, second = Scripted(by_words), Scripted(by_words)
        first.most = most
        with pytest.raises(KeyboardInterrupt):
            run(out, items, first, plan)
        assert not (out / "metrics.json").exists()
        found = run(out, items, second, plan)
        for one in (expected, found):
            one["seconds"] = 0.0
        assert str(found) == str(expected)
        assert (out / "replies.jsonl").read_bytes() == (whole / "replies.jsonl").read_bytes()
        # Only what the kill cut short: a part of two questions, each asked in two ways.
        assert len(second.asked) <= len(calm.asked) - (most // 4) * 4 + 4
    idle = Scripted(lambda *_: pytest.fail("asked again"))
    again = run(whole, items, idle, plan)
    assert again["greedy"] == expected["greedy"]


class Together(Threads):
    """Threads of this process that also tell each other things."""

    def told(self, make: Callable[[], Any]) -> Any:
        return self.gather(make() if self.main else None)[0]


def test_two_processes_ask_as_one(data: Path, tmp_path: Path) -> None:
    items, table = own_items(data, CONFIG), Table()
    alone, both = tmp_path / "alone", tmp_path / "both"
    for out in (alone, both):
        out.mkdir()
    expected = run(alone, items, Scripted(by_words), Plan(3, views=2))
    answerers = [Scripted(by_words), Scripted(by_words)]

    def one(rank: int) -> dict[str, Any]:
        told = Evaluation("eval", {}, items[0], [], Plan(3, views=2), "m", lambda: answerers[rank])
        log = EventLog(both / "events.jsonl") if rank == 0 else SilentLog()
        return run_evaluation(
            RunFolder(both), told, CONFIG, log, processes=Together(rank, 2, table)
        )  # fmt: skip

    with ThreadPoolExecutor(2) as pool:
        first, second = list(pool.map(one, range(2)))
    assert second == {}
    assert (both / "replies.jsonl").read_bytes() == (alone / "replies.jsonl").read_bytes()
    assert str({**first, "seconds": 0}) == str({**expected, "seconds": 0})
    asked = [{prompt.problem for prompt in answerer.asked} for answerer in answerers]
    assert all(asked)
    assert not asked[0] & asked[1]


def test_other_questions_or_models_are_refused(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    run(out, own_items(data, CONFIG), Scripted(by_words), Plan(0))
    with pytest.raises(RunFolderError, match="another model"):
        run(out, own_items(data, CONFIG), Scripted(by_words), Plan(0), model="n")
    data.write_text(data.read_text().replace('"answer": "5"', '"answer": "6"'))
    with pytest.raises(RunFolderError, match="other questions"):
        run(out, own_items(data, CONFIG), Scripted(by_words), Plan(0))


def test_replies_that_do_not_come_are_unscored_and_asked_for_again(
    data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()

    def broken(prompt: Prompt, draw: int, number: int) -> str | None:
        if prompt.problem == "2 + 2?":
            return None
        return None if draw and number == 2 and "more" in prompt.problem else by_words(prompt, draw, number)  # fmt: skip

    items = own_items(data, CONFIG)
    metrics = run(out, items, Scripted(broken), Plan(3))
    assert (metrics["n"], metrics["unscored"], metrics["failed"]) == (5, 1, 2)
    assert metrics["greedy"] == pytest.approx(3 / 4)  # of those that came, never 3 / 5
    assert metrics["mean"] == pytest.approx((2 / 3 + 1 + 1) / 3)
    assert [one["n"] for one in metrics["pass_at"]] == [3, 3, 3]
    second = Scripted(by_words)
    metrics = run(out, items, second, Plan(3))
    assert (metrics["unscored"], metrics["failed"], metrics["greedy"]) == (0, 0, 0.8)
    assert len(second.asked) == 3  # the parts of b and of e
    assert not (out / "asked").exists()


def test_a_judge_stands_beside_the_rule(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()

    def grade(prompt: Prompt, draw: int, number: int) -> str:
        assert not prompt.images
        wanted = prompt.problem.split("reference answer\n")[1].split("\n")[0]
        said = prompt.problem.split("reply\n")[-1]
        if wanted == "7":
            return "I cannot tell."
        return "CORRECT" if f"{{{wanted}}}" in said or "four" in said else "INCORRECT"

    judge = Judge(Scripted(grade, name="grader at home"))
    metrics = run(out, own_items(data, CONFIG), Scripted(by_words), Plan(0), judge=judge)
    told = metrics["judge"]
    assert (told["model"], told["prompt"], told["no_verdict"]) == ("grader at home", PROMPT, 1)
    assert told["accuracy"]["value"] == pytest.approx(3 / 4)
    assert (told["agreement_with_rule"]["value"], told["agreement_with_rule"]["n"]) == (1.0, 4)
    assert metrics["greedy"] == 0.8  # the rule's figures stay
    list(evaluation_view(metrics))


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ("CORRECT", True), ("Incorrect.", False), ("**CORRECT**", True),
        ("It says 4.\nAnswer: INCORRECT", False), ("<think>CORRECT?</think>\nincorrect", False),
        ("not CORRECT", None), ("", None), ("CORRECT or INCORRECT", None), ("yes", None),
    ],
)  # fmt: skip
def test_what_a_judge_says(said: str, right: bool | None) -> None:
    assert verdict(completion(said)) is right
    assert verdict(completion(said, Finish.LENGTH)) is None
    assert verdict(None) is None


def test_summaries_with_and_without_references(tmp_path: Path) -> None:
    import sacrebleu

    rows = [
        {"id": "a", "problem": "Say.", "answer": "赤いランプが机の上にある。"},
        {"id": "b", "problem": "Tell.", "answer": "A red lamp stands on the table."},
    ]
    said = {"Say.": "赤いランプが机にある。", "Tell.": "A red lamp is on the table."}
    settings = CONFIG.eval.model_copy(update={"kind": "text"})
    config = CONFIG.model_copy(update={"eval": settings})
    path = tmp_path / "text.jsonl"
    for with_answers in (True, False):
        path.write_text("".join(
            json.dumps(row if with_answers else {k: row[k] for k in ("id", "problem")}) + "\n"
            for row in rows
        ))  # fmt: skip
        out = tmp_path / f"{with_answers}"
        out.mkdir()
        metrics = run(
            out, own_items(path, config),
            Scripted(lambda p, draw, number: said[p.problem] if number < 2 else "Nothing."),
            Plan(3), config,
        )  # fmt: skip
        found = metrics["summaries"]
        # Of three pairs one is of the same text; "Nothing." shares next to nothing with it.
        assert 1 / 3 <= found["agreement"]["value"] < 0.5
        assert 2 / 3 <= found["centrality"]["value"] < 0.8
        if with_answers:
            expected = [sacrebleu.sentence_chrf(said[row["problem"]], [row["answer"]]).score / 100
                        for row in rows]  # fmt: skip
            assert found["chrf"]["value"] == pytest.approx(sum(expected) / 2)
            corpus = sacrebleu.corpus_chrf(list(said.values()), [[row["answer"] for row in rows]])
            assert metrics["corpus_chrf"]["chrf"] == pytest.approx(corpus.score / 100)
            assert "nc:6" in metrics["corpus_chrf"]["signature"]
        else:
            assert (found["chrf"]["n"], metrics["corpus_chrf"]["n"]) == (0, 0)
            assert metrics["unscored"] == 2
            assert math.isnan(metrics["greedy"])
        list(evaluation_view(metrics))


def test_two_evaluations_on_disk(data: Path, tmp_path: Path) -> None:
    items = own_items(data, CONFIG)
    for name, say in (("before", lambda *_: "\\boxed{4}"), ("after", by_words)):
        for kind in ("one", "two"):
            (tmp_path / name / kind).mkdir(parents=True)
            run(tmp_path / name / kind, items, Scripted(say), Plan(3))
    found = compare(read_pairs(tmp_path / "before" / "one", tmp_path / "after" / "one"))
    greedy = next(one for one in found if one.metric == "greedy")
    assert (greedy.set, greedy.n, greedy.before, greedy.after) == ("eval", 5, 0.4, 0.8)
    assert (greedy.only_before, greedy.only_after) == (0, 2)
    assert greedy.test == "sign flips"  # two questions share a picture
    both = compare(read_pairs(tmp_path / "before", tmp_path / "after"))
    assert len(both) == 2 * len(found)
    assert {one.set for one in both} == {"one", "two"}
    list(comparison_view(both))
    run_folder = tmp_path / "before" / "three"
    run_folder.mkdir()
    run(run_folder, (items[0][:4], []), Scripted(by_words), Plan(3))
    with pytest.raises(InputError, match="three has an evaluation"):
        read_pairs(tmp_path / "before", tmp_path / "after")
    with pytest.raises(InputError, match="lacks question 'e' of the other"):
        read_pairs(run_folder, tmp_path / "after" / "one")
    with pytest.raises(InputError, match="holds no evaluation"):
        read_pairs(tmp_path / "nothing", tmp_path / "after")


@pytest.mark.parametrize("text", ["", "{}\n", "[1]\n", '{"seconds": "soon"}\n'])
def test_a_part_that_is_none_is_named(text: str, tmp_path: Path) -> None:
    from mmupt.errors import RunFolderError
    from mmupt.evaluate.parts import Parts

    parts = Parts(tmp_path, (1,))
    parts._path(0).parent.mkdir(parents=True)
    parts._path(0).write_text(text)
    with pytest.raises(RunFolderError, match=r"000000\.jsonl"):
        parts.there(0)
