"""Composites over an array namespace: written once, run by every backend.

Straight-line code over the primitives of ``xp``: a value never steers Python, ``xp.where`` selects.
The coefficients are this project's own minimax fits (Remez exchange in 170-bit arithmetic, relative
error, one set a precision), chosen for few operations: ``where`` evaluates both of its sides, so a
function in two pieces pays for both, and the parts of a quotient are selected before the one
division. Errors are in units in the last place (ulp), the worst that was measured on NumPy, rounded
up; NumPy's own ``exp`` and ``log`` err by about 1 ulp in float64 and up to 3 in float32. Subnormal
results lose what the format loses, and backends that flush subnormal numbers give 0.
"""

from __future__ import annotations

from typing import Any

Coefficients = tuple[float, ...]

# Upper tail of the normal distribution over exp(-y^2/2), y from 0 to 13.3 and to 38.7.
# All terms are positive, hence no cancellation.
_TAIL_32: tuple[Coefficients, Coefficients] = (
    (0.5, 0.4356868, 0.18130705, 0.03998428, 0.004020203),
    (1.0, 1.6692585, 1.1944855, 0.46438116, 0.100233085, 0.010077013),
)
_TAIL_64: tuple[Coefficients, Coefficients] = (
    (
        0.5,
        0.8277371781183885,
        0.6793175052159792,
        0.35712080898760995,
        0.13193672309665763,
        0.035630703510170114,
        0.00711385884028068,
        0.0010381431871173488,
        0.00010638233676014843,
        6.961329484698785e-06,
        2.2362982345251215e-07,
    ),
    (
        1.0,
        2.4533589170396426,
        2.816132212445919,
        2.000472093213347,
        0.9794522047994005,
        0.34802039659181044,
        0.09188026929550135,
        0.018097339561160587,
        0.002619688531467666,
        0.0002672215300795815,
        1.7449465315399088e-05,
        5.605568385166734e-07,
    ),
)

# Normal quantile: over q = p - 1/2 in terms of c - q^2 (c as in ndtri), and in terms of
# sqrt(-log p) - 5/4 in the tail. The shifts make nearly all terms positive.
_CENTRE_32: tuple[Coefficients, Coefficients] = (
    (2.9749277, 20.331142, 19.878115, -4.0178847),
    (1.0, 8.694138, 15.021136),
)
_QUANTILE_32: tuple[Coefficients, Coefficients] = (
    (0.80777097, 2.7975147, 2.3269756, 0.6450904, 0.049433872),
    (1.0, 1.2098364, 0.4131518, 0.0349461),
)
_CENTRE_64: tuple[Coefficients, Coefficients] = (
    (
        3.0675983476693554,
        75.05668032347084,
        682.6026473781361,
        2846.408358793002,
        5406.0957360542725,
        3955.9168011680117,
        616.8314417120972,
        -28.421391741883138,
    ),
    (
        1.0,
        26.54256329237514,
        267.6860620870624,
        1280.2903470899766,
        2952.3665165002217,
        2940.7985405957156,
        897.6829223707371,
    ),
)
_QUANTILE_64: tuple[Coefficients, Coefficients] = (
    (
        0.807770388851842,
        4.0221381313219995,
        7.245474616145886,
        6.705317338888064,
        3.6480873511112124,
        1.2367908425436545,
        0.2638322136024116,
        0.03431157989540843,
        0.002541987411108227,
        9.655700394458215e-05,
        1.5880226292006722e-06,
        7.910503725492545e-09,
    ),
    (
        1.0,
        2.7258793867660702,
        3.0858975223883816,
        1.9066284678830945,
        0.7080721985200874,
        0.16211808160156468,
        0.022276129957234048,
        0.0017170821462904166,
        6.690197073853105e-05,
        1.1159171393564198e-06,
        5.593562665636854e-09,
    ),
)

# (exp(x) - 1 - x) / x^2 for |x| <= 1/2.
_EXPM1_32: Coefficients = (
    0.50000006,
    0.1666668,
    0.041664943,
    0.008331146,
    0.0014008122,
    0.00020380496,
)
_EXPM1_64: Coefficients = (
    0.5000000000000001,
    0.1666666666666707,
    0.04166666666665609,
    0.008333333333106024,
    0.0013888888891415878,
    0.00019841270256185458,
    2.480158497219321e-05,
    2.7556988734524344e-06,
    2.755818518286079e-07,
    2.5171602022612353e-08,
    2.079585790269573e-09,
)

