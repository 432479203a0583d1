"""Return on investment: what label-free rounds cost, and what they gained, at a company's prices.

Every figure carries its formula, with the numbers in it, and the prices that it assumes. What is
not defined is None, with the reason. Intervals come from that of the gain alone: prices are
assumed, not measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from mmupt.config_supervision import RoiConfig
from mmupt.ledger.book import Kind, Totals
from mmupt.ledger.cost import Booked, Cost, cost_of, pilot_of, quantity, rounds_of
from mmupt.ledger.figures import Figure, Results, Roi, Term, Unit, Why
from mmupt.ledger.gain import Gain, Money, gain_of, over


def roi_of(totals: Totals, results: Results, config: RoiConfig) -> Roi:
    """Every figure from what is booked, what was reached, and the company's prices.

    Args:
        totals: `Ledger.totals()`. ``round-N/...`` are label-free rounds, ``pilot`` came before
            them; everything else counts in the total alone.
        results: what the rounds led to.
        config: the prices, section `roi` of the settings.

    Raises:
        InputError: an accuracy that is no fraction, an interval that does not hold its value.
    """
    return Roi(_Maker(totals, results, config, gain_of(results)).figures(), totals, results, config)


@dataclass(frozen=True)
class _Maker:
    """One method for each figure or for a few that belong together."""

    totals: Totals
    results: Results
    config: RoiConfig
    gain: Gain

    def figures(self) -> tuple[Figure, ...]:
        avoided = self.labels_avoided()
        worth = self.cost_labels_avoided(avoided)
        rounds = {name: cost_of(of, self.config) for name, of in self.rounds.items()}
        spent = self.label_free_cost(rounds)
        money = Money(spent.value, spent.why)
        return (
            self._figure("labels_used", self._sum("labels"), "count"),
            self._figure("labels_audited", self._sum("audited_labels"), "count"),
            avoided,
            worth,
            *(self.round_cost(name, cost) for name, cost in rounds.items()),
            self.cost_per_round(rounds),
            spent,
            self.total_cost(),
            self.gain_points(),
            self.cost_per_point(money),
            *self.monthly_value_and_break_even(money),
            self.net_saving(worth, money),
        )

    # Labels

    def labels_avoided(self) -> Figure:
        """Those that nobody was asked for: one a question, or as many as the user says."""
        assumed, instead = ("labels_instead",), self.config.labels_instead
        if not self.rounds:
            return self._figure("labels_avoided", None, "count", assumes=assumed, why="no-rounds")
        if instead is not None:
            return self._figure(
                "labels_avoided", float(instead), "count", assumes=assumed,
                formula="labels_avoided_instead",
            )  # fmt: skip
        audited, questions = self._sum("audited_labels"), self.results.questions
        return self._figure(
            "labels_avoided", max(0.0, questions - audited), "count",
            {"questions": Term(questions, "count"), "audited": Term(audited, "count")}, assumed,
        )  # fmt: skip

    def cost_labels_avoided(self, avoided: Figure) -> Figure:
        price = self.config.label_price
        return self._figure(
            "cost_labels_avoided", None if avoided.value is None else avoided.value * price,
            "money",
            {"labels": Term(avoided.value, "count"), "price": Term(price, "price")},
            ("label_price", "labels_instead"), avoided.why,
        )  # fmt: skip

    # Costs

    def round_cost(self, name: str, cost: Cost) -> Figure:
        money = _priced(cost)
        return self._figure(
            "round_cost", money.value, "money", self._terms(cost), self._prices, money.why,
            formula=self._with_energy("cost"), about=name,
        )  # fmt: skip

    def cost_per_round(self, rounds: Mapping[str, Cost]) -> Figure:
        money = _total([_priced(cost) for cost in rounds.values()])
        mean = None if money.value is None else money.value / len(rounds)
        return self._figure(
            "cost_per_round", mean, "money",
            {"sum": Term(money.value, "money"), "rounds": Term(len(rounds), "count")},
            self._prices, money.why,
        )  # fmt: skip

    def label_free_cost(self, rounds: Mapping[str, Cost]) -> Figure:
        """The pilot and all rounds, also those that were refused."""
        stages = pilot_of(self.totals)
        pilot = _priced(cost_of(stages, self.config)) if stages else Money(0.0, None)
        of_rounds = _total([_priced(cost) for cost in rounds.values()])
        money = _total([of_rounds, pilot])
        return self._figure(
            "label_free_cost", money.value, "money",
            {"pilot": Term(pilot.value, "money"), "rounds": Term(of_rounds.value, "money")},
            self._prices, money.why,
        )  # fmt: skip

    def total_cost(self) -> Figure:
        cost = cost_of(self.totals.values(), self.config)
        money, price = _priced(cost), self.config.label_price
        labels = {"labels": Term(cost.labels, "count"), "price": Term(price, "price")}
        return self._figure(
            "total_cost", money.value, "money", {**self._terms(cost), **labels},
            (*self._prices, "label_price"), money.why, formula=self._with_energy("total_cost"),
        )  # fmt: skip

    # The gain and what it is worth

    def gain_points(self) -> Figure:
        before = self.results.accuracies.get(self.results.before)
        after = self.results.accuracies.get(self.results.after)
        value, low, high = self.gain.times(100)
        known = before is not None and after is not None
        return self._figure(
            "gain", value, "points",
            {
                "after": Term(after.value * 100 if after else None, "percent"),
                "before": Term(before.value * 100 if before else None, "percent"),
            },
            why=self.gain.why, low=low, high=high,
            formula="gain" if known else "gain_alone",
        )  # fmt: skip

    def cost_per_point(self, money: Money) -> Figure:
        found = over(money, self.gain, 100)
        return self._figure(
            "cost_per_point", found.value, "money",
            {"cost": Term(money.value, "money"), "gain": self._gain},
            self._prices, found.why, low=found.low, high=found.high,
        )  # fmt: skip

    def monthly_value_and_break_even(self, money: Money) -> tuple[Figure, Figure]:
        """Worth of the gain in a month, and months until it has paid what the rounds cost."""
        answers, each = self.config.answers_per_month, self.config.correct_answer_value
        assumed = ("answers_per_month", "correct_answer_value")
        value, low, high = self.gain.times(answers * each)
        monthly = self._figure(
            "monthly_value", value, "money",
            {"answers": Term(answers, "count"), "gain": self._gain, "value": Term(each, "price")},
            assumed, self.gain.why, low=low, high=high,
        )  # fmt: skip
        # Without worth there is no break-even either; what is unknown or lost is told first.
        found = over(money, self.gain, answers * each or 1.0)
        if answers * each == 0 and found.value is not None:
            found = found._replace(value=None, low=None, high=None, why="no-value")
        months = self._figure(
            "break_even", found.value, "months",
            {"cost": Term(money.value, "money"), "monthly": Term(value, "money")},
            (*self._prices, *assumed), found.why, low=found.low, high=found.high,
        )  # fmt: skip
        return monthly, months

    def net_saving(self, worth: Figure, money: Money) -> Figure:
        """Below 0 the rounds cost more than the labels would have."""
        known = worth.value is not None and money.value is not None
        value = (worth.value or 0.0) - (money.value or 0.0) if known else None
        return self._figure(
            "net_saving", value, "money",
            {"avoided": Term(worth.value, "money"), "cost": Term(money.value, "money")},
            ("label_price", "labels_instead", *self._prices), worth.why or money.why,
        )  # fmt: skip

    # Parts of figures

    @property
    def rounds(self) -> Mapping[str, list[Booked]]:
        return rounds_of(self.totals)

    @property
    def _prices(self) -> tuple[str, ...]:
        """Settings that a cost depends on; power only where energy is paid for by itself."""
        energy = ("energy_price", "watts") if self.config.energy_price else ("energy_price",)
        return ("machine_price", *energy, "reviewer_wage")

    @property
    def _gain(self) -> Term:
        return Term(self.gain.times(100).value, "points")

    def _sum(self, kind: Kind) -> float:
        return quantity(self.totals.values(), kind)

    def _terms(self, cost: Cost) -> dict[str, Term]:
        return {
            "seconds": Term(cost.seconds, "seconds"),
            "machine_price": Term(self.config.machine_price, "price"),
            "kwh": Term(cost.kwh, "kwh"),
            "energy_price": Term(self.config.energy_price, "price"),
            "review": Term(cost.review, "seconds"),
            "wage": Term(self.config.reviewer_wage, "price"),
        }

    def _with_energy(self, formula: str) -> str:
        return f"{formula}_energy" if self.config.energy_price else formula

    def _figure(
        self, key: str, value: float | None, unit: Unit, terms: Mapping[str, Term] | None = None,
        assumes: tuple[str, ...] = (), why: Why | None = None, *, formula: str = "",
        low: float | None = None, high: float | None = None, about: str = "",
    ) -> Figure:  # fmt: skip
        return Figure(
            key=key, value=value, unit=unit, formula=formula or key, terms=terms or {},
            assumptions=tuple((name, getattr(self.config, name)) for name in assumes),
            low=low, high=high, why=why, about=about,
        )  # fmt: skip


def _priced(cost: Cost) -> Money:
    if cost.seconds is None:
        return Money(None, "not-booked")
    return Money(cost.money, "energy-unknown" if cost.money is None else None)


def _total(parts: list[Money]) -> Money:
    """The sum; unknown where a part is."""
    if not parts:
        return Money(None, "no-rounds")
    values = [one.value for one in parts if one.value is not None]
    why = next((one.why for one in parts if one.value is None), None)
    return Money(math.fsum(values), None) if why is None else Money(None, why)
