"""Label-free training cannot see an answer: by type, by reach, and by trying."""

from __future__ import annotations

import dataclasses
import inspect
import json
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import tiny

import mmupt.types
from mmupt.asking.maker import PromptMaker
from mmupt.data.answers import is_answer_column
from mmupt.data.sources import read_labelled, read_samples
from mmupt.data.views import ViewsConfig
from mmupt.events import EventLog
from mmupt.policy.model import Policy, load_policy
from mmupt.train import labels
from mmupt.train.anchors import train_anchored
from mmupt.train.grpo import train_label_free, train_supervised
from mmupt.train.rollout import Group
from mmupt.train.stage import Run
from mmupt.types import LabelledSample, Sample

# By type


def test_a_sample_has_no_place_for_an_answer() -> None:
    fields = {field.name: field.type for field in dataclasses.fields(Sample)}
    assert set(fields) == {"id", "problem", "images", "origin", "meta", "paraphrases"}
    assert not [name for name in fields if is_answer_column(name)]
    sample = Sample("a", "b")
    with pytest.raises((AttributeError, TypeError)):
        sample.answer = "14"  # type: ignore[attr-defined]
    with pytest.raises((AttributeError, TypeError)):
        object.__setattr__(sample, "answer", "14")  # slots: not even by force
    assert not hasattr(sample, "__dict__")


def test_only_a_labelled_sample_holds_an_answer() -> None:
    """Among the nouns: a `Vote` has a label, but it is what the votes say."""
    holders = {
        name
        for name, noun in vars(mmupt.types).items()
        if dataclasses.is_dataclass(noun)
        and any(field.name in ("answer", "response") for field in dataclasses.fields(noun))
    }
    assert holders == {"LabelledSample"}


def test_label_free_training_takes_samples() -> None:
    hints = typing.get_type_hints(train_label_free)
    assert hints["samples"] == Sequence[Sample]
    assert set(hints) == {"policy", "samples", "run", "after_step", "audit", "return"}
    # People's answers may choose a checkpoint; they come in as one number and no more.
    assert hints["audit"] == Callable[[Policy], float] | None
    assert (
        typing.get_type_hints(train_supervised)["rows"] == Sequence[LabelledSample]
    )  # the contrast
    # Where people's answers come in, the questions without answers still have none.
    anchored = typing.get_type_hints(train_anchored)
    assert (anchored["samples"], anchored["anchors"]) == (
        Sequence[Sample], Sequence[LabelledSample],
    )  # fmt: skip
    assert typing.get_type_hints(Group)["sample"] is Sample


# By reach


def functions_of(thing: object) -> Iterator[types.FunctionType]:
    """A function with those inside it, or the methods of a class."""
    if isinstance(thing, type):
        for name, member in vars(thing).items():
            if name in ("_backward_cls", "_forward_cls"):
                continue  # what torch hangs on an autograd function: two classes that hold each other
            inner = getattr(member, "fget", None) or getattr(member, "func", None) or member
            yield from functions_of(inspect.unwrap(inner) if callable(inner) else inner)
    elif isinstance(thing, types.FunctionType):
        yield inspect.unwrap(thing)


def names_in(code: types.CodeType) -> set[str]:
    inner = [names_in(c) for c in code.co_consts if isinstance(c, types.CodeType)]
    return set(code.co_names).union(*inner)


def types_in(annotated: Any) -> Iterator[object]:
    """The classes in the annotations of a function, or of a class's fields."""
    try:
        waiting = list(typing.get_type_hints(annotated).values())
    except NameError:  # imported for the type checker alone
        waiting = []
    while waiting:
        hint = waiting.pop()
        waiting += typing.get_args(hint)
        if inspect.isclass(hint):
            yield hint


def reached(start: object) -> dict[str, object]:
    """Every function and class of ours that `start` can come to.

    By name, looked up where the code looks it up, in its module and in modules that it names; and
    by annotation, for the methods of objects that are handed in.
    """
    found: dict[str, object] = {}
    waiting = [start]
    while waiting:
        thing = waiting.pop()
        if not getattr(thing, "__module__", "").startswith("mmupt"):
            continue
        key = f"{thing.__module__}.{thing.__qualname__}"  # type: ignore[attr-defined]
        if key in found:
            continue
        found[key] = thing
        if inspect.isclass(thing):
            waiting += types_in(thing)
        for function in functions_of(thing):
            waiting += types_in(function)
            names = names_in(function.__code__)
            for name in names:
                value = function.__globals__.get(name)
                if isinstance(value, types.ModuleType) and value.__name__.startswith("mmupt"):
                    waiting += [vars(value).get(n) for n in names]
                elif inspect.isfunction(value) or inspect.isclass(value):
                    waiting.append(inspect.unwrap(value))
    return found


