"""Watches: which variable of a path is worth a word, when, and in which words.

One table, WATCHES, in the order of flow; it names variables, not systems, so that it serves whatever systems an
economy has. The sentences look at other variables too, and leave out what they do not find.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .replay import Replayed

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Look:
    """What a sentence may look at: the variable watched, now and a month before, and all others by name.

    ``name`` is what the star of the watch's pattern stands for. A variable that is not there is NaN.
    """

    def __init__(self, replayed: Replayed, month: int, series: Array, name: str = "") -> None:
        self.replayed, self.month, self.name = replayed, month, name
        self.now, self.before = float(series[month]), float(series[month - 1])

    def __call__(self, variable: str, ago: int = 0) -> float:
        value = self.replayed.value(variable, self.month - ago) if self.month >= ago else None
        return math.nan if value is None or np.ndim(value) else float(value)

    def change(self, variable: str) -> float:
        """By how much it moved this month; what has no value before the first month began at nothing."""
        before = self(variable, 1)
        return self(variable) - (0.0 if math.isnan(before) else before)

    def rows(self, system: str, table: str) -> dict[str, Any]:
        """The rows of a system's table by name; none where it is not there."""
        found = self.replayed.economy.systems.get(system)
        return {r.name: r for r in getattr(found, table)} if found else {}


Say = Callable[[Look], str]
When = Callable[[Array], Mask]


@dataclass(frozen=True)
class Watch:
    """``variable``: ``system.name``, a star in it for a part that varies. ``when`` picks months of its values, of
    which the first is the start's: (months + 1,) to (months,). ``say``: the sentence; "" for none after all.

    ``neutral`` is the value before the first month where the variable is no state.
    """

    variable: str
    when: When
    say: Say
    neutral: float = math.nan


# ---- numbers
def figure(x: float, unit: str = "") -> str:
    """A number of three figures with its unit."""
    from .tables import number

    return f"{number(x, 3)} {unit}".rstrip()


def money(x: float) -> str:
    return figure(x, "USD bn")


def percent(x: float) -> str:
    return figure(100.0 * x, "%")


def change(log: float) -> str:
    """A change in logs as a signed percentage."""
    moved = math.expm1(log)
    return f"{'+' if moved > 0 else ''}{percent(moved)}"


def clause(text: str, *values: float, of: Callable[[float], str] = figure) -> str:
    """``text`` with the values in its braces; nothing where one is not known."""
    return "" if any(math.isnan(v) for v in values) else text.format(*map(of, values))


_NAMES = {
    "openai": "OpenAI", "xai": "xAI", "amd": "AMD", "coreweave": "CoreWeave", "nvidia": "NVIDIA",
    "hopper": "H100", "next": "the next generation",
}  # fmt: skip


def named(key: str) -> str:
    """A row's name as prose has it."""
    return _NAMES.get(key, key.replace("_", " ").capitalize())


def counted(n: float, one: str, many: str = "") -> str:
    """``1 loan``, ``3 loans``."""
    return f"{n:,.0f} {one if round(n) == 1 else many or one + 's'}"


# ---- when
def rises(by: float = 0.5) -> When:
    """Months in which the variable grows by more."""
    return lambda x: np.diff(x) > by


def moves(x: Array) -> Mask:
    """Months in which it changes at all."""
    return np.asarray(np.abs(np.diff(x)) > 0.0)


def crosses(*levels: float) -> When:
    """The first month in which it reaches each level."""

    def when(x: Array) -> Mask:
        top = np.maximum.accumulate(np.where(np.isnan(x), -np.inf, x))
        return np.asarray(sum((top[:-1] < v) & (top[1:] >= v) for v in levels) > 0)

    return when


def swings(low: float, high: float) -> When:
    """Months in which it comes to lie above ``high`` or below ``low`` after the other: wavering does not count."""

    def when(x: Array) -> Mask:
        found = np.zeros(len(x) - 1, bool)
        side = 0
        for i, v in enumerate(x):
            new = 1 if v > high else -1 if v < low else side
            if i and side and new != side:
                found[i - 1] = True
            side = new
        return found

    return when