_LN_2 = 0.6931471805599453
_LARGEST_32 = 3.4028234663852886e38
_LARGEST_64 = 1.7976931348623157e308


def _poly(x: Any, coefficients: Coefficients) -> Any:
    """A polynomial, lowest order first; a long sum in two halves, which rounds half as often."""
    if len(coefficients) > 9:
        square = x * x
        return _poly(square, coefficients[::2]) + x * _poly(square, coefficients[1::2])
    return horner(x, coefficients)


def horner(x: Any, coefficients: Coefficients) -> Any:
    """A polynomial by Horner's rule, lowest order first."""
    y: Any = coefficients[-1]
    for c in coefficients[-2::-1]:
        y = y * x + c
    return y


def _gauss(xp: Any, y: Any) -> Any:
    """exp(-y^2/2) for y >= 0, without the error that rounding y^2 would leave in a large exponent.

    As in W. J. Cody, "Rational Chebyshev approximations for the error function" (1969), y is split
    into h, short enough that its square is exact, and a rest. Instead of a second exponential for
    the rest, what the sum of the two exponents loses in rounding becomes a factor of the result.
    """
    steps = 1048576.0 if xp.float64 else 256.0
    h = xp.floor(y * steps) * (1.0 / steps)
    square = 0.5 * h * h
    rest = 0.5 * ((y - h) * (y + h))
    total = square + rest
    lost = (total - square) - rest
    e = xp.exp(-total)
    return e + e * lost


def _upper_tail(xp: Any, y: Any) -> Any:
    """1 - ndtr(y) for y >= 0, to full relative accuracy."""
    top, bottom = _TAIL_64 if xp.float64 else _TAIL_32
    # Past the limit the result is 0 in any case, and the split above stays exact.
    y = xp.minimum(y, 39.0 if xp.float64 else 14.5)
    return _gauss(xp, y) * (_poly(y, top) / _poly(y, bottom))


def ndtr(xp: Any, x: Any) -> Any:
    """The normal distribution function.

    One piece serves all x: tail(|x|) = exp(-x^2/2) R(|x|) with a rational R, and for positive x its
    complement. Error at most 6 ulp in float64 and in float32, the lower tail included down to
    the smallest normal number; 0 and 1 at the infinities.
    """
    tail = _upper_tail(xp, xp.abs(x))
    return xp.where(x < 0.0, tail, 1.0 - tail)


def ndtr_plain(xp: Any, x: Any) -> Any:
    """The normal distribution function with exp(-x^2/2) taken as it stands, a third cheaper than ``ndtr``.

    The exponent's rounding stays in the lower tail: relative error at most 6 + x^2 ulp. For ratios and odds
    that a model's assumptions blur far more.
    """
    top, bottom = _TAIL_64 if xp.float64 else _TAIL_32
    y = xp.minimum(xp.abs(x), 37.0 if xp.float64 else 12.5)
    tail = xp.exp(-0.5 * y * y) * (_poly(y, top) / _poly(y, bottom))
    return xp.where(x < 0.0, tail, 1.0 - tail)


def log_ndtr(xp: Any, x: Any) -> Any:
    """The logarithm of the normal distribution function, for all x.

    For x < 0 it is log R(|x|) - x^2/2, two terms of one sign; for x > 0 it is log(1 - tail) with
    the correction of ``log1p``. Error at most 6 ulp in float64 and in float32.
    """
    top, bottom = _TAIL_64 if xp.float64 else _TAIL_32
    y = xp.abs(x)
    # Past the limit R(y) falls as 1/y, which also spares the powers of a huge y.
    near = xp.minimum(y, 10000.0 if xp.float64 else 300.0)
    ratio = _poly(near, top) / (_poly(near, bottom) * (xp.maximum(y, 1.0) / xp.maximum(near, 1.0)))
    tail = _upper_tail(xp, y)
    u = xp.where(x < 0.0, ratio, 1.0 - tail)
    log_u = xp.log(u)
    gap = 1.0 - u
    upper = xp.where(gap > 0.0, log_u * (tail / gap), -tail)
    return xp.where(x < 0.0, log_u - 0.5 * x * x, upper)


