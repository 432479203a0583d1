"""How people supervise a project: pilot, audits, rules, gates, promotion, prices."""

from __future__ import annotations

import math
from collections import Counter
from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator, model_validator

from mmupt.config_votes import Fraction, Section
from mmupt.errors import ConfigError
from mmupt.expressions import read_condition

Positive = Annotated[int, Field(ge=1)]
Confidence = Annotated[float, Field(gt=0.5, lt=1.0)]
Price = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Rollout = Literal["shadow", "5%", "25%", "100%"]
BuiltInRule = Literal[
    "unparseable",
    "no-label",
    "truncated",
    "out-of-range",
    "unit-missing",
    "contradicts-confirmed",
    "unaffected-by-image",
    "constant-answer",
    "injection-like",
    "low-margin",
]
"""The error-detection rules that are always there, see docs/rules.md."""


class PilotConfig(Section):
    """Votes without training, before the first round, and what they must show."""

    rows: Annotated[int, Field(ge=0)] = 200
    """Unlabelled questions that the pilot asks, drawn at random; 0 leaves the stage out."""
    require: Literal["ready", "suitable", "nothing"] = "suitable"
    """The project stops unless the pilot says `ready`; or only where it says `not-suitable`; or
    never."""


class LotConfig(Section):
    """Acceptance sampling of lots in the manner of ISO 2859-1, for `audit.size: lot`."""

    aql: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.10
    """Acceptance quality limit: the share of wrong labels that is still acceptable on average."""
    level: Literal["I", "II", "III"] = "II"
    """General inspection level: how large a sample is for a lot."""


class AuditConfig(Section):
    """Which pseudo-labels people look at, and how many."""

    url: str | None = None
    """Database of audits and verdicts, such as `postgresql://user@host/name`; None: the project's
    own SQLite file. A password belongs into PGPASSWORD or a password file."""
    design: Literal["random", "stratified", "risk-first"] = "risk-first"
    """How samples are drawn: all alike, by vote share and slice, or doubtful labels more often.
    Inclusion probabilities are kept, so that estimates stay unbiased. A lot is always drawn at
    random."""
    size: Literal["sequential", "fixed", "lot"] = "sequential"
    """Stop as soon as the gate can decide; a number fixed by `half_width`; or a lot plan."""
    half_width: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.05
    """Wanted half width of the interval, for `fixed`."""
    max_verdicts: Positive = 200
    """People are asked for at most so many verdicts in a round; a lot plan is not cut."""
    confidence: Confidence = 0.95
    """Of the intervals."""
    share_edges: tuple[Fraction, ...] = (0.5, 0.7, 0.9)
    """Vote shares that part the strata."""
    slices: tuple[str, ...] = ()
    """Columns of the data whose groups are also strata and get estimates of their own."""
    reviewers: Positive = 1
    """Reviewers who judge each sample, independently."""
    second_review: Fraction = 0.0
    """Share of the samples that one reviewer more judges; they count once both have."""
    lot: LotConfig = LotConfig()
    """The plan of `size: lot`."""

    @model_validator(mode="after")
    def _edges_rise(self) -> AuditConfig:
        if list(self.share_edges) != sorted(set(self.share_edges)):
            raise ValueError(f"share_edges {list(self.share_edges)} do not rise")
        return self


