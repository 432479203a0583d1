"""The guard: figures by hand, each rule broken alone, and whole rounds that it ends and resumes."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import tiny

from mmupt.asking.maker import PromptMaker
from mmupt.config import Config, GuardConfig
from mmupt.events import EventLog, read_events
from mmupt.guard.rules import RULES, Watched, findings
from mmupt.guard.signals import (
    Estimate,
    Look,
    Replies,
    agreement,
    entropy_of,
    estimate,
    largest_rise,
    largest_share,
    look_at,
    repetition,
    support,
    surplus,
)
from mmupt.guard.watch import Audit, Outcome
from mmupt.policy.model import Policy, load_policy
from mmupt.train import grpo
from mmupt.train.grpo import train_label_free
from mmupt.train.stage import Run
from mmupt.types import Sample

# Figures


def test_support_is_the_share_of_the_jury() -> None:
    jury = ["1/2", "0.5", None, "3"]
    assert support(["50%"], jury) == 0.5
    assert support(["3"], jury) == 0.25
    assert support(["7"], jury) == 0.0
    assert support([None], jury) == 0.0  # an abstention is nobody's answer, also the jury's
    assert support(["0.5", "3", None], jury) == pytest.approx((0.5 + 0.25) / 3)


def test_surplus_leaves_out_what_is_not_trained_on() -> None:
    jury = [["1", "1", "2", "2"], ["5", "5", "5", "6"], ["8", "8", "8", "8"]]
    found = surplus(["1", "5", None], [["2", "3"], ["5", "6"], ["9", "9"]], jury)
    # .5 - (.5 + 0) / 2 = .25 and .75 - (.75 + .25) / 2 = .25
    assert found.mean == pytest.approx(0.25)
    assert found.error == pytest.approx(0.0)
    assert math.isnan(surplus([None], [["1"]], [["1"]]).mean)


def test_estimates_by_hand() -> None:
    assert estimate([1.0, 0.0, 1.0, 0.0]) == Estimate(0.5, pytest.approx(math.sqrt(1 / 3 / 4)))
    assert math.isnan(estimate([1.0]).error)
    assert math.isnan(estimate([]).mean)
    assert Estimate(0.1, 0.02).surely(1.645) == pytest.approx(0.1 - 0.0329)


def test_agreement_share_and_entropy_by_hand() -> None:
    answers = ["1", "1.0", "2", None]
    assert agreement(answers) == pytest.approx(2 / 12)
    assert agreement(["1", "1"]) == 1.0
    assert agreement([None, None]) == 0.0
    assert math.isnan(agreement(["1"]))
    assert largest_share(answers) == 0.5
    assert entropy_of(["1", "1", "2", None]) == pytest.approx(
        math.log(3 / 2) * 2 / 3 + math.log(3) / 3
    )
    assert entropy_of([None]) == 0.0


def test_the_answer_that_took_over() -> None:
    before, now = ["1", "2", "3", "4"], ["1", "5", "5.0", "5"]
    assert largest_rise(before, now) == ("5", 0.75)
    assert largest_rise(before, before) == (None, 0.0)
    assert largest_rise(before, [None] * 4) == (None, 0.0)


def test_repetition_by_hand() -> None:
    assert repetition([1, 2, 3, 4, 5]) == 0.0
    assert repetition([1, 2, 1, 2, 1, 2]) == pytest.approx(1 / 3)  # 1212 2121 1212
    assert repetition([1]) == 0.0


def replies(*rows: Sequence[str | None]) -> Replies:
    return Replies(tuple(map(tuple, rows)), (4,) * len(rows), 0.0, 0.0, 0.0)


def test_a_look_by_hand() -> None:
    jury = [["1", "1", "1", "2"], ["7", "7", "7", "7"]]
    start = replies(["1", "1"], ["7", "8"])
    now = replies(["2", "1"], ["9", "8"])
    look = look_at(3, now, start, jury, "auto", None)
    # support then: .75 and .5; now: (.25 + .75) / 2 = .5 and 0
    assert look.support == pytest.approx(0.25)
    assert look.support_loss == pytest.approx((0.25 + 0.5) / 2)
    assert look.support_loss_error == pytest.approx(0.125)
    assert look.view_agreement == 0.0
    assert look.view_loss == pytest.approx(0.5)
    assert look.flips == 1.0
    assert look.share == 0.5
    assert look.score == pytest.approx(0.0 - 0.375)
    assert (look.top_answer, look.top_rise) == ("2", 0.5)


# Rules

START = Look(
    step=0, support=0.7, support_loss=0.0, support_loss_error=0.0, view_agreement=0.8,
    view_loss=0.0, view_loss_error=0.0, share=0.85, flips=0.0, answer_entropy=3.0,
    top_answer=None, top_rise=0.0, abstained=0.02, truncated=0.01, length=20.0, repetition=0.05,
    kl=0.0,
)  # fmt: skip
INFORMED, EMPTY = Estimate(0.06, 0.01), Estimate(0.005, 0.01)


def broken(look: Look, surplus: Estimate = INFORMED, entropy: float = 0.5) -> list[str]:
    found = findings(Watched(look, START, surplus, 0.5, entropy, GuardConfig()))
    return [finding.rule for finding in found]


def test_nothing_is_found_where_nothing_changed() -> None:
    assert broken(START) == []
    assert broken(replace(START, step=10, support_loss=0.01, support_loss_error=0.005)) == []


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        ("support-lost", {"support_loss": 0.05, "support_loss_error": 0.01}),
        ("constant-answer", {"top_answer": "4", "top_rise": 0.16}),
        ("answers-narrow", {"answer_entropy": 2.0}),
        ("views-disagree", {"view_loss": 0.1, "view_loss_error": 0.02}),
        ("format-decay", {"abstained": 0.13}),
        ("length-collapse", {"length": 9.0}),
        ("length-explosion", {"length": 41.0}),
        ("repetition", {"repetition": 0.3}),
        ("kl-explosion", {"kl": 0.6}),
    ],
)
def test_each_rule_alone(rule: str, change: dict[str, object]) -> None:
    assert broken(replace(START, step=10, **change)) == [rule]  # type: ignore[arg-type]


def test_less_entropy_of_the_policy_only_warns() -> None:
    look = replace(START, step=10)
    (found,) = findings(Watched(look, START, INFORMED, 0.5, 0.04, GuardConfig()))
    assert (found.rule, found.severity) == ("diversity-loss", "warn")


def test_every_rule_is_tested() -> None:
    assert set(RULES) == {
        "no-surplus", "support-lost", "constant-answer", "answers-narrow", "views-disagree",
        "format-decay", "length-collapse", "length-explosion", "repetition", "kl-explosion",
        "diversity-loss",
    }  # fmt: skip


def test_labels_that_say_nothing_new_warn_once_and_make_it_wary() -> None:
    assert broken(START, EMPTY) == ["no-surplus"]
    small = replace(START, step=2, support_loss=0.01, support_loss_error=0.005)
    assert broken(small, INFORMED) == []
    assert broken(small, EMPTY) == ["support-lost"]  # .01 - 1.645 * .005 > 0


def test_undefined_figures_break_nothing() -> None:
    nan = math.nan
    look = replace(
        START, step=5, support_loss=nan, support_loss_error=nan, view_loss=nan, view_loss_error=nan,
        length=nan, kl=nan,
    )  # fmt: skip
    assert broken(look, Estimate(nan, nan), nan) == []


# Rounds


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    made = []
    for i, question in enumerate(("read it", "which digit?", "sum", "how many", "the other?")):
        tiny.picture(70 + i, 28, 36).save(tmp_path / f"{i}.png")
        made.append(Sample(f"q{i}", f"<image>{question}", (tmp_path / f"{i}.png",)))
    return made


def a_round(
    folder: Path,
    samples: list[Sample],
    out: Path,
    steps: int = 4,
    save_steps: int = 2,
    audit: Audit | None = None,
    **guard: object,
) -> tuple[Policy, Outcome, list[dict[str, object]]]:
    config = tiny.round_config("ema", save_steps=save_steps, max_steps=steps)
    tree = config.model_dump(mode="json")
    tree["guard"] |= guard
    policy = load_policy(folder, device="cpu")
    run = Run(
        config=Config.model_validate(tree),
        prompts=PromptMaker(config.views, max_pixels=10_000, seed=config.seed),
        log=EventLog(out / "events.jsonl"), stage="round-1", key=1, state_dir=out / "state",
        rollouts_dir=out / "rollouts",
    )  # fmt: skip
    outcome = train_label_free(policy, samples, run, audit=audit)
    return policy, outcome, list(read_events(out / "events.jsonl"))


def test_a_broken_rule_ends_the_round_with_the_best_checkpoint(
    talker: Path, samples: list[Sample], tmp_path: Path
) -> None:
    """Any KL at all is too much here, so the first look ends it and the start comes back."""
    policy, outcome, events = a_round(
        talker, samples, tmp_path, action="rollback-to-best", max_kl=1e-6
    )
    assert "kl-explosion" in outcome.stopped_by
    assert outcome.steps == 1
    assert outcome.best_step == 0
    assert tiny.same_weights(policy.model, load_policy(talker, device="cpu").model)
    assert [e["step"] for e in events if e["type"] == "grpo_step"] == [1]
    found = [e for e in events if e["type"] == "guard_finding" and e["rule"] == "kl-explosion"]
    assert [e["action"] for e in found] == ["rollback-to-best"]
    assert isinstance(found[0]["evidence"], str)
    (best,) = [e for e in events if e["type"] == "best_checkpoint"]
    assert (best["step"], best["last_step"]) == (0, 1)


def test_stop_keeps_the_last_weights_and_warn_goes_on(
    talker: Path, samples: list[Sample], tmp_path: Path
) -> None:
    stopped, outcome, _ = a_round(talker, samples, tmp_path / "stop", action="stop", max_kl=1e-6)
    assert (outcome.steps, outcome.best_step) == (1, 1)
    one_step, *_ = a_round(talker, samples, tmp_path / "one", steps=1, action="none")
    assert tiny.same_weights(stopped.model, one_step.model)
    warned, outcome, events = a_round(talker, samples, tmp_path / "warn", max_kl=1e-6)
    assert (outcome.steps, outcome.stopped_by) == (4, ())
    unwatched, *_ = a_round(talker, samples, tmp_path / "none", action="none")
    assert tiny.same_weights(warned.model, unwatched.model)  # looking changes nothing
    assert {e["action"] for e in events if e["type"] == "guard_finding"} == {"warn"}


def test_a_round_ends_with_its_best_look(
    talker: Path, samples: list[Sample], tmp_path: Path
) -> None:
    """The score of every look is in the events; the weights are those after the best one."""
    loose = {"action": "warn", "load_best_model_at_end": True, "max_view_loss": 1.0}
    policy, outcome, events = a_round(talker, samples, tmp_path / "best", steps=5, **loose)
    scores = {e["step"]: e["score"] for e in events if e["type"] == "guard_look"}
    stops = {e["step"] for e in events if e["type"] == "guard_finding" and e["severity"] == "stop"}
    allowed = {step: score for step, score in scores.items() if step not in stops}
    expected = max(allowed, key=lambda step: (allowed[step], -step))
    assert outcome.best_step == expected
    if expected == 0:
        same = load_policy(talker, device="cpu")
    else:
        same, *_ = a_round(talker, samples, tmp_path / "short", steps=5, action="none")
    assert set(scores) == {0, 1, 2, 4, 5}  # the labels have a surplus here
    if expected in (0, 5):
        assert tiny.same_weights(policy.model, same.model)


class Killed(BaseException):
    """Stands for a process that dies."""


def test_a_killed_round_resumes_with_what_the_guard_knew(
    talker: Path, samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"action": "warn", "load_best_model_at_end": True}
    whole, outcome, events = a_round(talker, samples, tmp_path / "whole", steps=5, **settings)
    write = grpo.write_rollouts

    def dying(folder: Path, stage: str, step: int, judged: object) -> object:
        if step == 4:
            raise Killed
        return write(folder, stage, step, judged)  # type: ignore[arg-type]

    monkeypatch.setattr(grpo, "write_rollouts", dying)
    with pytest.raises(Killed):
        a_round(talker, samples, tmp_path / "again", steps=5, **settings)
    monkeypatch.undo()
    again, resumed, both = a_round(talker, samples, tmp_path / "again", steps=5, **settings)
    assert resumed == outcome
    assert tiny.same_weights(again.model, whole.model)
    last = {e["step"]: e for e in both if e["type"] == "guard_look"}
    for event in events:
        if event["type"] == "guard_look":
            timed = ("time", "seconds", "part_seconds")
            same = {k: v for k, v in last[event["step"]].items() if k not in timed}
            assert json.dumps(same) == json.dumps(
                {k: v for k, v in event.items() if k not in timed}
            )


def test_audited_rows_choose_the_checkpoint(
    talker: Path, samples: list[Sample], tmp_path: Path
) -> None:
    """Made-up accuracies that peak after update 2: its weights come back, whatever the score."""
    accuracies = iter([0.1, 0.2, 0.9, 0.3])
    policy, outcome, events = a_round(
        talker, samples, tmp_path / "audited", audit=lambda _: next(accuracies),
        action="warn", load_best_model_at_end=True,
    )  # fmt: skip
    assert outcome.best_step == 2
    audited = {e["step"]: e["audited"] for e in events if e["type"] == "guard_look"}
    assert audited == {0: 0.1, 1: 0.2, 2: 0.9, 4: 0.3}
    two, *_ = a_round(talker, samples, tmp_path / "two", steps=2, action="none")
    assert tiny.same_weights(policy.model, two.model)


def test_a_small_pool_is_asked_whole(talker: Path, samples: list[Sample], tmp_path: Path) -> None:
    _, _, events = a_round(talker, samples, tmp_path, steps=1, action="warn")
    (started,) = [e for e in events if e["type"] == "guard_started"]
    assert started["prompts"] == len(samples)