def test_no_code_of_label_free_training_names_an_answer() -> None:
    """Neither the type that holds answers, nor what reads or uses them."""
    found = reached(train_label_free)
    assert {
        "mmupt.train.grpo._train",
        "mmupt.train.judge.judge",
        "mmupt.train.labels.TeacherVotes",
        "mmupt.train.labels.label_by_vote",
        "mmupt.train.rollout.roll_out",
        "mmupt.train.update.accumulate_gradients",
        "mmupt.policy.sampler.sample_all",
        "mmupt.consensus.vote.vote",
        "mmupt.consensus.reward.rewards_by_class",
        "mmupt.data.images.load_image",
    } <= set(found)  # control: the search goes down to the end
    forbidden = {
        LabelledSample, labels.TrueLabels, train_supervised, train_anchored, read_labelled,
    }  # fmt: skip
    assert not [key for key, thing in found.items() if thing in forbidden]
    for key, thing in found.items():
        for function in functions_of(thing):
            assert "LabelledSample" not in str(function.__annotations__), key
            assert not names_in(function.__code__) & {
                "LabelledSample",
                "TrueLabels",
                "read_labelled",
            }, key


def test_the_search_finds_answers_where_they_are() -> None:
    """Control of the test above: the supervised arm names them, and so do audits' anchors."""
    for start in (train_supervised, train_anchored):
        found = reached(start)
        assert "mmupt.train.labels.TrueLabels" in found
        assert "mmupt.types.LabelledSample" in found


# By trying


QUESTIONS = ("read it", "which digit?", "read the other one too", "sum", "how many")
ANSWERS = ("7", "\\frac{1}{2}", "B", "12 cm", "0")


def write(
    root: Path, name: str, answers: Sequence[str] | None, extra: Mapping[str, Any] | None = None
) -> Path:
    rows = []
    for i, question in enumerate(QUESTIONS):
        row: dict[str, Any] = {
            "id": f"q{i}",
            "images": [f"{i}.png"],
            "problem": f"<image>{question}",
        }
        if answers is not None:
            row |= {"answer": answers[i], "response": f"it is \\boxed{{{answers[i]}}}"}
        rows.append(row | {key: value[i] for key, value in (extra or {}).items()})
    path = root / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    for i in range(len(QUESTIONS)):
        tiny.picture(70 + i, 28, 36).save(folder / f"{i}.png")
    return folder


def final(talker: Path, data: Path, out: Path, teacher: str) -> Policy:
    """A whole label-free round on a file, as `mmupt train` runs it."""
    config = tiny.round_config(teacher, save_steps=100, max_steps=2)
    policy = load_policy(talker, device="cpu")
    run = Run(
        config=config,
        prompts=PromptMaker(config.views, max_pixels=10_000, seed=config.seed),
        log=EventLog(out / "events.jsonl"),
        stage="round-1",
        key=1,
        state_dir=out / "state",
        rollouts_dir=out / "rollouts",
    )
    train_label_free(policy, read_samples(data).rows, run)
    return policy


