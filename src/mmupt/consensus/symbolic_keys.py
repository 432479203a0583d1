r"""Keys of what the symbolic reader reads. Runs in the worker process only: it imports sympy.

An expression becomes, the first that can be done:

1. What the house reader would have made of its value: sums of products of rationals, roots, pi, e
   and letters have a normal form (`algebra`), so that \sum_{k=1}^4 k is 10 and \frac{x^2-1}{x-1}
   is x + 1, with the keys that 10 and x + 1 have elsewhere.
2. A fingerprint: its value to 300 significant digits, or its values at five points where it holds
   letters. A value that is a rational, a quadratic irrational or a rational multiple of pi is
   recognised and becomes 1.
3. A digest of its evaluated form: equal only to what sympy writes in the same way.

Can two different values share a fingerprint? Two expressions f and g do if |f - g| < 10^-300 |f|
although f != g. By Richardson's uniformity conjecture (The uniformity conjecture, CCA 2000,
LNCS 2064) an expression of n symbols that is not zero is not below 10^(-1.3 n), provided that what
stands under exponentials and roots is of moderate size. So fingerprints are given only to
expressions of at most `MAX_SYMBOLS` digits and signs (f - g has at most twice as many), none of
whose parts leaves [10^-120, 10^120]; 2^-99, 1 + 2^-1000 and e^-1000 are told apart by 1 or 3.
With letters, agreement at generic points proves identity only for functions with one branch. A
fingerprint is therefore given to rational operations, exponentials, trigonometric functions, and
to roots and logarithms of polynomials without a repeated factor, since \sqrt{(x-9)^2} agrees with
9 - x on half of the line; |x - 9|, \lfloor x \rfloor and the like have their form only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import lru_cache
from hashlib import blake2b, shake_256
from itertools import islice

import mpmath
import sympy
from latex2sympy2_extended.latex2sympy2 import ConversionConfig, latex2sympy
from mpmath import mp, mpc, mpf
from sympy import S

from mmupt.consensus import algebra
from mmupt.consensus.algebra import Poly, TooLargeError, UnreadableError
from mmupt.consensus.parts import Key, numeric_key, split
from mmupt.consensus.symbolic_latex import LOGARITHMS, explicit, letter, variable

MAX_SYMBOLS = 110
MAX_SIMPLIFIED = 80
"""Operations up to which quotients are brought to lowest terms and nested roots undone."""
MAX_MATRIX_POWER = 64
DIGITS = 300
_WORKING_DIGITS = 560
_RANGE = 120
_NOISE = mpf(10) ** -DIGITS
_SMALLEST, _LARGEST = mpf(10) ** -_RANGE, mpf(10) ** _RANGE
_RECOGNISED = 10**24
"""Largest numerator and denominator of a recognised rational: 48 of the 300 digits name it."""

_CONFIG = ConversionConfig(lowercase_symbols=False, interpret_as_mixed_fractions=False)
_INFINITE = (S.Infinity, S.NegativeInfinity)
_CONSTANTS = {variable("e"): S.Exp1, variable("i"): S.ImaginaryUnit}
_FUNCTIONS: dict[type[sympy.Basic], Callable[..., mpf | mpc]] = {
    sympy.exp: mpmath.exp, sympy.log: mpmath.log, sympy.sin: mpmath.sin, sympy.cos: mpmath.cos,
    sympy.tan: mpmath.tan, sympy.cot: mpmath.cot, sympy.sec: mpmath.sec, sympy.csc: mpmath.csc,
    sympy.asin: mpmath.asin, sympy.acos: mpmath.acos, sympy.atan: mpmath.atan,
    sympy.acot: mpmath.acot, sympy.asec: mpmath.asec, sympy.acsc: mpmath.acsc,
    sympy.sinh: mpmath.sinh, sympy.cosh: mpmath.cosh, sympy.tanh: mpmath.tanh,
    sympy.asinh: mpmath.asinh, sympy.acosh: mpmath.acosh, sympy.atanh: mpmath.atanh,
    sympy.Add: lambda *terms: mpmath.fsum(terms), sympy.Mul: lambda *terms: mpmath.fprod(terms),
    sympy.Pow: mpmath.power, sympy.Abs: mpmath.fabs, sympy.zeta: mpmath.zeta,
    sympy.gamma: mpmath.gamma,
}  # fmt: skip
_ONE_BRANCH = (
    sympy.exp, sympy.sin, sympy.cos, sympy.tan, sympy.cot, sympy.sec, sympy.csc, sympy.sinh,
    sympy.cosh, sympy.tanh,
)  # fmt: skip


class OutOfRangeError(Exception):
    """A part too large, too small or too strange for a fingerprint."""


def symbolic_key(text: str) -> Key | None:
    """The key of an expression or an equation; None if it is not read.

    Raises:
        TooLargeError: a number beyond the bounds.
    """
    try:
        sides = split(text, "=")
        values = [_value(side) for side in sides]
    except UnreadableError:
        return None
    if len(values) == 1:
        return _key(values[0])
    if len(values) > 2 or any(isinstance(value, sympy.MatrixBase) for value in values):
        return None
    relation = sympy.Add(values[0], sympy.Mul(-1, values[1]))
    return _relation(relation) if relation.free_symbols else _key(values[1])


def _value(text: str) -> sympy.Basic:
    written = explicit(text)
    return _settled(
        latex2sympy(written, is_real=None, normalization_config=None, conversion_config=_CONFIG)
    )


def _settled(node: sympy.Basic) -> sympy.Basic:
    """The parser leaves everything as it was written; here it is evaluated, from the inside."""
    if isinstance(node, sympy.MatrixBase):
        return node.applyfunc(_settled)
    if isinstance(node, sympy.Symbol):
        return _CONSTANTS.get(node.name, node)
    if isinstance(node, sympy.Float):
        raise UnreadableError  # `explicit` writes no decimals
    if not node.args:
        return node
    args = [_settled(part) for part in node.args]
    if isinstance(node, sympy.Limit):
        # The parser takes the limit from above; without a sign it is the one from both sides.
        return sympy.Limit(*args[:3], "-" if args[2].is_infinite else "+-").doit()
    if any(isinstance(part, sympy.MatrixBase) for part in args):
        return _matrix(node, args)
    if isinstance(node, sympy.Pow) and (real := _real_root(*args)) is not None:
        return real
    if isinstance(node, sympy.Sum | sympy.Product) and not _runs(*args[1][1:]):
        raise UnreadableError
    settled = node.func(*args)
    if isinstance(settled, sympy.Sum | sympy.Product | sympy.Integral):
        return settled.doit()
    return settled


def _runs(low: sympy.Expr, high: sympy.Expr) -> bool:
    """Whether a sum has a meaning for everybody: from an integer up to one, or to a letter's."""
    for bound in (low, high):
        if bound.is_number and not (bound.is_integer or bound in _INFINITE):
            return False
    return not (high - low).is_negative


