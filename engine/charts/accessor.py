"""``result.plot``: a run's charts, for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .kinds import KINDS, draw

if TYPE_CHECKING:
    from ..result import Result
    from .figure import Figure


class Plot:
    """The charts of a result; each is a Figure, which a notebook shows and ``save`` writes.

    ``result.plot.fan("rental.hopper")``; ``result.plot("fan", "rental.hopper")`` is the same, of any kind that
    ``overbuilt plot --help`` lists. All raise ConfigError where the run does not have what they need.
    """

    def __init__(self, result: Result) -> None:
        self._result = result

    def __call__(
        self, kind: str, *variables: str, against: Sequence[Result] = (), log: bool = False
    ) -> Figure:
        """A chart of a kind, ``against`` other results where it can be."""
        return draw(kind, self._result, variables, against, log)

    def __repr__(self) -> str:
        return f"<charts of {self._result.name}: {', '.join(KINDS)}>"

    def fan(self, variable: str, *, against: Sequence[Result] = (), log: bool = False) -> Figure:
        """A variable by month: median, 25 to 75 % and 5 to 95 % of paths."""
        return self("fan", variable, against=against, log=log)

    def fans(self, *variables: str, log: bool = False) -> Figure:
        """Several variables, a panel each; the generations of GPUs if none is named."""
        return self("fans", *variables, log=log)

    def revenue(self, *, against: Sequence[Result] = ()) -> Figure:
        """How much customers pay for AI, on a log axis."""
        return self("revenue", against=against)

    def tightness(self, *, against: Sequence[Result] = ()) -> Figure:
        """Demand for compute over its supply."""
        return self("tightness", against=against)

    def gap(self, *, against: Sequence[Result] = ()) -> Figure:
        """How much demand finds no power."""
        return self("gap", against=against)

    def gdp(self, *, against: Sequence[Result] = ()) -> Figure:
        """Growth of US GDP."""
        return self("gdp", against=against)

    def loss(self, metric: str = "private_credit.loss") -> Figure:
        """How a metric ends, VaR and ES marked, and its tail on a log axis."""
        return self("loss", metric)

    def tranches(self) -> Figure:
        """How often tranches are written down, beside what their ratings promise."""
        return self("tranches")

    def holders(self) -> Figure:
        """Who bears the loss."""
        return self("holders")

    def claims(self, *, against: Sequence[Result] = ()) -> Figure:
        """How probable each claim is; this and what follows is computed, which takes seconds."""
        return self("claims", against=against)

    def survival(self) -> Figure:
        """Which firms survive."""
        return self("survival")

    def network(self) -> Figure:
        """Who pays whom, and what goes in circles."""
        return self("network")

    def phases(self) -> Figure:
        """The phase of the cycle by month."""
        return self("phases")

    def rounds(self) -> Figure:
        """Rounds of fire sales."""
        return self("rounds")

    def sales(self) -> Figure:
        """GPUs sold by force."""
        return self("sales")

    def tornado(self, *metric: str) -> Figure:
        """Which assumptions matter to a metric; private_credit.loss if none is named."""
        return self("tornado", *metric)

    def stress(self) -> Figure:
        """What each stress does."""
        return self("stress")