@pytest.mark.parametrize("teacher", ["frozen", "ema", "online"])
def test_answers_in_the_file_change_nothing(
    talker: Path, root: Path, tmp_path: Path, teacher: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Absent, true, turned round by one, or in other columns: the same weights, bit for bit."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("an answer was held during label-free training")

    files = {
        "absent": write(root, "absent.jsonl", None),
        "present": write(root, "present.jsonl", ANSWERS),
        "shuffled": write(root, "shuffled.jsonl", ANSWERS[1:] + ANSWERS[:1]),
        "disguised": write(
            root, "disguised.jsonl", None, {"gold": ANSWERS, "solution": ANSWERS, "note": ANSWERS}
        ),
    }
    monkeypatch.setattr(LabelledSample, "__init__", refuse)
    policies = {name: final(talker, file, tmp_path / name, teacher) for name, file in files.items()}
    start = load_policy(talker, device="cpu")
    assert not tiny.same_weights(policies["absent"].model, start.model)  # control: it did learn
    for name in ("present", "shuffled", "disguised"):
        assert tiny.same_weights(policies[name].model, policies["absent"].model), name
        for file in sorted((tmp_path / "absent" / "rollouts").iterdir()):
            assert pq.read_table(file).equals(
                pq.read_table(tmp_path / name / "rollouts" / file.name)
            )


def test_an_option_marked_as_correct_changes_no_view(root: Path) -> None:
    """Whichever option is marked, in whatever column: the same questions, orders and labels."""
    config = ViewsConfig(paraphrase=True, shuffle_options=True, rotate=20)
    maker = PromptMaker(config, max_pixels=10_000, seed=3)
    asked = []
    for right in (None, 0, 1, 2):
        marks = [{"text": t, "correct": i == right} for i, t in enumerate(("3", "4", "5"))]
        label = {} if right is None else {
            "answer": "ABC"[right],
            "correct_option": "ABC"[right],
            "answer_index": right,
            "options": marks,
            "labels": [i == right for i in range(3)],
            "response": f"it is {'ABC'[right]}",
        }  # fmt: skip
        path = root / "options.jsonl"
        path.write_text(json.dumps({
            "id": "q", "images": ["0.png"], "problem": "How many?\nA. 3\nB. 4\nC. 5",
            "paraphrases": ["Count them.\nA. 3\nB. 4\nC. 5"],
        } | label))  # fmt: skip
        (sample,) = read_samples(path)
        assert sample.meta == {}
        prompts = [maker.prompt(sample, view, 1) for view in range(7)]
        asked.append([(p.problem, p.labels, [i.tobytes() for i in p.images]) for p in prompts])
    assert len({problem for problem, _, _ in asked[0]}) == 6  # control: views do differ
    assert asked[0] == asked[1] == asked[2] == asked[3]


def test_answers_do_reach_supervised_training(talker: Path, root: Path, tmp_path: Path) -> None:
    """Control: the same round towards answers does depend on them."""
    policies = []
    for name, answers in (("present", ANSWERS), ("said", _said(talker, root, tmp_path))):
        config = tiny.round_config("online", save_steps=100, max_steps=1)
        policy = load_policy(talker, device="cpu")
        run = Run(
            config=config,
            prompts=PromptMaker(config.views, max_pixels=10_000, seed=config.seed),
            log=EventLog(tmp_path / name / "events.jsonl"),
            stage="supervised",
            key=1,
            state_dir=tmp_path / name / "state",
            rollouts_dir=tmp_path / name / "rollouts",
        )
        train_supervised(policy, read_labelled(write(root, f"{name}.jsonl", answers)).rows, run)
        policies.append(policy)
    assert not tiny.same_weights(policies[0].model, policies[1].model)


def _said(talker: Path, root: Path, tmp_path: Path) -> list[str]:
    """Answers that the model gives by itself, so that a reward for them is not always zero."""
    out = tmp_path / "asked"
    final(talker, write(root, "asked.jsonl", None), out, "online")
    table = pq.read_table(sorted((out / "rollouts").iterdir())[0]).to_pylist()
    said = next(a for row in table for a in row["answers"] if a)
    return [said] * len(QUESTIONS)


def test_training_keeps_no_answer_of_people_in_its_records(
    talker: Path, root: Path, tmp_path: Path
) -> None:
    """Rollouts and events of a round on a file with answers do not contain them."""
    secret = ("GROUND-TRUTH-7",) * len(QUESTIONS)
    final(talker, write(root, "secret.jsonl", secret, {"note": secret}), tmp_path, "frozen")
    for path in (p for p in tmp_path.rglob("*") if p.is_file()):
        text = (
            str(pq.read_table(path).to_pylist()) if path.suffix == ".parquet" else path.read_text()
        )
        assert "GROUND-TRUTH" not in text, path


def test_a_labelled_sample_is_refused_where_a_sample_is_meant(
    talker: Path, root: Path, tmp_path: Path
) -> None:
    """Types are not checked when running; it must still end before the first update."""
    rows = read_labelled(write(root, "refused.jsonl", ANSWERS)).rows
    policy, config = (
        load_policy(talker, device="cpu"),
        tiny.round_config("frozen", save_steps=9, max_steps=1),
    )
    run = Run(
        config, PromptMaker(config.views, max_pixels=10_000, seed=0), EventLog(tmp_path / "e.jsonl"),
        "round-1", 1, tmp_path / "state", tmp_path / "rollouts",
    )  # fmt: skip
    with pytest.raises(AttributeError):
        train_label_free(policy, rows, run)  # type: ignore[arg-type]
    assert tiny.same_weights(policy.model, load_policy(talker, device="cpu").model)