def _real_root(base: sympy.Basic, exponent: sympy.Basic) -> sympy.Basic | None:
    r"""\sqrt[3]{-8} is -2 here and in the house reader, not the principal root."""
    odd = isinstance(exponent, sympy.Rational) and exponent.q % 2 and exponent.q > 1
    if odd and _negative(base):
        return sympy.Mul((-1) ** exponent.p, sympy.Pow(-base, exponent))
    return None


def _negative(value: sympy.Expr) -> bool:
    if value.is_negative is not None or value.free_symbols:
        return bool(value.is_negative)
    with mp.workdps(_WORKING_DIGITS):
        try:
            number = mpc(_evaluated(value, {}))
        except OutOfRangeError:
            return False
        return not _cleaned(number.imag, number) and number.real < 0


def _matrix(node: sympy.Basic, args: list[sympy.Basic]) -> sympy.Basic:
    """Sums, products and integer powers of matrices."""
    if isinstance(node, sympy.Pow | sympy.MatPow):
        base, exponent = args
        if not isinstance(exponent, sympy.Integer) or abs(exponent) > MAX_MATRIX_POWER:
            raise UnreadableError
        return base ** int(exponent)
    if not isinstance(node, sympy.Add | sympy.Mul | sympy.MatAdd | sympy.MatMul):
        raise UnreadableError
    total = args[0]
    for part in args[1:]:
        sums = isinstance(node, sympy.Add | sympy.MatAdd)
        total = total + part if sums else total * part
    return total


