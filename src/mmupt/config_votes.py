"""How votes are counted: one section per strategy of `mmupt.vote`, chosen by its name."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from mmupt.consensus.checkers import has_unit

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Section(BaseModel):
    """Base of every section: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class MajorityVote(Section):
    """The largest class wins (MM-UPT, arXiv 2505.22453)."""

    name: Literal["majority"] = "majority"


class WeightedVote(Section):
    """The class with the largest sum of weights wins (arXiv 2203.11171)."""

    name: Literal["weighted"] = "weighted"
    weights: Literal["logprob", "self-certainty"] = "logprob"
    """Weight of a reply: exp(mean log-probability of its tokens), or its self-certainty
    (arXiv 2502.18581)."""


class FrequencyVote(Section):
    """Soft reward: how common an answer is among the votes (EMPO, arXiv 2504.05812)."""

    name: Literal["frequency"] = "frequency"


class HarmonyVote(Section):
    """The largest harmonic mean of the frequencies in the views (Self-Harmony, arXiv
    2511.01191)."""

    name: Literal["harmony"] = "harmony"


class RestrainVote(Section):
    """Gaussian weights over shares, a penalty where there is no consensus (arXiv 2510.02172)."""

    name: Literal["restrain"] = "restrain"
    sigma: Annotated[Finite, Field(ge=1e-6)] = 0.5
    """Width of the Gaussian over shares."""
    kappa: Fraction = 0.25
    """Below this share of the largest class there is no consensus."""
    penalty: Annotated[Finite, Field(ge=0)] = 0.1
    """What every completion's advantage loses where there is none."""


class PriorVote(Section):
    """Divide by the answer's share of all votes in the step, against constant answers."""

    name: Literal["prior"] = "prior"
    prior_floor: Annotated[float, Field(gt=0, le=1)] | None = None
    """Smaller shares count as this; None: 1/G."""


class DualVote(Section):
    """A label only where teacher and student agree (after DCRL, arXiv 2603.16223)."""

    name: Literal["dual"] = "dual"


class VetoVote(Section):
    """Votes propose, a checker disposes (JURY-RL, arXiv 2604.25419). At least one check."""

    name: Literal["veto"] = "veto"
    minimum: Finite | None = None
    """Smallest value that a label may have, in `unit`; without one in base units (m, kg, s; 50% is
    0.5)."""
    maximum: Finite | None = None
    """Largest value that a label may have, likewise."""
    integer: bool = False
    """Labels must be whole numbers, likewise."""
    unit: str | None = None
    """Labels must have this unit or one that converts to it, such as `cm`."""
    arithmetic: bool = False
    """Sums written in the responses behind a label (`3 + 4 = 7`) must be right, in most of them."""
    program: str | None = None
    """A function of yours, `package.module:name`, called with the label, the problem and the
    responses behind the label; true accepts."""
    alpha: Annotated[Finite, Field(ge=0)] = 1.0
    """Scale of the residual reward of a vetoed majority."""

    @field_validator("unit")
    @classmethod
    def _is_known(cls, unit: str | None) -> str | None:
        if unit is not None and not has_unit(f"1 {unit}", unit):
            raise ValueError("no unit that is known, such as cm, kg, s, ℃ or %")
        return unit

    @model_validator(mode="after")
    def _checks_something(self) -> VetoVote:
        bounds = (self.minimum, self.maximum, self.unit, self.program)
        if not (self.integer or self.arithmetic or any(bound is not None for bound in bounds)):
            raise ValueError(
                "strategy veto needs a check: minimum, maximum, integer, unit, arithmetic, program"
            )
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"minimum ({self.minimum}) is above maximum ({self.maximum})")
        return self


class MbrVote(Section):
    """Free text: the reply that agrees most with the others (minimum Bayes risk over chrF)."""

    name: Literal["mbr"] = "mbr"
    threshold: Fraction = 0.5
    """Agreement from which two texts count as one class."""
    guards: bool = True
    """Texts with other numbers, negations or opposites do not agree."""


AnyVote = (
    MajorityVote
    | WeightedVote
    | FrequencyVote
    | HarmonyVote
    | RestrainVote
    | PriorVote
    | DualVote
    | VetoVote
    | MbrVote
)


def _named(value: Any) -> Any:
    if isinstance(value, Section):
        return value
    section = {"name": value} if isinstance(value, str) else value
    names = [kind.model_fields["name"].default for kind in get_args(AnyVote)]
    if not isinstance(section, dict) or section.get("name") not in names:
        raise ValueError(f"expected one of {', '.join(names)}, or a section with such a name")
    return section


Strategy = Annotated[
    Annotated[AnyVote, Field(discriminator="name")],
    BeforeValidator(_named),
]
"""A strategy by name alone, or as a section with its options."""
