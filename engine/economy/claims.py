"""Claims: what both sides say will happen, each as an event on a path."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from ...kernels.ops import kind_of
from ...kernels.symbol import TraceError
from ...kernels.trace import trace
from ..system import Economy, Output, Row, Rows, System, rows, setting, table
from ..validate import ConfigError, near, shown
from .claim_language import ClaimError, Variable, months_needed, parse, variables
from .claim_states import Evaluation, Machine


class Claim(Row):
    """A claim. Its event, and what it is conditional on, are written in the language of claims."""

    number = setting("", "its number in the list of claims")
    title = setting("", "the claim in a few words")
    event = setting("", "what has to happen on a path for the claim to hold")
    given = setting(
        "", "a second event: the claim's probability is also shown where this one happens"
    )
    given_title = setting("", "that one in a few words")
    forced = setting(
        "", "an event of stress that is switched on for this claim, which gets a run of its own"
    )
    source = setting("", "who makes the claim")
    note = setting("", "how the claim was made exact, and what was left out")

    def texts(self) -> dict[str, str]:
        """The events by field."""
        found = {"event": self.event}
        return found | {"given": self.given} if self.given else found


class UnknownVariables(ConfigError):
    """Claims read what no system gives; ``claims`` are their names."""

    def __init__(self, problems: dict[str, list[str]]) -> None:
        super().__init__([line for lines in problems.values() for line in lines])
        self.claims = frozenset(problems)


def line(claim: Claim, field: str, what: str) -> str:
    """A problem of an event, in one line."""
    return f"claims.claim.{claim.name}.{field} = {shown(getattr(claim, field))}: {what}"


_FEW = 24  # variables of a system that a message lists
_SHIPPED = table(Claim, "claims.csv")


class Claims(System):
    """For each claim, whether it holds on the path: 1 or 0, after the last month.

    A claim that names months beyond the horizon is left out, and so is one with a forced event: it is for a
    run of its own.
    """

    on_request = True
    title = "both sides put to the test"

    claim = rows(Claim, _SHIPPED, "each row says who makes the claim", least=0)

    def check(self) -> list[str]:
        from . import SYSTEMS  # here: this system is one of them

        systems = [s for s in SYSTEMS if s != self.key()]
        return self._unreadable() + [
            line(c, field, f"{s} is no system{near(s, systems)}")
            for c, field, tree in self._trees()
            for s in sorted({v.system for v in variables(tree)}.difference(systems))
        ]

    def _unreadable(self) -> list[str]:
        problems = []
        names = {c.name for c in self.claim}
        for c in self.claim:
            if c.given and f"{c.name}_given" in names:
                problems.append(
                    f"claims.claim.{c.name}_given: is what {c.name} is conditional on; another name is needed"
                )
            for field, text in c.texts().items():
                try:
                    parse(text)
                except ClaimError as error:
                    problems.append(line(c, field, str(error)))
        return problems

    def _trees(self) -> Iterator[tuple[Any, str, Any]]:
        """Claim, field and tree of every event that can be read."""
        for c in self.claim:
            for field, text in c.texts().items():
                with suppress(ClaimError):
                    yield c, field, parse(text)

    def needs(self) -> tuple[str, ...]:
        from . import SYSTEMS

        read = {v.system for _, _, tree in self._trees() for v in variables(tree)}
        if any(c.forced for c in self.claim):
            read.add("stress")
        return tuple(s for s in SYSTEMS if s in read)

    def fits(self, others: dict[str, System]) -> list[str]:
        events = [e.name for e in getattr(others.get("stress"), "event", [])]
        problems = [
            line(c, "forced", f"should be an event of stress{near(c.forced, events)}")
            for c in self.claim
            if c.forced and c.forced not in events
        ]
        shipped = {r["name"]: (r["event"], r.get("given", "")) for r in _SHIPPED}
        edited = any(shipped.get(c.name) != (c.event, c.given) for c in self.claim)
        return problems + self._unknown(others) if edited or _other_rows(others) else problems

    def _unknown(self, others: dict[str, System]) -> list[str]:
        """What a month, traced, finds to be no variable.

        It takes a moment, so nothing is traced where claims, firms, generations and all else have the names that
        ship.
        """
        all_claims = Claims._trusted(self._values)
        all_claims._values["claim"] = [_natural(c) for c in self.claim]
        all_claims.months = max(map(needed, self.claim), default=1)
        try:
            trace(Economy(*(others | {Claims.key(): all_claims}).values()), float64=False)
        except UnknownVariables as error:
            return error.problems
        except (ConfigError, TraceError, ArithmeticError, ValueError):
            return []  # of another system: found where its values are checked, or when it runs
        return []

    @property
    def asked(self) -> list[Any]:
        """The claims that a run over the horizon answers."""
        return [c for c in self.claim if not c.forced and needed(c) <= self.months]

    def outputs(self) -> dict[str, Output]:
        found = {}
        for c in self.asked:
            found[c.name] = Output("probability", c.title, series=False)
            if c.given:
                found[f"{c.name}_given"] = Output("probability", c.given_title, series=False)
        return found

    def prepare(self) -> dict[str, Any]:
        if problems := self._unreadable():
            raise ConfigError(problems)
        self.machine = Machine([parse(text) for c in self.asked for text in c.texts().values()])
        return {}

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        start: dict[str, Any] = self.machine.start()
        return start

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        values = self._read(xp, up)
        month = Evaluation(self.machine, xp, s, values.__getitem__, up.month)
        found = {}
        for c in self.asked:
            for field, text in c.texts().items():
                key = c.name if field == "event" else f"{c.name}_given"
                found[key] = xp.where(month.truth(parse(text)).yes, 1.0, 0.0)
        return month.new | found

    def _read(self, xp: Any, up: Any) -> dict[Variable, Any]:
        """The variables' values this month. Raises UnknownVariables, with a line for each."""
        values: dict[Variable, Any] = {}
        problems: dict[str, list[str]] = {}
        for c in self.asked:
            for field, text in c.texts().items():
                for v in sorted(variables(parse(text)), key=lambda v: (v.system, v.name)):
                    wrong = _missing(up, v)
                    if wrong:
                        problems.setdefault(c.name, []).append(line(c, field, wrong))
                    elif v not in values:
                        values[v] = _number(xp, getattr(getattr(up, v.system), v.name))
        if problems:
            raise UnknownVariables(problems)
        return values