def heaviest(count: int) -> When:
    """The months in which it grows most."""

    def when(x: Array) -> Mask:
        grown = np.diff(x)
        found = np.zeros(len(grown), bool)
        found[np.argsort(-grown, kind="stable")[:count]] = True
        return found & (grown > 0.0)

    return when


def positive(x: Array) -> Mask:
    return np.asarray(x[1:] > 0.0)


def starts_or_ends(least: float = 0.0) -> When:
    """Months in which it comes to lie above ``least``, or no longer does."""
    return lambda x: np.asarray((x[1:] > least) != (x[:-1] > least))


def falls_due(x: Array) -> Mask:
    """The month that the variable, itself a month, names."""
    month = np.arange(1, len(x))
    return np.asarray((month >= x[1:]) & (month - 1 < x[1:]))


def halves(x: Array) -> Mask:
    """The first months at or below a half of the first month's value, a quarter, an eighth."""
    low = np.minimum.accumulate(x[1:])
    steps = np.floor(-np.log2(np.maximum(low / x[1], 1e-9)))
    return np.asarray(np.diff(np.clip(steps, 0.0, None), prepend=0.0) > 0.0)


def below_a_year_before(x: Array) -> Mask:
    """The first month in which it is below its value of twelve months before."""
    found = np.zeros(len(x) - 1, bool)
    under = np.flatnonzero(x[12:] < x[:-12])
    found[under[:1] + 11] = True
    return found


# ---- what is said
def _forced(what: str, spell: Callable[[float], str], neutral: float = 0.0) -> Say:
    def say(c: Look) -> str:
        if c.now == neutral:
            return f"the forced event is over: {what} as usual"
        return f"forced: {what} {spell(c.now)}"

    return say


REGIMES = ("exponential", "linear", "stall")
WINDOWS = ("open", "tight", "shut")
PHASES = ("build-out", "late boom", "bust", "efficiency")


def state(names: tuple[str, ...], x: float) -> str:
    return names[min(max(round(x), 0), len(names) - 1)] if math.isfinite(x) else "unknown"


def _regime(c: Look) -> str:
    now, before = state(REGIMES, c.now), state(REGIMES, c.before)
    return f"growth of revenue turns from {before} to {now}" + clause(
        ", at {}", c("revenue.rate"), of=yearly
    )


def yearly(x: float) -> str:
    return figure(x, "USD bn a year")


def hourly(x: float) -> str:
    return f"{x:,.2f} USD/hour"


def _release(c: Look) -> str:
    return f"{named(c.name)} comes to market" + clause(" at {}", c(f"rental.{c.name}"), of=hourly)


def _halved(c: Look) -> str:
    return f"H100 falls to {hourly(c.now)}" + clause(
        ", {} of its start", c.now / c("rental.hopper_start"), of=percent
    )


def _war(c: Look) -> str:
    text = f"price war {c.now:.0f}" + clause(
        ": fair rentals {} by wars so far", c("rental.war"), of=change
    )
    return text + clause("; H100 at {}", c("rental.hopper"), of=hourly)


def _tightness(c: Look) -> str:
    text = "compute becomes ample" if c.now < 1.0 else "compute becomes short again"
    return text + clause(
        ": {} GW wanted, {} GW installed", c("compute.demand"), c("compute.installed")
    )


def _default(c: Look) -> str:
    late = c(f"firms.arrears_{c.name}", 1)
    forced = c(f"stress.default_{c.name}") > 0.5
    why = (
        ", as forced"
        if forced
        else f" after {counted(late, 'month')} in arrears"
        if late > 0.5
        else ""
    )
    row = c.rows("firms", "firm").get(c.name)
    owed = row.debt if c.month == 1 and row is not None else c(f"firms.debt_{c.name}", 1)
    text = f"{named(c.name)} defaults{why}" + clause(", owing {}", owed, of=money)
    return text + clause(
        "; {} lost on firm debt in all this month", c.change("firms.debt_loss"), of=money
    )


