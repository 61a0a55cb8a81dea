"""How accurate the native elementary functions and the composites of ``special.py`` are.

The reference is mpmath at 35 digits for float64. For float32 it is float64 arithmetic (NumPy,
SciPy), whose error is below a millionth of a float32 ulp. Every bound is the one that the source
documents.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
import scipy.special

from overbuilt.kernels import special

Array = np.ndarray[Any, Any]
REALS = (np.float32, np.float64)
HEADER = Path(special.__file__).with_name("math.h")
FLAGS = {"native": ["-march=native"], "avx2": ["-mavx2", "-mfma"], "sse2": ["-msse2"]}
CPU_FLAGS = {"native": set(), "avx2": {"avx2", "fma"}, "sse2": {"sse2"}}

# Documented in math.h, in ulp.
NATIVE_BOUNDS = {"exp": 1.2, "log": 1.5, "sin2pi": 1.7, "cos2pi": 1.7}
# Documented in special.py, in ulp: float32, float64.
SPECIAL_BOUNDS = {
    "ndtr": (6, 6),
    "log_ndtr": (6, 6),
    "ndtri": (6, 6),
    "log1p": (4, 3),
    "expm1": (4, 2),
    "tanh": (4, 3),
    "asinh": (4, 3),
}

# What an includer of math.h defines, and two loops a function to call from here.
SOURCE = """
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif
#define INLINE static inline __attribute__((always_inline))
#define R(x) ((real)(x))
#if OB_DOUBLE
typedef double real;
typedef int64_t bits_of_real;
#else
typedef float real;
typedef int32_t bits_of_real;
#endif
#if defined(__AVX512F__)
#define OB_AVX512 1
#define OB_BYTES 64
#elif defined(__AVX2__)
#define OB_BYTES 32
#else
#define OB_BYTES 16
#endif
#define OB_LANES (OB_BYTES / (int)sizeof(real))
typedef real F __attribute__((vector_size(OB_BYTES)));
typedef bits_of_real B __attribute__((vector_size(OB_BYTES)));
#include "math.h"
#define LOOPS(f)                                                         \\
  extern "C" void vector_##f(const real* x, real* y, long long n) {      \\
    for (long long i = 0; i < n; i += OB_LANES) {                        \\
      F v;                                                               \\
      memcpy(&v, x + i, sizeof v);                                       \\
      v = v_##f(v);                                                      \\
      memcpy(y + i, &v, sizeof v);                                       \\
    }                                                                    \\
  }                                                                      \\
  extern "C" void scalar_##f(const real* x, real* y, long long n) {      \\
    for (long long i = 0; i < n; ++i) y[i] = s_##f(x[i]);                \\
  }