def ndtri(xp: Any, p: Any) -> Any:
    """The normal quantile: x with ndtr(x) = p; -inf at 0, inf at 1, NaN outside [0, 1].

    The split and the variables are those of M. J. Wichura's algorithm AS 241 (1988), but with one
    tail piece, not two: the centre is q times a rational of c - q^2, q = p - 1/2; the tail is a
    rational of sqrt(-log(min(p, 1 - p))). Error at most 6 ulp in float64 and in float32, for every
    p down to the smallest normal number.
    """
    half_width = 0.375 if xp.float64 else 0.35
    centre_top, centre_bottom = _CENTRE_64 if xp.float64 else _CENTRE_32
    tail_top, tail_bottom = _QUANTILE_64 if xp.float64 else _QUANTILE_32
    q = p - 0.5
    outer = xp.minimum(p, 1.0 - p)
    z = (0.140625 if xp.float64 else 0.125) - q * q
    r = xp.sqrt(-xp.log(outer)) - 1.25
    in_centre = xp.abs(q) <= half_width
    far = _poly(r, tail_top)
    top = xp.where(in_centre, q * _poly(z, centre_top), xp.where(q < 0.0, -far, far))
    bottom = xp.where(in_centre, _poly(z, centre_bottom), _poly(r, tail_bottom))
    return xp.where(outer > 0.0, top / bottom, top)


def log1p(xp: Any, x: Any) -> Any:
    """log(1 + x), also for tiny x; -inf at -1, NaN below.

    W. Kahan's correction: what rounding 1 + x to u loses, the factor x / (u - 1) restores. Error at
    most 3 ulp in float64 and 4 in float32.
    """
    # The bound changes nothing above -2, below which the result is NaN as well; it keeps a compiler
    # from cancelling the 1. The largest number stands in for infinity: inf / inf cannot occur.
    u = xp.maximum(1.0 + x, -1.0)
    d = xp.minimum(u - 1.0, _LARGEST_64 if xp.float64 else _LARGEST_32)
    return xp.where(xp.abs(d) > 0.0, xp.log(u) * (x / d), x)


def expm1(xp: Any, x: Any) -> Any:
    """exp(x) - 1, also for tiny x.

    A polynomial for |x| <= 1/2, the plain difference elsewhere. Error at most 2 ulp in float64 and
    4 in float32.
    """
    near = x + x * x * _poly(x, _EXPM1_64 if xp.float64 else _EXPM1_32)
    return xp.where(xp.abs(x) <= 0.5, near, xp.exp(x) - 1.0)


def tanh(xp: Any, x: Any) -> Any:
    """The hyperbolic tangent: -t / (t + 2) with t = expm1(-2 |x|), which cannot overflow.

    Error at most 3 ulp in float64 and 4 in float32.
    """
    t = expm1(xp, -2.0 * xp.abs(x))
    y = (0.0 - t) / (t + 2.0)
    return xp.where(x < 0.0, -y, y)


def asinh(xp: Any, x: Any) -> Any:
    """The inverse hyperbolic sine.

    log1p(a + a^2 / (1 + sqrt(1 + a^2))) for a = |x|, and log(2 a) where a is large. Error at
    most 3 ulp in float64 and 4 in float32.
    """
    limit = 1.0e9 if xp.float64 else 1.0e4  # from here on 1 / (4 a^2) is below half an ulp
    a = xp.abs(x)
    near = xp.minimum(a, limit)
    z = near + near * near / (1.0 + xp.sqrt(1.0 + near * near))
    u = xp.where(a > limit, a, 1.0 + z)
    log_u = xp.log(u)
    d = u - 1.0
    y = xp.where(a > limit, log_u + _LN_2, xp.where(d > 0.0, log_u * (z / d), z))
    return xp.where(x < 0.0, -y, y)


def pow(xp: Any, x: Any, y: Any) -> Any:
    """x to the power y for x >= 0, as exp(y log x); 1 for y = 0, NaN for negative x otherwise.

    The exponent's rounding is in the result: the error grows with it, to at most 4 + 2 |y log x|
    ulp in both precisions. 0 to a positive power is 0, to a negative one infinity.
    """
    return xp.where(xp.abs(y) <= 0.0, 1.0, xp.exp(y * xp.log(x)))
