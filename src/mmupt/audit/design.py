"""Which pseudo-labels people look at, in which order, and with which chance each was drawn."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

import numpy as np

from mmupt.audit import design_draw as draw
from mmupt.audit.lots import LotPlan, lot_plan
from mmupt.config_supervision import AuditConfig
from mmupt.errors import InputError

Design = Literal["random", "stratified", "risk-first"]
Size = Literal["sequential", "fixed", "lot"]

VERSION: Final = 1
"""Of the JSON object."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One pseudo-label of the frame.

    Attributes:
        id: unique in the frame.
        share: share of the votes that the label has, 0 to 1.
        margin: lead over the second answer, as a share; NaN where unknown.
        agreement: share of the views whose answer is the label; NaN where unknown.
        rules: error-detection rules that it hit.
        slices: group of the sample by column of the data.
    """

    id: str
    share: float
    margin: float = math.nan
    agreement: float = math.nan
    rules: tuple[str, ...] = ()
    slices: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A pseudo-label that people are asked about.

    Attributes:
        id: of its unit.
        position: place in the order in which people judge, from 0.
        stratum: the stratum or class of risk it was drawn from.
        probability: `fixed` and `lot`: the inclusion probability, n_h / N_h of its stratum.
            `sequential`: the chance with which it was drawn at its position from what was left
            then; its inclusion probability would depend on where people stop.
        slices: group of the sample by column of the data.
    """

    id: str
    position: int
    stratum: str
    probability: float
    slices: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """An audit's sample, with all that its estimates need; the frame itself is not needed again.

    Attributes:
        design: how units were drawn. A lot is always drawn at random.
        size: what decides how many verdicts are needed.
        seed: of the draw.
        population: pseudo-labels in the frame, N.
        strata: units of the frame in each stratum.
        weights: `sequential`: a unit of the stratum is drawn with chance weight / sum of the
            weights left. Else 1.
        predicted: predicted share of right ones in each stratum. No interval depends on its truth.
        groups: frame counts by column, group and stratum, of the groups that were drawn from.
        drawn: in the order in which people judge.
        confidence: of the intervals.
        threshold: precision that the gate asks for.
        wanted: verdicts that the wanted width or the lot plan asks for; `drawn` may be fewer.
        acceptance: `lot`: the lot is accepted with at most so many wrong ones.
    """

    design: Design
    size: Size
    seed: int
    population: int
    strata: Mapping[str, int]
    weights: Mapping[str, float]
    predicted: Mapping[str, float]
    groups: Mapping[str, Mapping[str, Mapping[str, int]]]
    drawn: tuple[Drawn, ...]
    confidence: float
    threshold: float | None
    wanted: int
    acceptance: int | None = None

    def as_json(self) -> dict[str, Any]:
        """A JSON object from which `from_json` makes an equal plan."""
        names = {name: number for number, name in enumerate(self.strata)}
        return {
            "version": VERSION,
            **{key: getattr(self, key) for key in _PLAIN},
            "strata": [
                [name, size, self.weights[name], self.predicted[name]]
                for name, size in self.strata.items()
            ],
            "groups": {
                column: {group: dict(sizes) for group, sizes in groups.items()}
                for column, groups in self.groups.items()
            },
            "drawn": [
                [one.id, names[one.stratum], one.probability, dict(one.slices)]
                for one in self.drawn
            ],
        }

    @classmethod
    def from_json(cls, given: Any) -> Plan:
        """The plan of a JSON object.

        Raises:
            InputError: it is not that of a plan of this version.
        """
        try:
            return _from_json(given)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise InputError(
                f"audit plan cannot be read ({type(error).__name__}: {error!s:.80}); expected "
                f"version {VERSION}; draw the audit again"
            ) from error


_PLAIN: Final = (
    "design", "size", "seed", "population", "confidence", "threshold", "wanted", "acceptance",
)  # fmt: skip