LOOPS(exp)
LOOPS(log)
LOOPS(sin2pi)
LOOPS(cos2pi)
"""


# ---- references: the rounded value and the rest, in ulp
def split(exact: list[mpmath.mpf]) -> tuple[Array, Array]:
    """High-precision values as float64 and what is left, in units of the last place."""
    rounded = np.array([float(v) for v in exact])
    unit = np.spacing(np.abs(rounded))
    with mpmath.workdps(35):
        rest = [
            float((v - mpmath.mpf(float(h))) / mpmath.mpf(float(u))) if np.isfinite(h) else 0.0
            for v, h, u in zip(exact, rounded, unit, strict=True)
        ]
    return rounded, np.array(rest)


def reference(
    x: Array, exact: Callable[[Any], Any], double: Callable[[Array], Array]
) -> tuple[Array, Array]:
    """The function at x: by ``double`` for float32, by ``exact`` in 35 digits for float64."""
    if x.dtype == np.float64:
        with mpmath.workdps(35):
            return split([exact(mpmath.mpf(float(v))) for v in x])
    with np.errstate(all="ignore"):
        value = double(x.astype(np.float64))
        rounded = value.astype(np.float32)
        unit = np.spacing(np.abs(rounded)).astype(np.float64)
        return rounded, np.where(np.isfinite(rounded), (value - rounded) / unit, 0.0)


def worst(y: Array, want: tuple[Array, Array], x: Array) -> tuple[float, Any]:
    """The largest error in ulp, and where."""
    rounded, rest = want
    with np.errstate(all="ignore"):
        error = np.abs((y.astype(np.float64) - rounded) / np.spacing(np.abs(rounded)) - rest)
    error = np.where((y == rounded) & ~np.isfinite(rounded), 0.0, error)
    at = int(np.argmax(error))
    return float(error[at]), x[at]


def turn(which: int) -> Callable[[Any], Any]:
    """Sine (0) or cosine (1) of 2 pi u in high precision, by exact reduction to an eighth."""

    def exact(u: Any) -> Any:
        quarters = mpmath.nint(4 * u)
        angle = 2 * mpmath.pi * (u - quarters / 4)
        quadrant = (int(quarters) + which) % 4
        value = mpmath.cos(angle) if quadrant % 2 else mpmath.sin(angle)
        return -value if quadrant >= 2 else value

    return exact


def turn_double(which: int) -> Callable[[Array], Array]:
    """The same in float64, where the reduction of a float32 is exact too."""

    def double(u: Array) -> Array:
        quarters = np.rint(4 * u)
        angle = 2 * np.pi * (u - quarters / 4)
        quadrant = (np.remainder(quarters, 4).astype(int) + which) % 4
        value = np.where(quadrant % 2, np.cos(angle), np.sin(angle))
        return np.where(quadrant >= 2, -value, value)

    return double


def every_size(rng: np.random.Generator, real: Any, n: int) -> Array:
    """Positive numbers of every exponent, subnormal ones included."""
    bits = np.uint32 if real == np.float32 else np.uint64
    top = int(np.array(np.finfo(real).max, real).view(bits))
    return rng.integers(1, top, n).astype(bits).view(real)


@cache
def native_case(name: str, real: Any) -> tuple[Array, tuple[Array, Array]]:
    rng = np.random.default_rng(20240613)
    n = 20000 if real == np.float32 else 8000
    info = np.finfo(real)
    if name == "exp":
        low, normal, high = (-104, -87, 88.72) if real == np.float32 else (-745.2, -708, 709.78)
        parts = [rng.uniform(low, high, n), rng.uniform(-1, 1, n), rng.uniform(low, normal, n // 2)]
        parts += [rng.normal(0, 1e-5, n // 4)]
    elif name == "log":
        parts = [every_size(rng, real, n), rng.uniform(0.5, 2, 2 * n), rng.normal(1, 1e-3, n)]
        parts += [info.smallest_subnormal * 2.0 ** rng.uniform(0, info.nmant, n // 4)]
    else:
        parts = [rng.uniform(0, 1, n), rng.uniform(-5, 5, n), every_size(rng, real, n // 2)]
        parts += [rng.integers(-8, 9, n // 2) / 8 + rng.normal(0, 1e-5, n // 2)]
        parts += [-every_size(rng, real, n // 4)]
        # the reduction changes its ways around the powers of two that end the fraction
        edge = rng.choice([-1, 1], n // 2) * 2.0 ** rng.integers(10, info.nmant + 4, n // 2)
        parts += [edge + rng.uniform(-3, 3, n // 2), 2.0 ** -rng.uniform(0, 100, n // 4)]
    x = np.concatenate(parts).astype(real)
    x = x[: len(x) // 16 * 16]
    exact = {"exp": mpmath.exp, "log": mpmath.log, "sin2pi": turn(0), "cos2pi": turn(1)}[name]
    double = {"exp": np.exp, "log": np.log, "sin2pi": turn_double(0), "cos2pi": turn_double(1)}
    return x, reference(x, exact, double[name])


NATIVE_VALUES: dict[str, list[tuple[float, float]]] = {
    "exp": [(0.0, 1), (-0.0, 1), (np.inf, np.inf), (-np.inf, 0), (np.nan, np.nan), (1e30, np.inf)],
    "log": [
        (0.0, -np.inf),
        (-0.0, -np.inf),
        (1, 0),
        (np.inf, np.inf),
        (-np.inf, np.nan),
        (-1, np.nan),
        (-1e-40, np.nan),
        (np.nan, np.nan),
    ],
    "sin2pi": [
        (0, 0),
        (-0.0, 0),
        (0.25, 1),
        (0.5, 0),
        (0.75, -1),
        (1, 0),
        (-0.25, -1),
        (1e30, 0),
        (-(2.0**22) - 0.5, 0),
        (np.inf, np.nan),
        (-np.inf, np.nan),
        (np.nan, np.nan),
    ],
    "cos2pi": [
        (0, 1),
        (0.25, 0),
        (0.5, -1),
        (0.75, 0),
        (1, 1),
        (1e30, 1),
        (-(2.0**22) - 0.5, -1),
        (np.inf, np.nan),
        (np.nan, np.nan),
    ],
}


@cache
def cpu_flags() -> set[str]:
    """What the CPU can run, as the operating system lists it; else what its whole kind can."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return set()
    listed = Path("/proc/cpuinfo")
    return set(listed.read_text().split()) if listed.exists() else {"sse2"}


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str, Any], Any]:
    folder = tmp_path_factory.mktemp("math")
    source = folder / "loops.cpp"
    source.write_text(SOURCE)

    @cache
    def make(compiler: str, flags: str, real: Any) -> Any:
        if not shutil.which(compiler):
            pytest.skip(f"no {compiler} here")
        if missing := CPU_FLAGS[flags] - cpu_flags():
            pytest.skip(f"the CPU lacks {', '.join(sorted(missing))}")
        out = folder / f"{compiler}-{flags}-{real.__name__}.so"
        command = [compiler, "-std=c++17", "-O2", "-fPIC", "-shared", "-ffp-contract=fast"]
        command += ["-fno-math-errno", "-fno-trapping-math", *FLAGS[flags], f"-I{HEADER.parent}"]
        command += [f"-DOB_DOUBLE={int(real == np.float64)}", str(source), "-o", str(out)]
        done = subprocess.run(
            command, capture_output=True, text=True, env=os.environ | {"LC_ALL": "C"}
        )
        assert done.returncode == 0, done.stderr
        return ctypes.CDLL(str(out))

    return make


