"""What a model may call: the part of the array namespace that all backends share.

A model computes with ``xp``, never with NumPy: then what the reference accepts, the tracer accepts too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import special


class Fields:
    """Named values with attribute access: ``s.log_price``, a loop's ``c.total``."""

    def __init__(self, values: dict[str, Any], what: str = "value") -> None:
        self.__dict__["_values"] = values
        self.__dict__["_what"] = what

    def __getattr__(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            have = ", ".join(self._values) or "none"
            raise AttributeError(f"no {self._what} called {name!r}; there are: {have}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(
            f"{name} = ... would change a {self._what} in place: return the new value instead"
        )

    def __dir__(self) -> list[str]:
        return list(self._values)


Body = Callable[[Any, Any], dict[str, Any]]


class Namespace:
    """The composites, on top of the primitives that a subclass supplies."""

    float64: bool

    def clip(self, x: Any, low: Any, high: Any) -> Any:
        """x held within [low, high]; NaN stays NaN."""
        return self.minimum(self.maximum(x, low), high)

    def ndtr(self, x: Any) -> Any:
        """The normal distribution function."""
        return special.ndtr(self, x)

    def ndtr_plain(self, x: Any) -> Any:
        """As ndtr, cheaper; its relative error grows with x^2."""
        return special.ndtr_plain(self, x)

    def ndtri(self, p: Any) -> Any:
        """The normal quantile."""
        return special.ndtri(self, p)

    def log_ndtr(self, x: Any) -> Any:
        return special.log_ndtr(self, x)

    def log1p(self, x: Any) -> Any:
        return special.log1p(self, x)

    def expm1(self, x: Any) -> Any:
        return special.expm1(self, x)

    def tanh(self, x: Any) -> Any:
        return special.tanh(self, x)

    def asinh(self, x: Any) -> Any:
        return special.asinh(self, x)

    def pow(self, x: Any, y: Any) -> Any:
        """x to the power y, for x >= 0."""
        return special.pow(self, x, y)

    def clock(self, month: Any, period: int) -> Any:
        """The month's place in a ring of ``period`` slots: month mod period."""
        turns = self.to_int(self.floor(self.to_real(month) / period))
        return month - turns * period

    def lowest_bit(self, x: Any) -> Any:
        """The index of the lowest bit that is set; 32 if none is."""
        return self.popcount((x & (~x + 1)) - 1)

    # primitives, for the type checker; each subclass defines them
    minimum: Callable[..., Any]
    maximum: Callable[..., Any]
    floor: Callable[..., Any]
    to_int: Callable[..., Any]
    to_real: Callable[..., Any]
    popcount: Callable[..., Any]
