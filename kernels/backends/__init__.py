"""The four backends and the choice among them."""

from __future__ import annotations

from types import ModuleType

from ..program import Program
from ..trace import Model
from . import base, cuda, jax, native, numpy
from .base import DTYPES, BackendError, Kernel, Output, Status

MODULES: dict[str, ModuleType] = {"cuda": cuda, "jax": jax, "native": native, "numpy": numpy}
NAMES = tuple(MODULES)


def status(name: str) -> Status:
    """Whether the backend works here, without compiling anything."""
    if name not in MODULES:
        raise BackendError(f"backend {name!r} is unknown; it should be auto, {', '.join(NAMES)}")
    found: Status = MODULES[name].status()
    return found


def choose() -> tuple[str, list[Status]]:
    """The first that works of cuda, jax on an accelerator, native, jax on the CPU, numpy; and the passed over."""
    passed: list[Status] = []
    found = status("cuda")
    if found.works:
        return "cuda", passed
    passed.append(found)
    # JAX is asked only when it could bring an accelerator: importing it costs seconds
    on_jax = _accelerated_jax()
    if on_jax.works:
        return "jax", passed
    passed.append(on_jax)
    for name in ("native", "jax", "numpy"):
        found = status(name)
        if found.works:
            return name, passed
        passed.append(found)
    raise BackendError("no backend works here: " + "; ".join(s.why for s in passed))


def _accelerated_jax() -> Status:
    from importlib.util import find_spec

    # JAX finds its plugins in the package that they share; that for TPUs is its own
    plugins = find_spec("jax_plugins") or find_spec("libtpu")
    if plugins is None:
        return Status("jax", False, "JAX has no accelerator plugin installed")
    found = jax.status()
    if found.works and found.detail["platform"] == "cpu":
        return Status("jax", False, "JAX sees no accelerator")
    return found


def compile(name: str, model: Model, program: Program, dtype: str) -> Kernel:
    """The kernel of a program on a backend; BackendError if the backend cannot be used."""
    if dtype not in DTYPES:
        raise BackendError(f"dtype {dtype!r} is unknown; it should be float32 or float64")
    found = status(name) if name not in MODULES else None
    if found is not None:
        raise BackendError(found.why)
    kernel: Kernel = MODULES[name].compile(model, program, dtype)
    return kernel


__all__ = [
    "NAMES",
    "BackendError",
    "Kernel",
    "Output",
    "Status",
    "base",
    "choose",
    "compile",
    "status",
]