def _arrears(c: Look) -> str:
    if c.now > 0.0:
        return f"{named(c.name)} is in arrears" + clause(
            ", with {} in hand", c(f"firms.cash_{c.name}"), of=money
        )
    gone = c(f"firms.defaulted_{c.name}") > 0.5
    return (
        "" if gone else f"{named(c.name)} has paid its arrears, after {counted(c.before, 'month')}"
    )


_WIDE = 1000.0  # bp: distressed, as markets use the word


def _spread(c: Look) -> str:
    # what is no firm's spread but its start has no start of its own; what is in default has a spread no more
    known = math.isfinite(c(f"firms.spread_{c.name}_start"))
    if not known or c(f"firms.defaulted_{c.name}") > 0.5:
        return ""
    return f"{named(c.name)}'s credit spread passes {figure(_WIDE, 'bp')}, at {figure(c.now)}"


def _fire_sale(c: Look) -> str:
    text = f"{counted(c.now, 'GPU loan')} in breach or called"
    sold, later, lost = c("gpu_loans.sold"), c("gpu_loans.sold_round2"), c.change("gpu_loans.loss")
    if not sold > 0.0:
        return f"{text}; cured with cash"
    text += f"; {counted(c('gpu_loans.rounds'), 'round')} of forced sales, {sold:,.0f} GPUs"
    text += f", {later:,.0f} of them as prices gave way" if later > 0.0 else ""
    return text + (clause("; lenders lose {}", lost, of=money) if lost > 0.0 else "")


def _credit_month(c: Look) -> str:
    n = c.change("private_credit.defaults")
    text = f"private credit loses {money(c.now - c.before)}"
    text += clause(
        ", {} of what is lent", (c.now - c.before) / c("private_credit.lent"), of=percent
    )
    return text + (f"; {counted(n, 'loan')} default" if n > 0.0 else "")


def _credit_share(c: Look) -> str:
    return f"private credit has lost {percent(c.now)} of what was lent" + clause(
        ", {}", c("private_credit.loss"), of=money
    )


def _tranche(c: Look) -> str:
    row = c.rows("structured", "tranche").get(c.name)
    rated = f" ({row.rating})" if row is not None and row.rating else ""
    if c.now >= _WHOLE:
        return f"the tranche {c.name}{rated} is wiped out"
    return f"the tranche {c.name}{rated} is written down, by {percent(c.now)} so far"


_HIT, _WHOLE = 1e-6, 0.999
_DUST = 0.01  # USD bn of interest, which a month later is mostly paid


def _unpaid_interest(c: Look) -> str:
    if c.now > _DUST:
        return f"tranches are left {money(c.now)} of interest short"
    return "the tranches' interest is paid up"


def _exit(c: Look) -> str:
    leaving = counted(
        c.now - c.before, "sponsor leaves a leased site", "sponsors leave leased sites"
    )
    return leaving + _site_losses(c)


def _site_default(c: Look) -> str:
    empty = counted(
        c.now - c.before, "leased site loses its tenant", "leased sites lose their tenants"
    )
    return f"{empty} to default{_site_losses(c)}"


def _site_losses(c: Look) -> str:
    paid, lost = c.change("structured.guarantees_paid"), c.change("structured.spv_loss")
    if not paid > 0.0 and not lost > 0.0:
        return "; its worth covers the debt"
    return clause("; guarantees pay {}, lenders lose {}", paid, lost, of=money)


def _systemic(c: Look) -> str:
    over = [
        (share, h.name)
        for h in c.rows("holders", "holder").values()
        if h.capital > 0.0 and (share := c(f"holders.capital_lost_{h.name}")) > h.threshold
    ]
    who = "".join(
        f"; {named(n).lower()} have lost {percent(share)} of their capital"
        for share, n in sorted(over)[::-1]
    )
    return "systemic event" + who


def _window(c: Look) -> str:
    text = f"funding turns from {state(WINDOWS, c.before)} to {state(WINDOWS, c.now)}"
    forced = c("stress.window")
    text += ", as forced" if c.now > 0.5 and forced >= c.now else ""
    text += clause("; credit spread {}", c("funding.spread"), of=percent)
    return text + clause(", AI equity {} under its peak", c("funding.drawdown"), of=percent)