def _key(value: sympy.Basic) -> Key | None:
    if isinstance(value, sympy.MatrixBase):
        rows = [[_key(cell) for cell in row] for row in value.tolist()]
        if any(cell is None for row in rows for cell in row):
            return None
        return ("matrix", *(("row", *row) for row in rows))
    if value in _INFINITE:
        return ("∞",) if value == S.Infinity else ("-∞",)
    if not isinstance(value, sympy.Expr) or value.has(S.NaN, S.ComplexInfinity, *_INFINITE):
        return None
    if value.has(sympy.Dummy, sympy.AccumBounds, sympy.Limit, sympy.Derivative):
        return None
    simple = _simplified(value)
    poly = _polynomial(simple)
    return numeric_key(poly) if poly is not None else _fingerprint(simple)


def _simplified(value: sympy.Expr) -> sympy.Expr:
    """A form that is more often the house reader's; every step keeps the value."""
    if value.has(sympy.factorial, sympy.binomial):
        value = sympy.combsimp(sympy.expand_func(value))
    if value.has(sympy.sinh, sympy.cosh, sympy.tanh):
        value = sympy.expand(value.rewrite(sympy.exp))
    if value.count_ops() > MAX_SIMPLIFIED:
        return value
    if value.free_symbols:
        if value.is_rational_function(*value.free_symbols):
            return sympy.expand(sympy.cancel(sympy.together(value)))
    elif any(power.exp.q == 2 for power in value.atoms(sympy.Pow) if power.exp.is_Rational):
        return sympy.expand(sympy.radsimp(sympy.sqrtdenest(value)))
    return value


def _polynomial(value: sympy.Expr) -> Poly | None:
    """The value in the normal form of the house reader, if it has one without opaque parts."""
    try:
        return _converted(value)
    except (UnreadableError, TooLargeError):
        return None


def _converted(value: sympy.Expr) -> Poly:
    if isinstance(value, sympy.Rational):
        return algebra.number(Fraction(int(value.p), int(value.q)))
    if value in (S.Pi, S.Exp1, S.ImaginaryUnit):
        return algebra.symbol({S.Pi: "π", S.Exp1: "e", S.ImaginaryUnit: algebra.IMAGINARY}[value])
    if isinstance(value, sympy.Symbol) and value.name not in LOGARITHMS.values():
        return algebra.symbol(letter(value.name))
    if isinstance(value, sympy.exp) and isinstance(value.args[0], sympy.Rational):
        return algebra.power(algebra.symbol("e"), _converted(value.args[0]))
    if isinstance(value, sympy.Add | sympy.Mul):
        total, *rest = (_converted(part) for part in value.args)
        for part in rest:
            join = algebra.add if isinstance(value, sympy.Add) else algebra.multiply
            total = join(total, part)
        return total
    if isinstance(value, sympy.Pow) and isinstance(value.exp, sympy.Rational):
        return _power(_converted(value.base), Fraction(int(value.exp.p), int(value.exp.q)))
    raise UnreadableError


def _power(base: Poly, exponent: Fraction) -> Poly:
    if len(base) != 1 and (exponent.denominator != 1 or exponent < 0):
        raise UnreadableError  # an opaque part, or one that need not be in lowest terms
    return algebra.power(base, algebra.number(exponent))


