"""What a model's step gives, found by tracing it once: names, kinds, lengths."""

from __future__ import annotations

from dataclasses import dataclass

from .ops import kind_of
from .symbol import Symbol
from .trace import Model, Tracer, bind


@dataclass(frozen=True, slots=True)
class Shape:
    """A value by path: its ``kind`` (see ops.KINDS) and ``length`` (0: a number, else an array's).

    ``stale``: an array whose storage is written over later in the month, so that nobody can read it after it.
    """

    kind: str
    length: int
    stale: bool = False


def outline(model: Model) -> tuple[dict[str, Shape], dict[str, Shape]]:
    """The state, and all that a step gives, by ``system.name``. Raises TraceError where it cannot be traced."""
    xp = Tracer(float64=True)
    xp.blocks.append([])
    inputs = bind(xp, model)
    start = {k: xp._symbol(x, kind_of(x)) for k, x in model.init(xp, inputs).items()}
    state = xp._views(start, dict.fromkeys(start, True))
    month = Symbol(xp, xp._value("i", False))
    _, seen = model.step(xp, inputs, dict(state), month)
    given = {k: xp._symbol(x, kind_of(x)) for k, x in seen.items()}
    return _shapes(xp, state), _shapes(xp, given)


def _shapes(xp: Tracer, symbols: dict[str, Symbol]) -> dict[str, Shape]:
    return {
        k: Shape(s.value.kind, s.value.length, s.value.id in xp.stale) for k, s in symbols.items()
    }
