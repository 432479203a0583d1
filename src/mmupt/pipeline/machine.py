"""`mmupt run`: the stages of a project, one after the other, each once.

    base -> sft -> pilot -> round k (train -> evaluate -> audit -> gate -> promote) -> ...

Every call goes as far as it can: to the end of what is planned, to an audit that people have to
do, or to a gate that refuses. Then it says where it stands; called again it goes on from there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmupt.audit.rules import hits_by_id
from mmupt.audit.store import AuditStore
from mmupt.config import Config, dump_config
from mmupt.database import now
from mmupt.errors import RefusedError
from mmupt.evaluate.files import read_scores
from mmupt.evaluate.scores import Scores
from mmupt.gates.decide import decide
from mmupt.gates.evidence import Evidence, Subject
from mmupt.pipeline import proofs
from mmupt.pipeline.accounts import book
from mmupt.pipeline.auditing import Standing, open_audit, standing_of
from mmupt.pipeline.digests import FileHashes, digest, settings
from mmupt.pipeline.frame import frame_of, last_rows, rollout_rows, write_frame
from mmupt.pipeline.material import Material
from mmupt.pipeline.pilot import run_pilot
from mmupt.pipeline.project import Project
from mmupt.pipeline.rounds import Round, plan_rounds, read_rounds
from mmupt.pipeline.ruling import blind_labels, confirmed_answers, look
from mmupt.pipeline.stages import Stages
from mmupt.pipeline.status import StateName
from mmupt.pipeline.steps import Outputs, Steps
from mmupt.pipeline.taken import RoundData, round_data, take
from mmupt.registry.store import Registry
from mmupt.registry.versions import Lineage, make_version
from mmupt.runs import write_json
from mmupt.types import Sample

Reviewer = Callable[[AuditStore, str, Config], None]
"""Judges an audit by itself, as the demo does, which knows the answers."""

NO_TRAINING = ("train.rounds", "train.micro_batch_size", "train.micro_batch_tokens")
"""Settings that change time and memory, not what a round gives."""


@dataclass(frozen=True)
class Halt:
    """Where a project stands after a run.

    Attributes:
        state: `done`: everything planned is done. `awaiting-audit`: people's verdicts are needed.
            `refused`: a gate refused the version. `insufficient`: its evidence does not suffice and
            more verdicts would not help. `passed`: it may be promoted by hand. `introducing`: a
            challenger serves a share of the requests. `stopped`: the pilot does not allow a round.
        stage: which stage that is about.
        why: in a sentence, by language.
    """

    state: StateName
    stage: str = ""
    why: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Machine:
    """Runs a project.

    Attributes:
        project: its folder.
        stages: trains and evaluates in it.
        material: the data of its configuration.
        read: reads a data file of a round that was added.
        reviewer: judges audits by itself; None: people do.
        lang: of the pilot's reasons.
    """

    project: Project
    stages: Stages
    material: Material
    read: Callable[[Config, Round], Sequence[Sample]]
    reviewer: Reviewer | None = None
    lang: str = "en"

    def __post_init__(self) -> None:
        self.config = self.stages.config
        self.processes = self.stages.processes
        self.steps = Steps(self.project.steps, self.stages.log, self.processes)
        self.hashes = FileHashes(self.project.root / ".hashes.json")
        self.stages.test = self.material.test
        self._tree: dict[str, Any] = self.config.model_dump(mode="json")
        self._samples: dict[str | None, Sequence[Sample]] = {None: self.material.unlabelled}

    @property
    def registry(self) -> Registry:
        return self.project.registry()

    @property
    def store(self) -> AuditStore:
        return self.project.audits(self.config)

    # The whole

    def advance(self) -> Halt:
        """Go as far as it goes."""
        if self.processes.main:
            self.project.keep(self.config)
            (self.project.root / "state.json").unlink(missing_ok=True)  # until it stands again
        self._test = self._told(lambda: self.hashes.data(self.material.test))
        halt = self._advance()
        if self.processes.main:
            write_json(self.project.root / "state.json", {**asdict(halt), "time": now()})
            book(self.project, self.config)
        self.stages.log.emit("halted", **asdict(halt))
        return halt

    def _advance(self) -> Halt:
        self._base()
        last = "base"
        if self.config.sft is not None and self.material.labelled:
            halt = self._sft()
            last = "sft"
            if halt is not None:
                return halt
        halt = self._pilot(last)
        if halt is not None:
            return halt
        rounds = self._told(lambda: plan_rounds(self.project.rounds, self.config))
        refused: Halt | None = None
        for number, this in enumerate(rounds):
            if refused is not None and this.planned:
                continue  # it would only repeat it: the same questions and settings
            if self.config.gate is not None and self._begun(rounds[number + 1 :]):
                last = self._over(this) or last
                continue
            halt = self._round(rounds[: number + 1], last)
            if halt is None:
                last, refused = this.stage, None
            elif halt.state in ("refused", "insufficient"):
                refused = halt  # a round that people have added since goes on without it
            else:
                return halt
        if refused is not None:
            return refused
        introduced = self._introduced() if self.config.gate is not None else None
        return introduced or Halt("done", last)

    def _introduced(self) -> Halt | None:
        """Whether a version is still being introduced."""
        state = self._told(lambda: self.registry.current())
        if state.challenger is None or state.rollout is None:
            return None
        return Halt("introducing", state.challenger, _introducing(state.challenger))

    def _begun(self, rounds: Sequence[Round]) -> bool:
        """Whether any of these rounds has begun."""
        return bool(
            self._told(
                lambda: any(self.steps.record(f"{one.stage}/train") is not None for one in rounds)
            )
        )

    def _over(self, this: Round) -> str | None:
        """A round that a later one has followed is not decided again: the champion, which it would
        stand against, has learned more since. Its name, if it has ever served."""
        trained = self._told(lambda: self.steps.record(f"{this.stage}/train"))
        if trained is not None and trained.state == "finished":
            self._evaluate(this.stage)  # on the same questions as the others
        return this.stage if self._served(this.stage) else None

    def _served(self, stage: str) -> bool:
        """Whether a version has ever been promoted, by whom and how far soever."""
        return bool(
            self._told(
                lambda: any(
                    past.version == stage and past.kind in ("promote", "raise")
                    for past in self.registry.history()
                )
            )
        )

    def overview(self, halt: Halt) -> dict[str, Any]:
        """Where the project stands, for `metrics.json`."""
        gates = {}
        for name in (version.name for version in self.registry.versions()):
            record = self.steps.record(f"{name}/gate")
            if record is not None and record.state == "finished":
                gates[name] = {key: record.outputs[key] for key in ("verdict", "explained")}
        return {**asdict(halt), "aliases": self.registry.aliases(), "gates": gates}

    # Stages

    def _base(self) -> None:
        path = self.config.model.path
        assert path is not None  # noqa: S101  checked where the command starts
        inputs = {"model": self._told(lambda: self._folder_hash(path)), **self._keys("model")}

        def work() -> Outputs:
            def register() -> Outputs:
                registry = self.registry
                version = make_version(
                    self.project.root, "base", path,
                    config=dump_config(self.config), lineage=Lineage(None, "base"),
                )  # fmt: skip
                registry.register(version, by="mmupt run", reason="the starting model")
                if registry.current().champion is None:
                    registry.promote(
                        "base", "100%", by="mmupt run", reason="the starting model",
                        require_decision=False,
                    )  # fmt: skip
                return {"digest": version.digest}

            return dict(self._told(register))

        self.steps.do("base", inputs, work, discard=lambda: None)
        self._evaluate("base")

    def _sft(self) -> Halt | None:
        rows = self.material.labelled
        data = self._told(lambda: self.hashes.data(rows))
        inputs = {
            "model": self._digest("base"), "data": data,
            **self._keys("seed", "sft", "lora", "views"),
        }  # fmt: skip

        def work() -> Outputs:
            self.stages.sft(rows)
            return self._register("sft", "base", inputs, {"labelled": data}, self.config)

        self.steps.do("sft", inputs, work, discard=lambda: self._clear("sft"))
        self._evaluate("sft")
        if self.config.gate is None or self._begun(
            self._told(lambda: read_rounds(self.project.rounds))
        ):
            return None
        halt = self._gate("sft", "base", None, data)
        # Too little evidence keeps it out of production, not from being the base of a round.
        return None if halt is None or halt.state in ("insufficient", "passed") else halt

    def _pilot(self, after: str) -> Halt | None:
        pilot = self.config.pilot
        if not pilot.rows or not self.material.unlabelled:
            return None
        pool = self.material.unlabelled
        order = np.random.default_rng([self.config.seed, PILOT_DRAW]).permutation(len(pool))
        rows = [pool[i] for i in sorted(order[: pilot.rows])]
        inputs = {
            "model": self._digest(after),
            "data": self._told(lambda: self.hashes.data(rows)),
            **self._keys("seed", "consensus", "views"),
            "train.max_completion_length": self.config.train.max_completion_length,
        }
        folder = self.project.pilot

        def work() -> Outputs:
            def ask() -> Outputs:
                folder.mkdir(exist_ok=True)
                found = run_pilot(self.stages, rows, None, self.lang, after=after, within=folder)
                return {key: found[key] for key in ("verdict", "reasons", "tokens")}

            return dict(self._told(ask))  # one process asks and writes; the others wait for it

        outputs = self.steps.do(
            "pilot", inputs, work, discard=lambda: shutil.rmtree(folder, ignore_errors=True),
            renew=True,
        )  # fmt: skip
        verdict = outputs["verdict"]
        enough = {
            "nothing": True,
            "suitable": verdict != "not-suitable",
            "ready": verdict == "ready",
        }
        if enough[pilot.require]:
            return None
        reasons = " ".join(str(one) for one in outputs["reasons"])
        return Halt(
            "stopped", "pilot", {"en": f"{verdict}: {reasons}", "ja": f"{verdict}: {reasons}"}
        )

    def _round(self, rounds: Sequence[Round], last: str) -> Halt | None:
        """One round, from its training to its promotion; None: it is promoted."""
        this = rounds[-1]
        stage, config = this.stage, this.config(self.config)
        begun = self._told(lambda: self.steps.record(f"{stage}/train"))
        if begun is None and self.config.gate is not None:
            state = self._told(lambda: self.registry.current())
            if state.challenger is not None and state.rollout is not None:
                return Halt("introducing", state.challenger, _introducing(state.challenger))
        promoted = self._told(lambda: self.steps.record(f"{stage}/promote"))
        if promoted is not None and promoted.state == "finished":
            self._evaluate(stage)
            return None
        parent = begun.inputs["parent"] if begun is not None else self._parent(last)
        data = self._train(rounds, config, parent)
        self._evaluate(stage)
        self._audit(stage, config, data.samples)
        if config.gate is None:
            stopped = self.stages.guarded(stage).get("stopped_by")
            return Halt("refused", stage, _stopped(stage, stopped)) if stopped else None
        return self._gate(stage, parent, this, self._told(lambda: self._data_digest(this)))

    def _parent(self, last: str) -> str:
        """The champion; SFT where its gate could not yet tell; without gates the last version."""
        champion = self._told(lambda: self.registry.current().champion) or "base"
        if self.config.gate is None:
            return last
        return "sft" if champion == "base" and last == "sft" else champion

    def _train(self, rounds: Sequence[Round], config: Config, parent: str) -> RoundData:
        this = rounds[-1]
        stage = this.stage
        taken = self._told(
            lambda: take(
                self.project.root / "audits" / f"{stage}.taken.json", self.store, rounds, config
            )
        )
        data = round_data(taken, this, rounds, self._questions, config)
        own = self._told(lambda: self._data_digest(this))
        checked = self.material.audited
        inputs = {
            "parent": parent,
            "model": self._digest(parent),
            "data": own,
            **({"audited": self._told(lambda: self.hashes.data(checked))} if checked else {}),
            "taken": digest(asdict(taken)),
            "number": this.number,
            **settings(
                config.model_dump(mode="json"),
                ["seed", "consensus", "train", "views", "guard", "lora"],
                NO_TRAINING,
            ),
        }

        def work() -> Outputs:
            self.stages.audited = (*self.material.audited, *data.audited)
            self.stages.label_free(
                data.samples,
                after=parent,
                stage=stage,
                key=this.number,
                config=config,
                anchors=data.anchors,
            )
            audits = sorted({f"round-{n}" for n, *_ in (*taken.anchors, *taken.audited)})
            registered = self._register(stage, parent, inputs, {"unlabelled": own}, config, audits)
            used = {"anchors": len(data.anchors), "quarantined": len(taken.quarantined)}
            return {**registered, **used, "guard": self.stages.guarded(stage)}

        self.steps.do(f"{stage}/train", inputs, work, discard=lambda: self._clear(stage))
        if (
            self.processes.main
            and config.gate is not None
            and self.steps.record(f"{stage}/gate") is None
        ):
            self._examine(stage)
        return data

    def _examine(self, stage: str) -> None:
        """Name the version that is being examined."""
        current = self.registry.current()
        if current.champion != stage and current.rollout is None:
            self.registry.set_challenger(stage, by="mmupt run", reason="its gate is being asked")

    def _evaluate(self, stage: str) -> None:
        without = ("eval.batch_size", "eval.steps", "eval.limit")
        inputs = {
            "model": self._digest(stage),
            "test": self._test,
            **settings(self._tree, ["seed", "eval"], without),
        }

        def clear() -> None:
            for name in (stage, f"{stage}-blind"):
                self.stages.folder.scores(name).unlink(missing_ok=True)

        def work() -> Outputs:
            self._measure(stage)
            return {"test": self._test}

        self.steps.do(f"{stage}/evaluate", inputs, work, discard=clear, renew=True)
        self._measure(stage)  # removed by hand, or not asked for then

    def _measure(self, stage: str) -> None:
        """Its scores and, for a gate that asks for them, those on blank pictures; each once."""
        self.stages.evaluate(stage)
        gate = self.config.gate
        if gate is not None and gate.max_blind_rise is not None and self._pictured():
            self.stages.blind(stage)

    def _audit(self, stage: str, config: Config, samples: Sequence[Sample]) -> None:
        """Draw the audit of a round, and let rules look at all of its rollouts."""
        # What came after the checkpoint that was kept has taught the version nothing.
        last = self.stages.guarded(stage).get("best_step", config.train.max_steps)

        def work() -> Outputs:
            return dict(self._told(lambda: self._draw(stage, config, samples, last)))

        inputs = {
            "model": self._digest(stage),
            "last_step": last,
            **settings(self._tree, ["audit", "rules"], ("audit.url",)),
        }
        record = self._told(lambda: self.steps.record(f"{stage}/audit"))
        if record is not None and record.state == "finished":
            inputs = dict(record.inputs)  # drawn once: what people were asked stays as it is
        self.steps.do(f"{stage}/audit", inputs, work, discard=lambda: None)
        if self.reviewer is not None and self.processes.main and config.gate is not None:
            self.reviewer(self.store, stage, self.config)
        self.processes.wait()

    def _draw(
        self, stage: str, config: Config, samples: Sequence[Sample], last: int
    ) -> dict[str, Any]:
        rows = last_rows(rollout_rows(self.stages.folder.rollouts, stage, last))
        frame = frame_of(rows, config.consensus, {one.id: one.meta for one in samples})
        write_frame(self.project.frame(stage), frame)
        former = self._former(stage)
        hits = look(
            rows, self.config,
            meta={one.id: one.meta for one in samples},
            blind=blind_labels(self.project.pilot, self.config),
            confirmed=confirmed_answers(
                self.project, self.store, former, self.config, self._hash_of
            ),
            hash_of=self._hash_of,
        )  # fmt: skip
        self.hashes.save()
        write_json(self.project.rules(stage), {"rules": [asdict(hit) for hit in hits]})
        if frame and config.gate is not None:
            open_audit(
                self.store, stage, self._digest_here(stage), frame, hits_by_id(hits), self.config,
                former,
            )  # fmt: skip
        return {
            "labels": len(frame), "looked_at": len(rows),
            "rules": {hit.rule: hit.count for hit in hits},
        }  # fmt: skip

    def _former(self, stage: str) -> list[str]:
        names = [audit.name for audit in self.store.audits()]
        return [name for name in names if name != stage]

    # Gate and promotion

    def _gate(self, stage: str, parent: str, this: Round | None, data: str) -> Halt | None:
        """Decide on a version, and promote it; None: it is promoted."""
        promoted = self._told(lambda: self.steps.record(f"{stage}/promote"))
        if promoted is not None and promoted.state == "finished":
            return None
        assert self.config.gate is not None  # noqa: S101
        champion = self._told(lambda: self.registry.current().champion) or "base"
        if champion == stage:  # by hand, or killed before that was written down
            decided = self._told(lambda: self.steps.record(f"{stage}/gate"))
            assert decided is not None  # noqa: S101  nothing serves without
            return self._promote(stage, decided.outputs["explained"])
        # SFT that could not yet prove itself is what the round has to be better than.
        baseline = parent if champion == "base" else champion
        self._evaluate(baseline)
        guarded = self.stages.guarded(stage)
        outputs = self._told(lambda: self._decide(stage, baseline, this, data, guarded))
        verdict, words = outputs["verdict"], outputs["explained"]
        self.stages.log.emit("gate_decided", stage=stage, verdict=verdict, explained=words)
        if verdict == "pass":
            return self._promote(stage, words)
        if verdict == "insufficient" and this is not None and self.processes.main:
            self._examine(stage)
        if verdict == "insufficient" and outputs["audit_open"]:
            return Halt("awaiting-audit", stage, words)
        if verdict == "fail" and self.processes.main:
            registry = self.registry
            if registry.current().challenger == stage:
                registry.withdraw(by="mmupt run", reason="its gate refused it")
        self.processes.wait()
        return Halt("refused" if verdict == "fail" else "insufficient", stage, words)

    def _decide(
        self, stage: str, baseline: str, this: Round | None, data: str, guarded: Mapping[str, Any]
    ) -> Outputs:
        """By the main process alone: nothing in it may meet the others."""
        gate = self.config.gate
        assert gate is not None  # noqa: S101
        subject, evidence, standing = self._evidence(stage, baseline, this, data, guarded)
        found = [[one.kind, one.figures, one.data_digest, one.baseline_digest] for one in evidence]
        inputs = {
            "model": subject.digest, "baseline": subject.baseline_digest,
            "evidence": digest(json.loads(json.dumps(found))), **self._keys("gate"),
        }  # fmt: skip

        def work() -> Outputs:
            decision = decide(subject, evidence, gate, now=now())
            content = json.dumps(decision.as_json(), ensure_ascii=False)
            settings = digest(self._tree["gate"])
            last = self.registry.latest_decision(stage)
            # Killed behind the registry's record and before the step's, this is decided again, and
            # nothing but the time has changed.
            if (
                last is not None
                and (last.version_digest, last.config_digest) == (subject.digest, settings)
                and _but_for_time(last.content) == _but_for_time(content)
            ):
                number = last.id
            else:
                number = self.registry.add_decision(
                    stage, decision.verdict, content, settings, version_digest=subject.digest
                )  # fmt: skip
            return {
                "verdict": decision.verdict, "decision": number,
                "explained": {lang: decision.explain(lang) for lang in ("en", "ja")},
            }  # fmt: skip

        alone = Steps(self.project.steps, self.stages.log)  # only the main process is here
        outputs = alone.do(f"{stage}/gate", inputs, work, discard=lambda: None, renew=True)
        return {**outputs, "audit_open": standing is not None and standing.open}

    def _evidence(
        self, stage: str, baseline: str, this: Round | None, data: str, guarded: Mapping[str, Any]
    ) -> tuple[Subject, list[Evidence], Standing | None]:
        gate = self.config.gate
        assert gate is not None  # noqa: S101
        trained = self.steps.record(stage if this is None else f"{stage}/train")
        measured = self.steps.record(f"{stage}/evaluate")
        assert trained is not None  # noqa: S101
        assert measured is not None  # noqa: S101
        subject = Subject(
            version=stage, digest=self._digest_here(stage), baseline=baseline,
            baseline_digest=self._digest_here(baseline),
            data={"test": self._test, "round": data}, made=trained.finished,
            label_free=this is not None,
        )  # fmt: skip
        before, after = self._scores(baseline), self._scores(stage)
        evidence = [proofs.held_out(subject, before, after, measured.finished)]
        if gate.slices:
            evidence.append(
                proofs.slices(
                    subject, self.material.test, before, after, gate.slices, measured.finished
                )
            )
        if gate.max_blind_rise is not None and self._pictured():
            unseen, now_unseen = self._scores(f"{baseline}-blind"), self._scores(f"{stage}-blind")
            evidence.append(proofs.blind(subject, unseen, now_unseen, measured.finished))
        standing = None
        if this is not None:
            evidence.append(proofs.guard(subject, guarded, trained.finished))
            standing = standing_of(self.store, stage, self.config)
            if standing is not None and standing.judged:
                evidence.append(proofs.audit(subject, standing))
        return subject, evidence, standing

    def _promote(self, stage: str, words: Mapping[str, str]) -> Halt | None:
        promotion = self.config.promotion
        if not promotion.auto:
            state = self._told(lambda: self.registry.current())
            if state.challenger == stage and state.rollout is not None:
                return Halt("introducing", stage, _introducing(stage))
            return None if self._served(stage) else Halt("passed", stage, words)

        def work() -> Outputs:
            def move() -> Outputs:
                faults = self.registry.verify(stage)
                if faults:
                    raise RefusedError(f"{stage} is not as it was registered: {faults[0]}")
                moved = self.registry.promote(
                    stage, promotion.rollout, by="mmupt run", reason=words["en"]
                )
                return {"rollout": promotion.rollout, "champion": moved.after.champion}

            return dict(self._told(move))

        decided = self._told(lambda: self.steps.record(f"{stage}/gate"))
        assert decided is not None  # noqa: S101
        inputs = {"decision": decided.outputs["decision"], **self._keys("promotion")}
        outputs = self.steps.do(f"{stage}/promote", inputs, work, discard=lambda: None, renew=True)
        self.stages.log.emit("promoted", stage=stage, **outputs)
        return None

    # Bricks

    def _told(self, make: Callable[[], Any]) -> Any:
        return self.processes.told(make)

    def _keys(self, *names: str) -> dict[str, Any]:
        found: dict[str, Any] = settings(self._tree, names, ("model.path", "model.device"))
        return found

    def _folder_hash(self, path: Any) -> str:
        found = self.hashes.folder(path)
        self.hashes.save()
        return found

    def _hash_of(self, path: str) -> str:
        return self.hashes.of(Path(path))

    def _digest(self, version: str) -> str:
        return str(self._told(lambda: self._digest_here(version)))

    def _digest_here(self, version: str) -> str:
        return self.registry.version(version).digest

    def _scores(self, name: str) -> Scores:
        return read_scores(self.stages.folder.scores(name))

    def _pictured(self) -> bool:
        return any(row.sample.images for row in self.material.test)

    def _questions(self, one: Round) -> Sequence[Sample]:
        if one.data not in self._samples:
            self._samples[one.data] = self.read(self.config, one)
        return self._samples[one.data]

    def _data_digest(self, one: Round) -> str:
        return self.hashes.data(self._questions(one))

    def _register(
        self, stage: str, parent: str, inputs: Mapping[str, Any], data: Mapping[str, str],
        config: Config, audits: Sequence[str] = (),
    ) -> Outputs:  # fmt: skip
        def register() -> Outputs:
            registry = self.registry
            before = registry.version(parent).lineage
            own = (stage,) if stage.startswith("round-") else ()
            lineage = Lineage(
                parent, stage, identity=digest(inputs), data=data,
                rounds=(*before.rounds, *own), audits=tuple(audits),
            )  # fmt: skip
            version = make_version(
                self.project.root, stage, self.stages.folder.checkpoint(stage),
                config=dump_config(config), lineage=lineage,
            )  # fmt: skip
            registry.register(version, by="mmupt run", reason=f"the model of {stage}")
            return {"digest": version.digest}

        return dict(self._told(register))

    def _clear(self, stage: str) -> None:
        """Remove what an unfinished attempt with other inputs has left."""
        folder = self.stages.folder
        for path in (folder.state(stage), folder.checkpoint(stage)):
            shutil.rmtree(path, ignore_errors=True)
        for path in folder.rollouts.glob(f"{stage}-*.parquet"):
            path.unlink()


PILOT_DRAW = 9
"""Keeps the draw of the pilot's questions apart from other uses of the seed."""


def _introducing(version: str) -> dict[str, str]:
    return {
        "en": f"{version} serves a share of the requests; raise it with `mmupt promote`, or take "
        "it back with `mmupt rollback`",
        "ja": f"{version} は一部のリクエストに応答中です。`mmupt promote` で広げるか、"
        "`mmupt rollback` で戻してください",
    }


def _stopped(stage: str, rules: Sequence[str]) -> dict[str, str]:
    return {
        "en": f"the guard stopped {stage} ({', '.join(rules)})",
        "ja": f"監視が {stage} を停止しました（{', '.join(rules)}）",
    }


def _but_for_time(decision: str) -> dict[str, Any]:
    """A stored decision without the time it was made."""
    return {key: value for key, value in json.loads(decision).items() if key != "made"}
