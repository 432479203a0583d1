"""Quantities times prices: what a stage, a round or a whole project cost. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mmupt.config_supervision import RoiConfig
from mmupt.ledger.book import Kind, Total, Totals

HOUR = 3600.0
KWH = 3.6e6
"""Joules of a kWh."""

Booked = Mapping[Kind, Total]


@dataclass(frozen=True, slots=True)
class Cost:
    """What some stages used up, and what it cost at the company's prices.

        money = seconds / 3600 * machine_price + joules / 3.6e6 * energy_price
                + review_seconds / 3600 * reviewer_wage + labels * label_price

    Attributes:
        seconds: of the machine; None: none are booked.
        kwh: energy; None: not available for every stage that computed.
        review: seconds of reviewers.
        labels: given to training. Audited ones cost review time and are not paid twice.
        machine, energy, people, labelling: the four terms; `energy` is 0 for energy that costs
            nothing besides the machine, whether it is known or not.
    """

    seconds: float | None
    kwh: float | None
    review: float
    labels: float
    machine: float | None
    energy: float | None
    people: float
    labelling: float

    @property
    def money(self) -> float | None:
        """The sum; None where a term is not known."""
        if self.machine is None or self.energy is None:
            return None
        return math.fsum((self.machine, self.energy, self.people, self.labelling))


def cost_of(stages: Iterable[Booked], config: RoiConfig) -> Cost:
    """Cost of stages together."""
    booked = list(stages)
    computing = [one["compute_seconds"].quantity for one in booked if "compute_seconds" in one]
    seconds = math.fsum(computing) if computing else None
    joules = joules_of(booked, config)
    kwh = None if joules is None else joules / KWH
    review, labels = quantity(booked, "review_seconds"), quantity(booked, "labels")
    energy = kwh * config.energy_price if kwh is not None else None
    return Cost(
        seconds=seconds,
        kwh=kwh,
        review=review,
        labels=labels,
        machine=None if seconds is None else seconds / HOUR * config.machine_price,
        energy=0.0 if config.energy_price == 0 else energy,
        people=review / HOUR * config.reviewer_wage,
        labelling=labels * config.label_price,
    )


def joules_of(stages: Iterable[Booked], config: RoiConfig) -> float | None:
    """Energy as it is booked, else `roi.watts` x seconds; None where a stage has neither."""
    parts: list[float] = []
    for one in stages:
        if "energy_joules" in one:
            parts.append(one["energy_joules"].quantity)
        elif "compute_seconds" not in one:
            continue  # people alone take no energy that anybody pays for
        elif config.watts is None:
            return None
        else:
            parts.append(config.watts * one["compute_seconds"].quantity)
    return math.fsum(parts) if parts else None


def quantity(stages: Iterable[Booked], kind: Kind) -> float:
    """Sum of a kind; 0 where nothing is booked of it, as for labels that nobody was asked for."""
    return math.fsum(one[kind].quantity for one in stages if kind in one)


def rounds_of(totals: Totals) -> dict[str, list[Booked]]:
    """The stages of every label-free round, by its name, in the order of their numbers."""
    found: dict[str, list[Booked]] = {}
    for stage, booked in totals.items():
        head = stage.partition("/")[0]
        if round_number(head) is not None:
            found.setdefault(head, []).append(booked)
    return {name: found[name] for name in sorted(found, key=lambda one: round_number(one) or 0)}


def pilot_of(totals: Totals) -> list[Booked]:
    """The stages of the pilot, which is needed for the label-free rounds alone."""
    return [booked for stage, booked in totals.items() if stage.partition("/")[0] == "pilot"]


def round_number(name: str) -> int | None:
    """7 for ``round-7``; None for what is no round."""
    head, _, number = name.partition("-")
    return int(number) if head == "round" and number.isdecimal() else None
