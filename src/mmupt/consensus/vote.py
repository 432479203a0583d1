"""From a group of answers to a pseudo-label, its share and the rewards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum, isfinite
from typing import Any

from mmupt.consensus.ballot import Ballot, Options
from mmupt.consensus.equivalence import partition
from mmupt.consensus.strategies.dual import dual
from mmupt.consensus.strategies.frequency import frequency
from mmupt.consensus.strategies.harmony import harmony
from mmupt.consensus.strategies.majority import majority
from mmupt.consensus.strategies.mbr import mbr
from mmupt.consensus.strategies.prior import prior_corrected
from mmupt.consensus.strategies.restrain import restrain
from mmupt.consensus.strategies.veto import veto
from mmupt.consensus.strategies.weighted import weighted
from mmupt.errors import ConfigError
from mmupt.types import Vote

Strategy = Callable[[Ballot], Vote]


@dataclass(frozen=True, slots=True)
class Entry:
    """A strategy, the options it cannot do without, and those it may be given."""

    strategy: Strategy
    needs: frozenset[str] = frozenset()
    takes: frozenset[str] = frozenset()


STRATEGIES: Mapping[str, Entry] = {
    "majority": Entry(majority),
    "weighted": Entry(weighted, needs=frozenset({"weights"})),
    "frequency": Entry(frequency),
    "harmony": Entry(harmony, needs=frozenset({"views"})),
    "restrain": Entry(restrain, takes=frozenset({"sigma", "kappa", "penalty"})),
    "prior": Entry(prior_corrected, needs=frozenset({"prior"}), takes=frozenset({"prior_floor"})),
    "dual": Entry(dual, needs=frozenset({"teacher_answers"})),
    "veto": Entry(veto, needs=frozenset({"checker"}), takes=frozenset({"alpha"})),
    "mbr": Entry(mbr, takes=frozenset({"threshold", "guards", "embed", "embed_weight"})),
}
COMMON = frozenset({"kind", "rtol", "tie", "min_share"})
TIES = ("abstain", "first-class-by-key")


def vote(answers: Sequence[str | None], strategy: str = "majority", **options: Any) -> Vote:
    """Vote on the answers of one group.

    Args:
        answers: G extracted answers; None is an abstention.
        strategy: a key of `STRATEGIES`; "majority" is MM-UPT's published rule (arXiv 2505.22453).
        options: for every strategy `kind` and `rtol` (see `partition`), `tie` ("abstain", the
            default: no label and no reward; or "first-class-by-key": the class whose representative
            is shortest, then first by code point) and `min_share` in [0, 1] (a leading class with a
            smaller share gets no label). A strategy's own options stand in its docstring.

    Returns:
        The vote. `label` is the winning class's most frequent string (then shortest, then first by
        code point; with "mbr" its best answer), so that it does not depend on the order of the
        answers; `share` counts the winners over all G, abstentions included; in a tie it is the
        share of the leading class. Whatever the strategy, an abstention cannot win.

    Raises:
        ConfigError: unknown strategy or option, an option out of range or of the wrong length.
    """
    entry = _entry(strategy, options)
    kind, rtol = options.get("kind", "auto"), options.get("rtol")
    teacher = tuple(options.get("teacher_answers", ()))
    prior = dict(options.get("prior", {}))
    # One partition of everything that has to be compared; the answers come first, so that their
    # classes are numbered as if they stood alone.
    together = partition([*answers, *teacher, *prior], kind=kind, rtol=rtol)
    size, end = len(answers), len(answers) + len(teacher)
    classes = tuple(together[:size])
    ballot = Ballot(
        answers=tuple(answers),
        classes=classes,
        tie=_tie(options),
        min_share=_number("min_share", options.get("min_share", 0.0), 0.0, 1.0),
        options=Options(
            weights=_weights(options.get("weights", ()), size, strategy),
            views=_per_answer("views", options.get("views", ()), size, strategy),
            sigma=_number("sigma", options.get("sigma", 0.5), 1e-6),
            kappa=_number("kappa", options.get("kappa", 0.25), 0.0, 1.0),
            penalty=_number("penalty", options.get("penalty", 1.0), 0.0),
            prior=_prior(prior.values(), together[end:], classes),
            prior_floor=_floor(options.get("prior_floor")),
            teacher_classes=tuple(together[size:end]),
            checker=options.get("checker"),
            alpha=_number("alpha", options.get("alpha", 1.0), 0.0),
            threshold=_number("threshold", options.get("threshold", 0.5), 0.0, 1.0),
            guards=options.get("guards", True),
            embed=options.get("embed"),
            embed_weight=options.get("embed_weight"),
        ),
    )
    return entry.strategy(ballot)


def _entry(strategy: str, options: Mapping[str, Any]) -> Entry:
    entry = STRATEGIES.get(strategy)
    if entry is None:
        raise ConfigError(f"vote strategy {strategy!r} is unknown; choose from {_list(STRATEGIES)}")
    allowed = COMMON | entry.needs | entry.takes
    for name in options:
        if name not in allowed:
            raise ConfigError(
                f"vote option {name!r} does nothing with strategy {strategy!r}; "
                f"it takes {_list(sorted(allowed))}"
            )
    for name in sorted(entry.needs):
        if options.get(name) is None:
            raise ConfigError(f"vote strategy {strategy!r} needs the option {name!r}")
    return entry


def _tie(options: Mapping[str, Any]) -> Any:
    tie = options.get("tie", "abstain")
    if tie not in TIES:
        raise ConfigError(f"vote option tie is {tie!r}; choose from {_list(TIES)}")
    return tie


def _number(name: str, value: Any, low: float, high: float = float("inf")) -> float:
    usable = isinstance(value, (int, float)) and isfinite(value) and low <= value <= high
    if not usable:
        raise ConfigError(f"vote option {name} is {value!r}; expected a number in [{low}, {high}]")
    return float(value)


def _floor(value: Any) -> float | None:
    return None if value is None else _number("prior_floor", value, 1e-12, 1.0)


def _per_answer(name: str, values: Iterable[Any], size: int, strategy: str) -> tuple[Any, ...]:
    found = tuple(values)
    if found and len(found) != size:
        raise ConfigError(f"vote option {name} has {len(found)} entries for {size} answers")
    if not found and size and name in STRATEGIES[strategy].needs:
        raise ConfigError(f"vote option {name} is empty; expected one entry for each answer")
    return found


def _weights(values: Iterable[Any], size: int, strategy: str) -> tuple[float, ...]:
    found = _per_answer("weights", values, size, strategy)
    return tuple(_number("weights", weight, 0.0) for weight in found)


def _prior(
    shares: Iterable[Any], prior_classes: Sequence[int | None], classes: Sequence[int | None]
) -> tuple[float, ...]:
    """Batch share of each class of the ballot: the sum over all equivalent keys of the mapping."""
    parts: list[list[float]] = [[] for _ in set(classes) - {None}]
    for share, number in zip(shares, prior_classes, strict=True):
        checked = _number("prior", share, 0.0, 1.0)
        if number is not None and number < len(parts):
            parts[number].append(checked)
    return tuple(fsum(part) for part in parts)


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)