def make_plan(
    units: Sequence[Unit],
    config: AuditConfig,
    *,
    seed: int,
    threshold: float | None,
    right_probability: Mapping[str, float] | None = None,
    lot: LotPlan | None = None,
) -> Plan:
    """Draw an audit's sample.

    Args:
        units: the frame: all pseudo-labels that the audit is to speak for, in any order.
        config: design, size and their settings.
        seed: the same units, settings and seed give the same plan.
        threshold: precision that the gate asks for; tunes `risk-first` to it.
        right_probability: chance of being right by id, from a calibration, for `stratified` and
            `risk-first`; else `design_draw.default_probability`. A wrong one costs verdicts, not
            validity. With it `fixed` plans for its mean precision, else for the worst, one half.
        lot: the plan of this lot, for `lot`; else the normal one of `config.lot`.

    Raises:
        InputError: no units, an id twice, a share outside 0..1, a missing slice column.
    """
    ordered = _checked(units, config)
    probability = draw.probabilities(ordered, right_probability)
    population = len(ordered)
    acceptance = None
    design: Design = config.design
    if config.size == "lot":
        lot = lot or lot_plan(population, config.lot)
        design, wanted, acceptance = "random", lot.sample, lot.acceptance
        size = min(population, wanted)  # a lot plan that is cut short is none
    elif config.size == "fixed":
        known = right_probability is not None
        wanted = draw.fixed_size(
            population, config.half_width, config.confidence,
            float(probability.mean()) if known else 0.5,
        )  # fmt: skip
        size = min(population, wanted, config.max_verdicts)
    else:
        size = wanted = min(population, config.max_verdicts)
    strata = draw.strata(ordered, probability, config, design, size)
    if config.size == "sequential":
        weights_J = draw.weights(strata, design, threshold)
        order, chance = draw.successive(strata, weights_J, size, seed)
    else:
        weights_J = np.ones(len(strata.names))
        order, chance = draw.allocated(strata, draw.allocation(strata, design, size), seed)
    drawn = tuple(
        Drawn(
            ordered[index].id,
            position,
            strata.names[strata.of_N[index]],
            float(chance[position]),
            {column: ordered[index].slices[column] for column in config.slices},
        )
        for position, index in enumerate(order)
    )
    return Plan(
        design=design,
        size=config.size,
        seed=seed,
        population=population,
        strata=dict(zip(strata.names, map(int, strata.sizes_J), strict=True)),
        weights=dict(zip(strata.names, map(float, weights_J), strict=True)),
        predicted=dict(zip(strata.names, map(float, strata.predicted_J), strict=True)),
        groups=_groups(ordered, strata, drawn, config.slices),
        drawn=drawn,
        confidence=config.confidence,
        threshold=threshold,
        wanted=wanted,
        acceptance=acceptance,
    )


def _checked(units: Sequence[Unit], config: AuditConfig) -> list[Unit]:
    """The units by id, so that their order does not matter."""
    if not units:
        raise InputError("an audit needs pseudo-labels, found none; look at consensus.min_share")
    ordered = sorted(units, key=lambda unit: unit.id)
    for before, unit in zip([None, *ordered], ordered, strict=False):
        if before is not None and before.id == unit.id:
            raise InputError(f"unit {unit.id!r:.80} is in the frame twice; expected once")
        if not 0.0 <= unit.share <= 1.0:
            raise InputError(f"unit {unit.id!r:.80}: share {unit.share} is outside 0..1")
        for column in config.slices:
            if column not in unit.slices:
                raise InputError(
                    f"unit {unit.id!r:.80} has no column {column!r:.60} of audit.slices; add it "
                    "to the data or take it out of audit.slices"
                )
    return ordered


def _groups(
    units: Sequence[Unit], strata: draw.Strata, drawn: Sequence[Drawn], columns: Sequence[str]
) -> dict[str, dict[str, dict[str, int]]]:
    """Frame counts of the groups that were drawn from: others have no estimate."""
    found: dict[str, dict[str, dict[str, int]]] = {}
    for column in columns:
        wanted = {one.slices[column] for one in drawn}
        counts = Counter(
            (unit.slices[column], strata.names[j])
            for unit, j in zip(units, strata.of_N, strict=True)
            if unit.slices[column] in wanted
        )
        found[column] = {group: {} for group in sorted(wanted)}
        for (group, stratum), count in sorted(counts.items()):
            found[column][group][stratum] = count
    return found


def _from_json(given: Any) -> Plan:
    if given["version"] != VERSION:
        raise ValueError(f"version {given['version']!r:.20}")
    if given["design"] not in get_args(Design) or given["size"] not in get_args(Size):
        raise ValueError(f"{given['design']!r:.20}, {given['size']!r:.20}")
    names = [str(row[0]) for row in given["strata"]]
    plan = Plan(
        **{key: given[key] for key in _PLAIN},
        strata={row[0]: int(row[1]) for row in given["strata"]},
        weights={row[0]: float(row[2]) for row in given["strata"]},
        predicted={row[0]: float(row[3]) for row in given["strata"]},
        groups={
            column: {
                group: {stratum: int(count) for stratum, count in sizes.items()}
                for group, sizes in groups.items()
            }
            for column, groups in given["groups"].items()
        },
        drawn=tuple(
            Drawn(str(row[0]), position, names[row[1]], float(row[2]), dict(row[3]))
            for position, row in enumerate(given["drawn"])
        ),
    )
    if sum(plan.strata.values()) != plan.population or len(plan.drawn) > plan.population:
        raise ValueError("its strata are not its population")
    return plan