def call(library: Any, name: str, x: Array) -> Array:
    y = np.empty_like(x)
    getattr(library, name)(
        x.ctypes.data_as(ctypes.c_void_p),
        y.ctypes.data_as(ctypes.c_void_p),
        ctypes.c_longlong(len(x)),
    )
    return y


@pytest.mark.parametrize("real", REALS)
@pytest.mark.parametrize(("compiler", "flags"), list(itertools.product(("g++", "clang++"), FLAGS)))
def test_native(build: Any, compiler: str, flags: str, real: Any) -> None:
    library = build(compiler, flags, real)
    for name, bound in NATIVE_BOUNDS.items():
        x, want = native_case(name, real)
        y = call(library, f"vector_{name}", x)
        error, at = worst(y, want, x)
        assert error <= bound, f"{name}({at!r}) is {error:.2f} ulp off"

        points = np.zeros(16, real)
        values = NATIVE_VALUES[name]
        points[: len(values)] = [a for a, _ in values]
        got = call(library, f"vector_{name}", points)
        np.testing.assert_array_equal(got[: len(values)], [b for _, b in values], err_msg=name)

        for at, vector in ((x, y), (points, got)):
            scalar = call(library, f"scalar_{name}", at)
            assert np.array_equal(vector.view(np.uint8), scalar.view(np.uint8)), name


def test_native_overflow_ends_where_the_format_ends(build: Any) -> None:
    for real in REALS:
        library = build("g++", "native", real)
        last = real(88.72283 if real == np.float32 else 709.782712893384)
        x = np.full(16, last)
        x[1] = np.nextafter(last, real(np.inf))
        y = call(library, "vector_exp", x)
        assert np.isfinite(y[0])
        assert y[1] == np.inf


# ---- the composites, on NumPy
class Namespace:
    """The primitives that the composites call."""

    where = staticmethod(np.where)
    exp = staticmethod(np.exp)
    log = staticmethod(np.log)
    sqrt = staticmethod(np.sqrt)
    abs = staticmethod(np.abs)
    floor = staticmethod(np.floor)
    minimum = staticmethod(np.minimum)
    maximum = staticmethod(np.maximum)

    def __init__(self, real: Any) -> None:
        self.float64 = real == np.float64


def quantile(p: Any) -> Any:
    """The normal quantile in high precision: Newton's method from a float64 start."""
    upper = p > 0.5
    t = 1 - p if upper else p
    x = mpmath.mpf(float(scipy.special.ndtri(float(t))))
    for _ in range(2):
        x -= (mpmath.ncdf(x) - t) / mpmath.npdf(x)
    return -x if upper else x


def signed(rng: np.random.Generator, low: float, high: float, n: int) -> Array:
    return rng.choice([-1, 1], n) * 10 ** rng.uniform(low, high, n)


def special_points(name: str, real: Any) -> Array:
    rng = np.random.default_rng(7)
    single = real == np.float32
    n = 10000 if single else 3000
    if name == "ndtr":  # down to the smallest normal result
        parts = [rng.uniform(-12.95 if single else -37.5, 9, n), rng.uniform(-3, 3, n)]
        parts += [signed(rng, -8, 0, n)]
    elif name == "log_ndtr":
        parts = [rng.uniform(-40, 9, n), rng.uniform(-3, 3, n), -(10 ** rng.uniform(-3, 10, n))]
        parts += [rng.uniform(0, 12.9 if single else 37.5, n)]
    elif name == "ndtri":
        parts = [rng.uniform(0, 1, 2 * n), 10 ** rng.uniform(-37.9 if single else -307.6, 0, n)]
        parts += [0.5 + signed(rng, -7, -0.31, n), 1 - 10 ** rng.uniform(-7, 0, n)]
        parts += [rng.choice([1e-38, 1e-30, 1e-10] if single else [1e-300, 1e-100, 1e-20], 3)]
    elif name == "log1p":
        parts = [rng.uniform(-1, 3, n), signed(rng, -30, -0.01, n), 10 ** rng.uniform(0, 30, n)]
    elif name == "asinh":
        parts = [rng.uniform(-10, 10, n), signed(rng, -30, 30, n), signed(rng, 3, 10, n)]
    else:
        parts = [rng.uniform(-20, 80, n), rng.uniform(-1, 1, n), signed(rng, -30, 0.5, n)]
    x = np.concatenate(parts).astype(real)
    return x[(x > 0) & (x < 1)] if name == "ndtri" else x[x > -1] if name == "log1p" else x