class RuleConfig(Section):
    """A rule of your own over rollouts, see docs/rules.md."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,39}$")]
    """Lower-case letters, digits and hyphens."""
    when: Annotated[str, Field(min_length=1, max_length=500)]
    """Expression over the documented words; where it is true, the rule is hit."""

    @field_validator("when")
    @classmethod
    def _is_condition(cls, when: str) -> str:
        try:
            read_condition(when)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return when


class RulesConfig(Section):
    """Error-detection rules over rollouts; what they hit is audited first."""

    leave_out: tuple[BuiltInRule, ...] = ()
    """Built-in rules that are not wanted."""
    number_range: tuple[float, float] | None = None
    """Answers that are numbers outside it are out of range. In `unit`; without one in base units
    (m, kg, s; 50% is 0.5). `.inf` leaves an end open."""
    unit: Annotated[str, Field(min_length=1, max_length=24, pattern=r"^\S(.*\S)?$")] | None = None
    """Unit that answers must carry, such as `mm`."""
    constant_share: Fraction = 0.8
    """One answer to more of all questions than this is a constant answer."""
    own: tuple[RuleConfig, ...] = ()
    """Rules of your own."""

    @field_validator("number_range")
    @classmethod
    def _is_range(cls, given: tuple[float, float] | None) -> tuple[float, float] | None:
        if given is not None and not (
            given[0] <= given[1] and given[0] < math.inf and given[1] > -math.inf
        ):
            raise ValueError("no number is in this range; expected [smallest, largest]")
        return given

    @field_validator("own")
    @classmethod
    def _names_differ(cls, own: tuple[RuleConfig, ...]) -> tuple[RuleConfig, ...]:
        taken = Counter([*get_args(BuiltInRule), *(rule.name for rule in own)])
        twice = sorted(name for name, count in taken.items() if count > 1)
        if twice:
            raise ValueError(f"two rules have the name {', '.join(twice)}; choose another")
        return own


class GateConfig(Section):
    """What a model must prove before it is promoted; null leaves a criterion out. See
    docs/gates.md."""

    confidence: Confidence = 0.95
    """Of every bound that a criterion looks at, one-sided; the audit's interval must hold with at
    least this confidence."""
    min_precision: Fraction | None = 0.7
    """Audited precision of the round's pseudo-labels, lower bound."""
    max_regression: Fraction | None = 0.03
    """Accuracy on held-out rows, greedy and sampled, that may be lost at most, upper bound; and
    no significant loss by the exact McNemar test."""
    max_consistency_loss: Fraction | None = 0.05
    """Share of the majority among sampled answers that may be lost at most, upper bound."""
    guard: bool = True
    """The guard must have watched the round and not have stopped it."""
    max_slice_drop: Fraction | None = 0.10
    """Accuracy that no group of `slices` may lose: a group that lost more fails where the exact
    McNemar test says so after Holm's adjustment for the number of groups."""
    slices: tuple[str, ...] = ()
    """Columns of the held-out rows whose groups are looked at one by one."""
    min_slice_rows: Positive = 20
    """Smaller groups are told, and decide nothing."""
    max_blind_rise: Fraction | None = 0.10
    """Accuracy with blank pictures that may be gained at most, upper bound: a model that needs its
    pictures less reads them less."""
    max_format_rise: Fraction | None = 0.05
    """Unreadable replies, and truncated ones, that may be gained at most, upper bound."""


class PromotionConfig(Section):
    """What happens with a model that has passed its gate."""

    auto: bool = True
    """`mmupt run` promotes it; otherwise `mmupt promote` does."""
    rollout: Rollout = "100%"
    """Share of requests that it serves at first. Below 100% it is the challenger beside the
    champion, and `mmupt promote` raises it."""


class RoiConfig(Section):
    """The company's own prices; every one is an assumption and is printed beside the figures."""

    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "USD"
    """ISO 4217 code of all prices."""
    label_price: Price = 0.5
    """One label by people."""
    reviewer_wage: Price = 30.0
    """One hour of a reviewer."""
    machine_price: Price = 0.2
    """One hour of the machine."""
    energy_price: Price = 0.0
    """One kWh, where it is not in `machine_price`."""
    watts: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Power of the machine at work, for the energy where the machine does not measure it."""
    correct_answer_value: Price = 0.01
    """What a correct answer is worth more than a wrong one."""
    answers_per_month: Annotated[int, Field(ge=0)] = 100_000
    """Answers that the model gives in a month, for the break-even."""
    labels_instead: Positive | None = None
    """Labels that the same gain would have cost; None: one for each unlabelled question used."""
