"""A round's audit: which of its pseudo-labels people are asked about, and what came of it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from mmupt.audit import checks
from mmupt.audit.agreement import Agreement, krippendorff
from mmupt.audit.calibration import Calibration, calibrate
from mmupt.audit.design import Plan, Unit, make_plan
from mmupt.audit.estimate import Precision, precision, still_needed
from mmupt.audit.lots import LotResult, Switching, lot_plan, switching
from mmupt.audit.records import NewAudit, NewItem
from mmupt.audit.store import AuditStore
from mmupt.audit.use import anchors, quarantined
from mmupt.audit.verdicts import outcomes, ratings, resolve
from mmupt.config import Config
from mmupt.database import now
from mmupt.errors import InputError
from mmupt.pipeline.frame import Labelled, frame_digest


@dataclass(frozen=True)
class Standing:
    """Where an audit stands.

    Attributes:
        plan: what people are asked.
        precision: what their verdicts prove so far.
        needed: about how many more verdicts the gate needs; 0: it can decide.
        judged: pseudo-labels with a settled verdict.
        last: time of the last verdict; empty: none yet.
        subject: digest of the version that was trained on these labels.
        agreement: of the reviewers, where some labels have several.
        calibration: how likely each vote share is right; None before enough verdicts.
        lot: what is certain of the lot, for `audit.size: lot`.
    """

    plan: Plan
    precision: Precision
    needed: int
    judged: int
    last: str
    subject: str
    agreement: Agreement
    calibration: Calibration | None
    lot: Literal["accept", "reject", "open"] | None

    @property
    def open(self) -> bool:
        """Whether people are still asked for verdicts."""
        return self.needed > 0


def open_audit(
    store: AuditStore,
    name: str,
    subject: str,
    frame: Sequence[Labelled],
    rules: Mapping[str, tuple[str, ...]],
    config: Config,
    former: Sequence[str] = (),
) -> None:
    """Draw the audit of a round, once; the same again changes nothing.

    Args:
        store: of the project.
        name: of the round.
        subject: digest of the version that was trained on these labels.
        frame: all of them.
        rules: names of the rules hit, by sample id.
        config: how to draw.
        former: audits of earlier rounds: their verdicts say how likely a vote share is right, so
            that people are asked where it matters. Estimates do not rely on it.
    """
    units = [_unit(one, rules.get(one.sample_id, ()), config) for one in frame]
    lot = None
    if config.audit.size == "lot":
        switched = lots_before(store, former, config)
        lot = lot_plan(len(units), config.audit.lot, switched.severity)
    seed = int(hashlib.sha256(f"{config.seed} {name}".encode()).hexdigest()[:8], 16)
    likely = _likely(store, former, units, config)
    plan = make_plan(
        units,
        config.audit,
        seed=seed,
        threshold=threshold_of(config),
        right_probability=likely,
        lot=lot,
    )
    by_unit = {unit_of(one.sample_id): one for one in frame}
    items = [
        NewItem(
            position=drawn.position, unit=drawn.id, sample_id=drawn.id,
            pseudo_label=(one := by_unit[drawn.id]).pseudo_label, share=one.share,
            stratum=drawn.stratum, probability=drawn.probability,
            slices=_slices(one, config), rules=rules.get(one.sample_id, ()),
            payload=_payload(one),
        )
        for drawn in plan.drawn
    ]  # fmt: skip
    text = json.dumps(plan.as_json(), ensure_ascii=False)
    store.create(NewAudit(name, subject, frame_digest(frame), text, now()), items)


def standing_of(store: AuditStore, name: str, config: Config) -> Standing | None:
    """Where the audit of a round stands; None: there is none."""
    if name not in {audit.name for audit in store.audits()}:
        return None
    audit = store.audit(name)
    plan = Plan.from_json(json.loads(audit.plan))
    verdicts = store.verdicts(name)
    settled = outcomes(resolve(verdicts, config.audit.reviewers, config.audit.second_review))
    items = store.items(name)
    threshold = threshold_of(config)
    lot = _certain(plan, settled)
    needed = still_needed(plan, settled, threshold) if threshold is not None else 0
    told = sum(value is not None for value in settled.values())
    return Standing(
        plan=plan,
        precision=precision(plan, settled, {item.unit: item.slices for item in items}),
        needed=0 if lot == "reject" else needed,
        judged=len(settled),
        last=max((verdict.time for verdict in verdicts), default=""),
        subject=audit.subject,
        agreement=krippendorff(ratings(verdicts)),
        calibration=(
            calibrate(plan, settled, {item.unit: item.share for item in items})
            if told >= ENOUGH
            else None
        ),
        lot=lot,
    )


def lots_before(store: AuditStore, names: Sequence[str], config: Config) -> Switching:
    """How strictly the next lot is inspected, after what became of the lots before it.

    Args:
        store: of the project.
        names: audits, oldest first; those that were no lots, or are not finished, do not count.
        config: of the lots.
    """
    history: list[LotResult] = []
    for name in names:
        plan = Plan.from_json(json.loads(store.audit(name).plan))
        settled = outcomes(
            resolve(store.verdicts(name), config.audit.reviewers, config.audit.second_review)
        )
        if plan.size != "lot" or _certain(plan, settled) == "open":
            continue
        severity = switching(history).severity
        lot = lot_plan(plan.population, config.audit.lot, severity)
        history.append(LotResult(lot, _wrong(settled)))
    return switching(history)


def _certain(
    plan: Plan, settled: Mapping[str, bool | None]
) -> Literal["accept", "reject", "open"] | None:
    """What the verdicts say of a lot, whose number of wrong ones decides; None: it is no lot."""
    if plan.size != "lot" or plan.acceptance is None:
        return None
    wrong = _wrong(settled)
    if wrong > plan.acceptance:
        return "reject"
    return "accept" if wrong + len(plan.drawn) - len(settled) <= plan.acceptance else "open"


def _wrong(settled: Mapping[str, bool | None]) -> int:
    """Wrong ones, and those that nobody could tell."""
    return sum(value is not True for value in settled.values())


def threshold_of(config: Config) -> float | None:
    """The precision that the gate asks for; None: it asks for none."""
    return config.gate.min_precision if config.gate else None


@dataclass(frozen=True)
class Learned:
    """What training takes from the audits so far.

    Attributes:
        quarantined: ids whose pseudo-label people rejected.
        corrected: right answers that people gave, by sample id.
        accepted: pseudo-labels that people confirmed, by sample id.
    """

    quarantined: frozenset[str]
    corrected: Mapping[str, str]
    accepted: Mapping[str, str]


def learned(store: AuditStore, name: str, config: Config) -> Learned:
    """What the audit of a round has to give; nothing where there is none."""
    if name not in {audit.name for audit in store.audits()}:
        return Learned(frozenset(), {}, {})
    items = [replace(item, sample_id=sample_of(item)) for item in store.items(name)]
    resolved = resolve(store.verdicts(name), config.audit.reviewers, config.audit.second_review)
    corrected = anchors(items, resolved)
    everything = anchors(items, resolved, accepted=True)
    accepted = {key: value for key, value in everything.items() if key not in corrected}
    return Learned(quarantined(items, resolved), corrected, accepted)


def _likely(
    store: AuditStore, former: Sequence[str], units: Sequence[Unit], config: Config
) -> dict[str, float] | None:
    """Probability of being right by unit, from the latest audit with enough verdicts."""
    there = {audit.name for audit in store.audits()}
    for name in reversed([one for one in former if one in there]):
        plan = Plan.from_json(json.loads(store.audit(name).plan))
        settled = outcomes(
            resolve(store.verdicts(name), config.audit.reviewers, config.audit.second_review)
        )
        if sum(value is not None for value in settled.values()) < ENOUGH:
            continue
        shares = {item.unit: item.share for item in store.items(name)}
        calibration = calibrate(plan, settled, shares)
        return {unit.id: calibration.probability(unit.share) for unit in units}
    return None


ENOUGH = 30
"""Verdicts from which an earlier audit says how likely a share is right."""


def _unit(one: Labelled, rules: tuple[str, ...], config: Config) -> Unit:
    return Unit(
        id=unit_of(one.sample_id), share=one.share, margin=one.margin, agreement=one.agreement,
        rules=rules, slices=_slices(one, config),
    )  # fmt: skip


def _slices(one: Labelled, config: Config) -> dict[str, str]:
    return {name: one.meta.get(name, "") for name in config.audit.slices}


def unit_of(sample_id: str) -> str:
    """What an audit calls a sample: its id where that can be typed and told apart, else a digest.

    Ids taken from file names of some systems are decomposed (NFD), and look like others.
    """
    try:
        if checks.name(sample_id, "id") == sample_id:
            return sample_id
    except InputError:
        pass
    return f"sample-{hashlib.sha256(sample_id.encode('utf-8', 'surrogatepass')).hexdigest()[:24]}"


def sample_of(item: NewItem) -> str:
    """The id of the sample that an item is about."""
    return str(json.loads(item.payload).get("id", item.sample_id))


def _payload(one: Labelled) -> str:
    shown: dict[str, Any] = {
        "problem": one.problem, "images": list(one.images), "answers": json.loads(one.answers),
    }  # fmt: skip
    if not math.isnan(one.view_agreement):
        shown["agreement"] = one.view_agreement
    if unit_of(one.sample_id) != one.sample_id:
        shown["id"] = one.sample_id
    return json.dumps(shown, ensure_ascii=False)
