"""The kinds of charts: what each asks, what it needs, and how it is drawn. Commands and notebooks read this table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..result import Result
    from .figure import Figure


@dataclass(frozen=True)
class Asked:
    """What is to be drawn: of a run, and of those beside it."""

    result: Result
    variables: tuple[str, ...] = ()
    others: tuple[Result, ...] = ()
    log: bool = False


@dataclass(frozen=True)
class Kind:
    """A kind of chart. ``variables`` are how many it takes: least and most."""

    answers: str
    example: str
    draw: Callable[[Asked], Figure] = field(repr=False)
    variables: tuple[int, int] = (0, 0)
    of: str = ""
    """``series`` or ``metrics``: what a variable must be one of."""
    default: tuple[str, ...] = ()
    """The variables where none is named."""
    beside: bool = False
    """Whether other runs can be drawn beside."""
    log: bool = False
    """Whether an axis can be logarithmic by choice."""


def _fan(a: Asked) -> Figure:
    from .fan import fan

    return fan(a.result, a.variables[0], a.log, a.others)


def _log_fan(a: Asked) -> Figure:
    from .fan import fan

    return fan(a.result, a.variables[0], True, a.others)


def _fans(a: Asked) -> Figure:
    from .fan import RENTALS, fans

    return fans(a.result, a.variables or RENTALS, a.log)


def _loss(a: Asked) -> Figure:
    from .loss import loss

    return loss(a.result, a.variables[0])


def _tranches(a: Asked) -> Figure:
    from .tranches import tranches

    return tranches(a.result)


def _holders(a: Asked) -> Figure:
    from .holders import holders

    return holders(a.result)


def _computed(name: str) -> Callable[[Asked], Figure]:
    """Of what the run did not store."""

    def draw(a: Asked) -> Figure:
        from .computed import COMPUTED

        return COMPUTED[name](a.result, a.others, a.variables)

    return draw


KINDS: dict[str, Kind] = {
    "fan": Kind(
        "A variable by month: median, and where half and nine tenths of the paths lie.",
        "fan rental.hopper -o h100.png",
        _fan, (1, 1), "series", beside=True, log=True,
    ),
    "fans": Kind(
        "Several of them, a panel each; GPU rentals if none is named.",
        "fans rental.hopper rental.rubin -o rentals.svg",
        _fans, (0, 12), "series", log=True,
    ),
    "revenue": Kind(
        "How much do customers pay for AI? On a log axis.",
        "revenue --against linear -o revenue.png",
        _log_fan, of="series", default=("revenue.rate",), beside=True,
    ),
    "tightness": Kind(
        "Is there too much compute, or too little?",
        "tightness -o tightness.png",
        _fan, of="series", default=("compute.tightness",), beside=True, log=True,
    ),
    "gap": Kind(
        "How much demand finds no power?",
        "gap -o gap.png",
        _fan, of="series", default=("compute.gap",), beside=True,
    ),
    "gdp": Kind(
        "What does it do to US growth?",
        "gdp --against linear -o gdp.png",
        _fan, of="series", default=("macro.growth",), beside=True,
    ),
    "loss": Kind(
        "How a metric ends: VaR and ES marked, and its tail; private_credit.loss if none is named.",
        "loss holders.loss -o loss.png",
        _loss, (0, 1), "metrics", ("private_credit.loss",),
    ),
    "tranches": Kind(
        "Do tranches keep what their ratings promise?", "tranches -o tranches.png", _tranches
    ),
    "holders": Kind("Who bears the loss?", "holders -o holders.csv", _holders),
    "claims": Kind(
        "How probable is each claim, by scenario?",
        "claims --against linear -o claims.png",
        _computed("claims"), beside=True,
    ),
    "survival": Kind("Which firms survive?", "survival -o firms.png", _computed("survival")),
    "network": Kind("Who pays whom?", "network -o network.svg", _computed("network")),
    "phases": Kind("Where in the cycle are we?", "phases -o phases.png", _computed("phases")),
    "rounds": Kind("How many rounds do fire sales take?", "rounds -o rounds.png", _computed("rounds")),
    "sales": Kind("How many GPUs are sold by force?", "sales -o sales.png", _computed("sales")),
    "tornado": Kind(
        "Which assumptions matter to a metric?",
        "tornado private_credit.loss -o tornado.png",
        _computed("tornado"), (0, 1), "metrics",
    ),
    "stress": Kind("What does each stress do?", "stress -o stress.png", _computed("stress")),
}  # fmt: skip
"""By name, in the order of the help."""


def problems_of(
    kind: str, variables: Sequence[str], beside: int, log: bool, known: Sequence[Sequence[str]] = ()
) -> list[str]:
    """A line for each thing that is wrong with what is asked for.

    ``known`` are, for each run, the names that its variables may have.
    """
    from ..validate import near, shown

    if kind not in KINDS:
        return [f"kind {shown(kind)}: unknown{near(kind, list(KINDS))}"]
    k = KINDS[kind]
    least, most = k.variables
    found = []
    named = tuple(variables) or k.default
    if not least <= len(variables) <= most:
        should = f"{least}" if least == most else f"{least} to {most}"
        takes = f"{should} variable{'' if most == 1 else 's'}" if most else "no variable"
        found.append(f"{kind}: takes {takes}, not {len(variables)}")
    if beside and not k.beside:
        can = _listed([n for n, other in KINDS.items() if other.beside])
        found.append(f"{kind}: draws one run; beside each other can be {can}")
    if log and not k.log:
        can = _listed([n for n, other in KINDS.items() if other.log])
        found.append(f"{kind}: its axes are what they are; log can be {can}")
    for names in known:
        for v in named if k.of else ():
            if v not in names:
                hint = near(v, list(names), listed=len(names) <= 8)
                what = "variable reported by month" if k.of == "series" else "metric"
                found.append(f"{kind} {shown(v)}: no such {what}{hint}")
    return list(dict.fromkeys(found))


def draw(
    kind: str,
    result: Result,
    variables: Sequence[str] = (),
    others: Sequence[Result] = (),
    log: bool = False,
) -> Figure:
    """The chart. Raises ConfigError for an unknown kind or variable, and where the run does not have what it needs."""
    from ..validate import ConfigError

    problems = problems_of(kind, variables, len(others), log)
    if problems:
        raise ConfigError(problems)
    k = KINDS[kind]
    return k.draw(Asked(result, tuple(variables) or k.default, tuple(others), log))


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) < 2 else f"{', '.join(names[:-1])} or {names[-1]}"