def _jump(c: Look) -> str:
    return f"credit spreads jump {change(c.now - c.before)}" + clause(
        ", to {}", c("funding.spread"), of=percent
    )


def _bust(c: Look) -> str:
    price = math.exp(c("rental.log_per_kw")) / c("cycle.peak")
    text = "the bust begins" + clause(
        ": rentals per kW at {} of their faded peak", price, of=percent
    )
    shut = c("funding.shut_run")
    return text + (f", funding shut for {counted(shut, 'month')}" if shut > 0.5 else "")


def _phase(c: Look) -> str:
    now = state(PHASES, c.now)
    if now == "bust":
        return ""  # told by cycle.bust
    if now == "efficiency":
        return "the bust is over: the years of efficiency begin" + clause(
            ", break-even rentals at {} of the start", c("cycle.breakeven"), of=percent
        )
    return f"the {now}" + clause(
        ": {} of capex from outside debt", c("firms.outside_share"), of=percent
    )


WATCHES: tuple[Watch, ...] = (
    Watch("stress.rental", moves, _forced("fair rentals", change), 0.0),
    Watch("stress.rental_*", moves, lambda c: _forced(f"fair rentals of {named(c.name)}", change)(c), 0.0),
    Watch("stress.demand", moves, _forced("demand for compute", change), 0.0),
    Watch("stress.power", moves, _forced("power that can be built", change), 0.0),
    Watch("stress.renewals", moves, _forced("renewals", lambda x: f"at {percent(x)} of usual", 1.0), 1.0),
    Watch("stress.rate", moves, _forced("the short rate", lambda x: f"{1e4 * x:+,.0f} bp"), 0.0),
    Watch("stress.spread", moves, _forced("credit spreads", change), 0.0),
    Watch("stress.window", moves, _forced("funding", lambda x: f"no better than {state(WINDOWS, x)}"), 0.0),
    Watch("stress.recall", positive, _forced("lenders call", lambda x: f"{percent(x)} of private loans"), 0.0),
    Watch("revenue.regime", moves, _regime),
    Watch("revenue.rate", crosses(200.0, 400.0, 800.0, 1600.0), lambda c: f"revenue reaches {yearly(c.now)}"),
    Watch("compute.tightness", swings(0.95, 1.1), _tightness),
    Watch("rental.release_*", falls_due, _release),
    Watch("rental.hopper", halves, _halved),
    Watch("rental.wars", rises(), _war),
    Watch("fleet.impairment", rises(1.0), lambda c: f"chips written down by {money(c.now - c.before)} (IFRS)"),
    Watch("firms.defaulted_*", rises(), _default, 0.0),
    Watch("firms.arrears_*", starts_or_ends(), _arrears, 0.0),
    Watch("firms.spread_*", crosses(_WIDE), _spread),
    Watch("firms.state_support", rises(0.0), lambda c: f"the state pays {money(c.now - c.before)} of support"),
    Watch("gpu_loans.breaches", positive, _fire_sale, 0.0),
    Watch("private_credit.loss", heaviest(5), _credit_month, 0.0),
    Watch("private_credit.loss_share", crosses(0.05, 0.10, 0.20, 0.30, 0.40), _credit_share, 0.0),
    Watch("structured.writedown_*", crosses(_HIT, _WHOLE), _tranche, 0.0),
    Watch("structured.abs_owed", starts_or_ends(_DUST), _unpaid_interest, 0.0),
    Watch("structured.exits", rises(), _exit),
    Watch("structured.spv_defaults", rises(), _site_default),
    Watch("holders.systemic", rises(), _systemic),
    Watch("funding.window", moves, _window),
    Watch("funding.log_spread", rises(0.3), _jump),
    Watch("funding.drawdown", crosses(0.3, 0.5), lambda c: f"AI equity is {percent(c.now)} under its peak"),
    Watch("macro.gdp", below_a_year_before, lambda c: "US output is below that of a year before", 1.0),
    Watch("cycle.bust", rises(), _bust),
    Watch("cycle.phase", moves, _phase),
)  # fmt: skip
"""By system, in the order of flow."""