EXACT: dict[str, Callable[[Any], Any]] = {
    "ndtr": mpmath.ncdf,
    "log_ndtr": lambda x: mpmath.log(mpmath.ncdf(x)) if x < 0 else mpmath.log1p(-mpmath.ncdf(-x)),
    "ndtri": quantile,
    "log1p": mpmath.log1p,
    "expm1": mpmath.expm1,
    "tanh": mpmath.tanh,
    "asinh": mpmath.asinh,
}
DOUBLE: dict[str, Callable[[Array], Array]] = {
    "ndtr": scipy.special.ndtr,
    "log_ndtr": scipy.special.log_ndtr,
    "ndtri": scipy.special.ndtri,
    "log1p": np.log1p,
    "expm1": np.expm1,
    "tanh": np.tanh,
    "asinh": np.arcsinh,
}


@pytest.mark.parametrize("real", REALS)
@pytest.mark.parametrize("name", SPECIAL_BOUNDS)
def test_special(name: str, real: Any) -> None:
    x = special_points(name, real)
    with np.errstate(all="ignore"):
        y = getattr(special, name)(Namespace(real), x)
    assert y.dtype == real
    error, at = worst(y, reference(x, EXACT[name], DOUBLE[name]), x)
    bound = SPECIAL_BOUNDS[name][real == np.float64]
    assert error <= bound, f"{name}({at!r}) is {error:.2f} ulp off"


SPECIAL_VALUES: dict[str, list[tuple[float, float]]] = {
    "ndtr": [(0, 0.5), (np.inf, 1), (-np.inf, 0), (np.nan, np.nan), (1e30, 1), (-1e30, 0)],
    "log_ndtr": [(np.inf, 0), (-np.inf, -np.inf), (np.nan, np.nan), (1e3, 0)],
    "ndtri": [
        (0, -np.inf),
        (1, np.inf),
        (0.5, 0),
        (-0.001, np.nan),
        (1.5, np.nan),
        (-np.inf, np.nan),
        (np.inf, np.nan),
        (np.nan, np.nan),
    ],
    "log1p": [
        (0, 0),
        (-1, -np.inf),
        (-1.5, np.nan),
        (-3, np.nan),
        (np.inf, np.inf),
        (np.nan, np.nan),
    ],
    "expm1": [(0, 0), (-np.inf, -1), (np.inf, np.inf), (1e4, np.inf), (np.nan, np.nan)],
    "tanh": [(0, 0), (np.inf, 1), (-np.inf, -1), (1e30, 1), (np.nan, np.nan)],
    "asinh": [(0, 0), (np.inf, np.inf), (-np.inf, -np.inf), (np.nan, np.nan)],
}


@pytest.mark.parametrize("real", REALS)
@pytest.mark.parametrize("name", SPECIAL_VALUES)
def test_special_values(name: str, real: Any) -> None:
    x = np.array([a for a, _ in SPECIAL_VALUES[name]], real)
    with np.errstate(all="ignore"):
        y = getattr(special, name)(Namespace(real), x)
    np.testing.assert_array_equal(y, np.array([b for _, b in SPECIAL_VALUES[name]], real))


@pytest.mark.parametrize("real", REALS)
def test_pow(real: Any) -> None:
    rng = np.random.default_rng(11)
    n = 20000 if real == np.float32 else 8000
    x = np.exp(rng.uniform(-5, 5, n)).astype(real)
    y = rng.uniform(-8, 8, n).astype(real)
    z = special.pow(Namespace(real), x, y)
    if real == np.float64:
        with mpmath.workdps(35):
            powers = [
                mpmath.mpf(float(a)) ** mpmath.mpf(float(b)) for a, b in zip(x, y, strict=True)
            ]
        rounded, rest = split(powers)
    else:
        wide = x.astype(np.float64) ** y.astype(np.float64)
        rounded = wide.astype(np.float32)
        rest = (wide - rounded) / np.spacing(rounded)
    error = np.abs((z.astype(np.float64) - rounded) / np.spacing(rounded) - rest)
    assert np.all(error <= 4 + 2 * np.abs(y * np.log(x)))

    base = np.array([0, 0, 0, -1, 1, np.inf], real)
    power = np.array([1, 0, -1, 2, 0, 0], real)
    with np.errstate(all="ignore"):
        got = special.pow(Namespace(real), base, power)
    np.testing.assert_array_equal(got, np.array([0, 1, np.inf, np.nan, 1, 1], real))