def _other_rows(others: dict[str, System]) -> bool:
    """Whether a table has other rows than those that ship: rows become variables."""
    return any(
        [r.name for r in getattr(system, name)] != [r["name"] for r in declared.default]
        for key, system in others.items()
        if key != Claims.key()
        for name, declared in system.fields.items()
        if isinstance(declared, Rows)
    )


def needed(claim: Any) -> int:
    """The shortest run that decides a claim, in months."""
    return max(months_needed(parse(text)) for text in claim.texts().values())


def _natural(claim: Any) -> Any:
    """The claim without its forced event."""
    return Claim._trusted(claim.values() | {"forced": ""})


def _missing(up: Any, v: Variable) -> str:
    """Why a variable cannot be read; empty if it can."""
    systems = [s for s in dir(up) if s not in ("month", Claims.key())]
    if v.system not in systems:
        return f"there is no system {v.system} here{near(v.system, systems)}"
    there = dir(getattr(up, v.system))
    if v.name not in there:
        return f"{v.system} gives no {v.name}{near(v.name, there, listed=len(there) <= _FEW)}"
    if _kind(getattr(getattr(up, v.system), v.name)) not in ("f", "i", "m"):
        return f"{v.system}.{v.name} is a table of its own, not a number a month"
    return ""


def _kind(x: Any) -> str:
    """f real, i integer, m mask: of a traced value, an array, or a plain number; else another letter."""
    traced = getattr(x, "value", None)
    if traced is not None:
        return "a" if traced.length else str(traced.kind)
    if not hasattr(x, "dtype"):
        return kind_of(x)
    return "a" if x.ndim == 2 else {"b": "m", "i": "i", "f": "f"}.get(x.dtype.kind, "u")


def _number(xp: Any, x: Any) -> Any:
    """A real of a value of any kind."""
    if not hasattr(x, "dtype") and not hasattr(x, "value"):
        return float(x)
    kind = _kind(x)
    return xp.to_real(x) if kind == "i" else xp.where(x, 1.0, 0.0) if kind == "m" else x
