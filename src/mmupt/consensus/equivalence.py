"""Which answers say the same: a partition by canonical keys.

Measured against math-verify 0.9.0, which says yes to 30% = 30 and to 30% = 0.3 but no to 30 = 0.3:
a relation that is not transitive cannot be voted on. Here every answer gets a key that depends on
nothing but itself, and equivalence is equality of keys: reflexive, symmetric and transitive by
construction. What the keys hold apart and what they join stands in `canonical` and the modules it
names; in short:

    equal        1/2 = 0.5 = \\frac{1}{2} = 50%     12 cm = 0.12 m     12個 = 12     30° = 30
                 2\\sqrt{3} = \\sqrt{12}     {1,2} = {2,1}     １２ = 十二 = twelve = 12
                 B = (b) = B. 12 cm     yes = はい = true     Red car. = the red car
                 2024-03-05 = 2024年3月5日 = March 5, 2024     ¥1,200 = 1200円
    not equal    30% and 30     12 cm and 12 m     12 cm and 12     1/2 and 1.2     (1,2) and {1,2}
                 [1,2) and (1,2)     1, 2 and 2, 1     3:4 and 3/4     3-5 and -2     3×4 and 12
                 $12 and 12     x = 5 and y = 5     left valve open and left valve closed
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from fractions import Fraction
from math import isfinite

from mmupt.consensus.canonical import canonical
from mmupt.consensus.parts import Key
from mmupt.consensus.tolerance import snapped
from mmupt.errors import ConfigError


def partition(
    answers: Sequence[str | None], kind: str = "auto", rtol: float | None = None
) -> list[int | None]:
    """Class of each answer, numbered by first appearance; None for an abstention.

    Counters drop out: 12個 = 12 and 12人 = 12, for a bare 12 is what models write most. Hence 12個
    and 12人 are equal too; a relation that held them apart would not be transitive.

    Args:
        answers: extracted answers; None, an empty string and a string beyond the bounds of
            `canonical` abstain.
        kind: what the answers are: auto, boxed, number, choice, yesno, text or json.
        rtol: relative tolerance in [0, 1) between numbers; clusters are the connected components
            described in `tolerance.snapped`. None and 0: exact values.

    Returns:
        One class number per answer. Equal strings always share a class.

    Raises:
        ConfigError: unknown kind, or rtol out of range.
    """
    keys = {answer: canonical(answer, kind) for answer in dict.fromkeys(answers) if answer}
    if rtol:
        keys = _tolerant(keys, rtol)
    numbers: dict[Hashable, int] = {}
    classes: list[int | None] = []
    for answer in answers:
        key = keys.get(answer) if answer else None
        classes.append(None if key is None else numbers.setdefault(key, len(numbers)))
    return classes


def equivalent(a: str | None, b: str | None, kind: str = "auto", rtol: float | None = None) -> bool:
    """Whether two answers are of one class; an abstention is equivalent to nothing.

    Raises:
        ConfigError: unknown kind, or rtol out of range.
    """
    first, second = partition([a, b], kind=kind, rtol=rtol)
    return first is not None and first == second


def _tolerant(keys: Mapping[str, Key | None], rtol: float) -> dict[str, Key | None]:
    if not isfinite(rtol) or not 0 <= rtol < 1:
        raise ConfigError(f"rtol is {rtol!r}; expected a relative tolerance in [0, 1)")
    near = snapped((key for key in keys.values() if key is not None), Fraction(rtol))
    return {answer: None if key is None else near[key] for answer, key in keys.items()}
