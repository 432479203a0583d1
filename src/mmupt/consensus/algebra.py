"""Exact arithmetic for answers: sums of products of rationals, roots, pi and letters.

A `Poly` maps a monomial to its rational coefficient. A monomial is a sorted tuple of (base,
exponent): a base that is a number stands for a root of it (exponent strictly between 0 and 1), a
base that is a string for a letter or an opaque part such as a sine. Products of different primes
with exponents in (0, 1) are linearly independent over the rationals, so equal values written with
roots of small integers have equal `Poly`s; where the form is not unique (a denominator with several
terms, a root of a large number) two equal values may differ, never the other way round.

Everything is bounded: `TooLargeError` for numbers that would not fit `MAX_BITS`, `UnreadableError`
for too many terms.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from hashlib import blake2b
from math import isqrt

Base = int | str
Mono = tuple[tuple[Base, Fraction], ...]
Poly = dict[Mono, Fraction]

MAX_BITS = 1 << 15
MAX_TERMS = 32
MAX_POWER = 12
MAX_COEFFICIENT_BITS = 512
MAX_ROOT_BITS = 128
MAX_EXPONENT_BITS = 40
ONE: Mono = ()
IMAGINARY = "i"


class UnreadableError(ValueError):
    """Not an expression that this module can hold."""


class TooLargeError(ValueError):
    """An expression whose value exceeds the bounds, such as 9^9^9^9."""


def number(value: Fraction | int) -> Poly:
    """A rational constant."""
    return {ONE: Fraction(value)} if value else {}


def symbol(name: str) -> Poly:
    """A letter, pi, or an opaque part."""
    return {((name, Fraction(1)),): Fraction(1)}


def opaque(name: str, *arguments: Poly) -> Poly:
    """A part that is not computed with, equal to another one of equal name and arguments."""
    # A digest, because nested representations would double in length with every level.
    content = repr((name, *(freeze(argument) for argument in arguments)))
    return symbol(f"{name}#{blake2b(content.encode(), digest_size=16).hexdigest()}")


def rational(poly: Poly) -> Fraction | None:
    """The value of a rational constant, else None."""
    if not poly:
        return Fraction(0)
    return poly[ONE] if len(poly) == 1 and ONE in poly else None


def letters(poly: Poly) -> set[str]:
    """Names of the letters and opaque parts, pi and the imaginary unit among them."""
    return {base for mono in poly for base, _ in mono if isinstance(base, str)}


def freeze(poly: Poly) -> tuple[tuple[Mono, Fraction], ...]:
    """A hashable form, equal for equal polynomials."""
    return tuple(sorted(poly.items(), key=lambda item: _order(item[0])))


def add(left: Poly, right: Poly) -> Poly:
    """Sum."""
    total = dict(left)
    for mono, value in right.items():
        _put(total, mono, value)
    return total


def negate(poly: Poly) -> Poly:
    """Negative."""
    return {mono: -value for mono, value in poly.items()}


def scale(poly: Poly, factor: Fraction) -> Poly:
    """Product with a rational other than 0."""
    if factor == 1:
        return poly
    return {mono: bounded(value * factor) for mono, value in poly.items()}


def multiply(left: Poly, right: Poly) -> Poly:
    """Product, expanded."""
    limit = MAX_BITS if len(left) == len(right) == 1 else MAX_COEFFICIENT_BITS
    product: Poly = {}
    for mono_a, value_a in left.items():
        for mono_b, value_b in right.items():
            factor, mono = _join((*mono_a, *mono_b))
            _put(product, mono, bounded(value_a * value_b * factor, limit))
    if len(product) > MAX_TERMS:
        raise UnreadableError
    return product


def divide(left: Poly, right: Poly) -> Poly:
    """Quotient; a denominator of several terms is rationalised where conjugates do it."""
    if len(left) == len(right) > 1 and left.keys() == right.keys():
        ratios = {left[mono] / right[mono] for mono in right}
        if len(ratios) == 1:
            return number(ratios.pop())
    for _ in range(3):
        if len(right) != 2:
            break
        (mono_a, value_a), (mono_b, value_b) = sorted(right.items(), key=lambda i: _order(i[0]))
        conjugate = {mono_a: value_a, mono_b: -value_b}
        square = multiply(right, conjugate)
        if len(square) > 1 and letters(square) - {IMAGINARY}:
            break
        left, right = multiply(left, conjugate), square
    if not right:
        raise UnreadableError
    if len(right) == 1:
        return multiply(left, _invert(right))
    # What cannot be rationalised becomes an opaque part, scaled to a leading coefficient of 1.
    lead = freeze(right)[-1][1]
    monic = {mono: value / lead for mono, value in right.items()}
    return multiply(left, multiply(opaque("inverse", monic), number(1 / lead)))


def power(base: Poly, exponent: Poly) -> Poly:
    """Base to an exponent; a symbolic exponent makes an opaque part.

    A fractional power of a letter takes the letter for a positive number, as sqrt(x^2) = x.
    """
    value = rational(exponent)
    if value is None:
        return opaque("power", base, exponent)
    if value == 0:
        return number(1)
    if len(base) == 1:
        return _power_of_term(base, value)
    if not base:
        if value < 0:
            raise UnreadableError
        return {}
    if value.denominator != 1:
        return opaque("power", base, exponent)
    if abs(value) > MAX_POWER:
        raise UnreadableError
    result = number(1)
    for _ in range(abs(int(value))):
        result = multiply(result, base)
    return result if value > 0 else divide(number(1), result)


def approximate(poly: Poly) -> Fraction | None:
    """Rational approximation to about 25 digits; None if it holds letters other than pi and e."""
    total = Fraction(0)
    for mono, value in poly.items():
        term = value
        for base, exponent in mono:
            scale = _CONSTANTS.get(base) if isinstance(base, str) else Fraction(base)
            if scale is None or abs(exponent) > 50 or exponent.denominator > 50:
                return None
            term *= _root(scale ** int(exponent.numerator), exponent.denominator)
        total += term
    return total


def bounded(value: Fraction, limit: int = MAX_BITS) -> Fraction:
    """The value itself, if it is small enough to work with.

    Raises:
        TooLargeError: numerator or denominator of more than `limit` bits.
    """
    if value.numerator.bit_length() > limit or value.denominator.bit_length() > limit:
        raise TooLargeError
    return value


_CONSTANTS = {
    "π": Fraction(3141592653589793238462643383279, 10**30),
    "e": Fraction(2718281828459045235360287471352, 10**30),
}


def _put(poly: Poly, mono: Mono, value: Fraction) -> None:
    total = poly.get(mono, Fraction(0)) + value
    if total:
        poly[mono] = bounded(total)
    else:
        poly.pop(mono, None)


def _order(mono: Mono) -> tuple[object, ...]:
    return tuple((str(base), exponent) for base, exponent in mono)


def _invert(term: Poly) -> Poly:
    ((mono, value),) = term.items()
    factor, inverse = _join(tuple((base, -exponent) for base, exponent in mono))
    return {inverse: bounded(factor / value)}


def _power_of_term(base: Poly, exponent: Fraction) -> Poly:
    ((mono, value),) = base.items()
    if exponent.numerator.bit_length() > MAX_EXPONENT_BITS or exponent.denominator > 64:
        raise TooLargeError
    factor, result = _join(
        (
            *((letter, inner * exponent) for letter, inner in mono),
            *_number_power(value, exponent),
        )
    )
    return {result: bounded(factor)}


def _number_power(value: Fraction, exponent: Fraction) -> Iterable[tuple[Base, Fraction]]:
    """The parts of value^exponent, as (base, exponent) pairs whose product it is."""
    if value < 0:
        if exponent.denominator == 2:
            yield IMAGINARY, Fraction(exponent.numerator)
        elif exponent.denominator % 2 == 0:
            raise UnreadableError
        elif exponent.numerator % 2:
            yield -1, Fraction(1)
    yield abs(value.numerator), exponent
    yield value.denominator, -exponent


def _join(parts: Iterable[tuple[Base, Fraction]]) -> tuple[Fraction, Mono]:
    """A product of powers as (rational factor, monomial): like bases joined, roots reduced."""
    exponents: dict[Base, Fraction] = {}
    factor = Fraction(1)
    for base, exponent in parts:
        if base == -1:
            factor = -factor
        elif isinstance(base, str):
            exponents[base] = exponents.get(base, Fraction(0)) + exponent
        elif exponent.denominator == 1:
            factor = bounded(factor * _integer_power(base, int(exponent)))
        else:
            for prime, times in factors(base):
                exponents[prime] = exponents.get(prime, Fraction(0)) + times * exponent
    for base, exponent in list(exponents.items()):
        whole, rest = divmod(exponent, 1)
        if isinstance(base, int):
            factor = bounded(factor * _integer_power(base, int(whole)))
            exponents[base] = rest
        elif base == IMAGINARY and not rest:
            factor *= (1, 1, -1, -1)[whole % 4]
            exponents[base] = Fraction(whole % 2)
    kept = ((base, exponent) for base, exponent in exponents.items() if exponent)
    return factor, tuple(sorted(kept, key=lambda part: str(part[0])))


def _integer_power(base: int, exponent: int) -> Fraction:
    if base == 0 and exponent < 0:
        raise UnreadableError
    if base > 1 and base.bit_length() * abs(exponent) > MAX_BITS:
        raise TooLargeError
    return Fraction(base) ** exponent


def factors(value: int) -> list[tuple[int, int]]:
    """(base, exponent) pairs of a number: primes below 1000, and one cofactor that may be left.

    Raises:
        UnreadableError: a number of more than `MAX_ROOT_BITS` bits.
    """
    found: list[tuple[int, int]] = []
    if value.bit_length() > MAX_ROOT_BITS:
        raise UnreadableError
    if value in (0, 1):
        return found if value else [(0, 1)]
    divisor = 2
    while divisor < 1000 and divisor * divisor <= value:
        times = 0
        while value % divisor == 0:
            value //= divisor
            times += 1
        if times:
            found.append((divisor, times))
        divisor += 1 if divisor == 2 else 2
    if value > 1:
        root = isqrt(value)
        found.append((root, 2) if root * root == value else (value, 1))
    return found


def _root(value: Fraction, degree: int) -> Fraction:
    """Real root of a non-negative number by Newton's method on integers, to about 2^-100."""
    if degree == 1:
        return value
    shift = 100 * degree
    target = (value.numerator << shift) // value.denominator
    guess = 1 << (target.bit_length() // degree + 1)
    while True:
        better = ((degree - 1) * guess + target // guess ** (degree - 1)) // degree
        if better >= guess:
            return Fraction(guess, 1 << 100)
        guess = better