def _relation(relation: sympy.Expr) -> Key | None:
    """An equation; two are equal when their differences of sides are proportional."""
    if not isinstance(relation, sympy.Expr) or relation.has(S.NaN, S.ComplexInfinity, *_INFINITE):
        return None
    if (poly := _polynomial(sympy.expand(relation))) is not None:
        if not poly:
            return ("identity",)
        lead = algebra.freeze(poly)[-1][1]
        return "equation", algebra.freeze(algebra.scale(poly, 1 / lead))
    with mp.workdps(_WORKING_DIGITS):
        try:
            values = _values(relation)
        except OutOfRangeError:
            return "equation", *_form(relation)
        if not any(values):
            return ("identity",)
        if not all(values):
            return "equation", *_form(relation)
        return "equation", "values", _digest([value / values[0] for value in values[1:]])


def _fingerprint(value: sympy.Expr) -> Key | None:
    with mp.workdps(_WORKING_DIGITS):
        try:
            values = _values(value)
        except OutOfRangeError:
            return _form(value)
        first = values[0]
        if any(abs(other - first) > _NOISE * abs(first) for other in values[1:]):
            return "function", _digest(values)
        found = _recognised(first)
        return _closed(first) if found is None else numeric_key(found)


def _closed(value: mpc) -> Key:
    """A number: its first digits to be read, all of them to be compared."""
    return "value", _written(value, 20), _digest([value])


def _form(value: sympy.Expr) -> Key:
    return "form", blake2b(sympy.srepr(value).encode(), digest_size=16).hexdigest()


def _digest(values: list[mpc]) -> str:
    written = " ".join(_written(value, DIGITS) for value in values)
    return blake2b(written.encode(), digest_size=16).hexdigest()


def _written(value: mpc, digits: int) -> str:
    return f"{mpmath.nstr(value.real, digits)} {mpmath.nstr(value.imag, digits)}"


def _values(value: sympy.Expr) -> list[mpc]:
    """The value to `DIGITS` digits, at each point where it holds letters.

    Raises:
        OutOfRangeError: not fit for a fingerprint, see above.
    """
    if sum(islice(_symbols(value), MAX_SYMBOLS + 1)) > MAX_SYMBOLS:
        raise OutOfRangeError
    names = sorted(symbol.name for symbol in value.free_symbols)
    if names and not _one_branch(value):
        raise OutOfRangeError
    points = [{name: _at(name, point) for name in names} for point in range(5 if names else 1)]
    found = [mpc(_evaluated(value, point)) for point in points]
    return [mpc(_cleaned(one.real, one), _cleaned(one.imag, one)) for one in found]


def _symbols(value: sympy.Basic) -> Iterator[int]:
    """Digits and signs of an expression, part by part."""
    for node in sympy.preorder_traversal(value):
        if isinstance(node, sympy.Rational):
            yield (abs(int(node.p)).bit_length() + int(node.q).bit_length()) * 3 // 10 + 1
        else:
            yield 1


