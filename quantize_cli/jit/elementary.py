"""exp, log, powers, sine and cosine in float64, of nothing but sums, products and quotients in a stated order.

Those of a C library, and NumPy's of sixteen numbers at once, differ in the last bit from machine to machine, and now
and then a float32 or a code that follows from them does too. These are off by about one unit in the last place.
"""

from math import factorial

import numpy as np

from quantize_cli.jit.kernel import inlined, kernel

_LOG2_E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
"""ln 2 in two parts, of which the first has few enough bits that its product with an exponent is exact (fdlibm)."""
_ROOT_HALF = 0.7071067811865476
_HIGHEST, _LOWEST = 709.78, -708.39
"""Between these the exponential is a normal number."""

_HALF_PI = (1.570796012878418, 3.139164164167596e-07, 6.223371969669989e-14, 2.0222662487959506e-21)
"""pi / 2 in parts, of which all but the last have 22 bits: their products with up to 2**31 turns are exact."""
_TWO_BY_PI = 0.6366197723675814

_EXPONENTIAL = tuple(1 / factorial(n) for n in range(14, -1, -1))
_LOGARITHM = tuple(1 / n for n in range(25, 2, -2))
_SINE = tuple((-1) ** (n // 2) / factorial(n) for n in range(19, 2, -2))
_COSINE = tuple((-1) ** (n // 2) / factorial(n) for n in range(18, 3, -2))


@inlined
def _exponential(x):
    if not x > _LOWEST:
        return 0.0 if x <= _LOWEST else x
    if x > _HIGHEST:
        return np.inf
    whole = np.floor(x * _LOG2_E + 0.5)
    rest = (x - whole * _LN2_HIGH) - whole * _LN2_LOW
    power = 0.0
    for coefficient in _EXPONENTIAL:
        power = power * rest + coefficient
    return power * np.int64((np.int64(whole) + 1023) << 52).view(np.float64)


@inlined
def _logarithm(x):
    """Of normal numbers above zero."""
    pattern = np.float64(x).view(np.int64)
    exponent = (pattern >> 52) - 1022
    mantissa = np.int64((pattern & ((1 << 52) - 1)) | (1022 << 52)).view(np.float64)
    if mantissa < _ROOT_HALF:
        mantissa, exponent = mantissa * 2, exponent - 1
    ratio = (mantissa - 1) / (mantissa + 1)
    square, series = ratio * ratio, 0.0
    for coefficient in _LOGARITHM:
        series = series * square + coefficient
    return exponent * _LN2_HIGH + (2 * ratio + (2 * ratio * (square * series) + exponent * _LN2_LOW))


@inlined
def _sine_and_cosine(x):
    """Of magnitudes up to 2**31."""
    turns = np.floor(x * _TWO_BY_PI + 0.5)
    rest = x
    for part in _HALF_PI:
        rest = rest - turns * part
    square, sine, cosine = rest * rest, 0.0, 0.0
    for coefficient in _SINE:
        sine = sine * square + coefficient
    for coefficient in _COSINE:
        cosine = cosine * square + coefficient
    sine, cosine = rest + rest * (square * sine), 1 - (0.5 * square - square * square * cosine)
    quarter = np.int64(turns) & 3
    if quarter == 0:
        return sine, cosine
    if quarter == 1:
        return cosine, -sine
    if quarter == 2:
        return -sine, -cosine
    return -cosine, sine


@kernel
def _fill_exponentials(x, out):
    for i in range(x.shape[0]):
        out[i] = _exponential(x[i])


@kernel
def _fill_logarithms(x, out):
    for i in range(x.shape[0]):
        out[i] = _logarithm(x[i])


@kernel
def _fill_turns(x, sine, cosine):
    for i in range(x.shape[0]):
        sine[i], cosine[i] = _sine_and_cosine(x[i])


def exponential(x: np.ndarray) -> np.ndarray:
    """e**x of numbers of any shape, f64; zero below -708 and infinity above 709."""
    flat, out = _flat(x)
    _fill_exponentials(flat, out)
    return out.reshape(np.shape(x))


def logarithm(x: np.ndarray) -> np.ndarray:
    """ln x of normal numbers above zero, f64."""
    flat, out = _flat(x)
    _fill_logarithms(flat, out)
    return out.reshape(np.shape(x))


def power(base: np.ndarray, exponent: float) -> np.ndarray:
    """base**exponent of normal numbers above zero, f64; off by as many units as its logarithm is large."""
    return exponential(exponent * logarithm(base))


def sine_and_cosine(angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of angles in radians, of magnitudes up to 2**31, f64."""
    flat, sine = _flat(angles)
    cosine = np.empty_like(sine)
    _fill_turns(flat, sine, cosine)
    return sine.reshape(np.shape(angles)), cosine.reshape(np.shape(angles))


def _flat(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    flat = np.ascontiguousarray(x, np.float64).ravel()
    return flat, np.empty_like(flat)