@lru_cache(maxsize=512)
def _at(name: str, point: int) -> mpf:
    """A letter's value at a point: arbitrary digits, so that no expression vanishes by chance."""
    bits = 4 * _WORKING_DIGITS
    drawn = shake_256(f"{name} {point}".encode()).digest(bits // 8)
    unit = mpf(int.from_bytes(drawn, "big")) / mpf(2) ** bits
    sign = 1 if drawn[0] % 2 else -1
    return (
        mpf("0.5") + 2 * unit,
        -mpf("0.5") - 2 * unit,
        sign * (8 + 4 * unit),
        -sign * (8 + 4 * unit),
        sign * (3 + 4 * unit),
    )[point]


def _one_branch(value: sympy.Expr) -> bool:
    """Whether agreement at points of general position proves identity (see above)."""
    for node in sympy.preorder_traversal(value):
        if not node.free_symbols or isinstance(node, sympy.Symbol | sympy.Add | sympy.Mul):
            continue
        if isinstance(node, sympy.Pow):
            if isinstance(node.exp, sympy.Integer) or not node.base.free_symbols:
                continue
            if not _squarefree(node.base):
                return False
        elif isinstance(node, sympy.log):
            if not _squarefree(node.args[0]):
                return False
        elif not isinstance(node, _ONE_BRANCH):
            return False
    return True


def _squarefree(value: sympy.Expr) -> bool:
    if isinstance(value, sympy.Symbol):
        return True
    symbols = sorted(value.free_symbols, key=str)
    if not value.is_polynomial(*symbols) or value.count_ops() > MAX_SIMPLIFIED:
        return False
    polynomial = sympy.Poly(value, *symbols)
    return polynomial.domain in (sympy.ZZ, sympy.QQ) and bool(polynomial.is_sqf)


def _evaluated(node: sympy.Basic, point: dict[str, mpf]) -> mpf | mpc:
    """The value of an expression, each part of which has to be of moderate size."""
    try:
        value = _raw(node, point)
    except (ZeroDivisionError, ValueError, OverflowError) as error:
        raise OutOfRangeError from error
    size = abs(value)
    if not size or _SMALLEST < size < _LARGEST:
        return value
    if size < _NOISE and not isinstance(node, sympy.exp | sympy.Pow | sympy.Mul | sympy.Rational):
        return mpf(0)  # what cancels; e^-1000 and 2^-1000 are small themselves
    raise OutOfRangeError


def _raw(node: sympy.Basic, point: dict[str, mpf]) -> mpf | mpc:
    if isinstance(node, sympy.Rational):
        return mpf(int(node.p)) / int(node.q)
    if isinstance(node, sympy.Symbol):
        return point[node.name]
    if node in (S.Pi, S.Exp1, S.ImaginaryUnit):
        return {S.Pi: +mp.pi, S.Exp1: +mp.e, S.ImaginaryUnit: mpc(0, 1)}[node]
    if isinstance(node, sympy.Pow) and isinstance(node.exp, sympy.Integer):
        # mpmath raises to an integer without a logarithm.
        return mpmath.power(_evaluated(node.base, point), int(node.exp))
    known = _FUNCTIONS.get(node.func)
    if known is None:
        raise OutOfRangeError
    return known(*(_evaluated(part, point) for part in node.args))


def _cleaned(part: mpf, whole: mpc) -> mpf:
    """A real or imaginary part without the noise of the other."""
    return mpf(0) if abs(part) < _NOISE * abs(whole) else part


def _recognised(value: mpc) -> Poly | None:
    """A number of the house reader's kind behind many digits."""
    real, imaginary = _real_number(value.real), _real_number(value.imag)
    if real is None or imaginary is None:
        return None
    return algebra.add(real, algebra.multiply(imaginary, algebra.symbol(algebra.IMAGINARY)))


def _real_number(value: mpf) -> Poly | None:
    if (found := _rational(value)) is not None:
        return algebra.number(found)
    if (turns := _rational(value / mp.pi)) is not None:
        return algebra.scale(algebra.symbol("π"), turns)
    return _quadratic(value)


def _rational(value: mpf) -> Fraction | None:
    scaled = Fraction(int(mpmath.nint(value * mpf(10) ** DIGITS)), 10**DIGITS)
    near = scaled.limit_denominator(_RECOGNISED)
    if abs(near.numerator) > _RECOGNISED or abs(near - scaled) * 10 ** (DIGITS - 2) > 1:
        return None
    return near


def _quadratic(value: mpf) -> Poly | None:
    """(-b ± sqrt(b^2 - 4ac)) / 2a for the integers of a x^2 + b x + c = 0."""
    with mp.workdps(80):
        found = mpmath.pslq([value * value, value, mpf(1)], maxcoeff=10**12, maxsteps=200)
    if found is None or not found[0]:
        return None
    a, b, c = found
    under = b * b - 4 * a * c
    root = mpmath.sqrt(mpf(under))
    sign = 1 if abs((-b + root) / (2 * a) - value) < abs((-b - root) / (2 * a) - value) else -1
    if abs((-b + sign * root) / (2 * a) - value) > _NOISE * max(1, abs(value)):
        return None
    try:
        surd = algebra.power(algebra.number(under), algebra.number(Fraction(1, 2)))
    except (UnreadableError, TooLargeError):
        return None
    return algebra.add(
        algebra.number(Fraction(-b, 2 * a)), algebra.scale(surd, Fraction(sign, 2 * a))
    )
