"""Stress: events that a scenario forces on the economy, each in its month, with a size and a probability."""

from __future__ import annotations

from typing import Any

from ..system import MAX_MONTHS, Row, System, parameter, rows, setting, table
from ..validate import near, shown

WHAT = (
    "rental", "demand", "power", "renewals", "rate", "spread", "window", "recall", "default",
)  # fmt: skip
TARGETED = {"rental": "a generation of rental, or nothing for all", "default": "a firm"}


class Event(Row):
    """One event. Rows ship switched off; a scenario, or ``--event NAME@MONTH``, switches them on."""

    on = setting(False, "whether the event is part of the scenario")
    what = setting(
        "rental",
        "what it moves: log of the fair rental; log of demand; log of the power that can be built; multiplier of "
        "the renewal share; short rate a year; log of the credit spread; funding window (0, 1, 2) at least; "
        "share of private loans called; default of the target firm",
        choices=WHAT,
    )
    target = setting("", "a generation (rental) or a firm (default)")
    month = setting(12, "its first month", ge=1, le=MAX_MONTHS)
    lasting = setting(1, "for how many months", ge=1, le=MAX_MONTHS)
    size = parameter(0.0, "of its kind", "assumption: the event's own", ge=-5, le=5)
    probability = parameter(
        1.0, "probability", "assumption: forced, unless said otherwise", ge=0, le=1
    )
    source = setting("", "where the event comes from")


_SIZES = {
    "renewals": (0.0, 1.2, "a multiplier from 0 to 1.2"),
    "window": (0.0, 2.0, "0 (open), 1 (tight) or 2 (shut)"),
    "recall": (0.0, 1.0, "a share from 0 to 1"),
    "rate": (-0.1, 0.2, "a change of the annual rate from -0.1 to 0.2"),
}


class Stress(System):
    """What forced events add to this month: shifts that the other systems read, nothing where none is on."""

    title = "forced events"

    event = rows(Event, table(Event, "events.csv"), "each row says where it comes from")

    def check(self) -> list[str]:
        problems = []
        for e in self.event:
            where = f"stress.event.{e.name}"
            if e.on and e.month > self.months:
                problems.append(
                    f"{where}.month = {e.month}: after the horizon; should be at most {self.months}"
                )
            if e.target and e.what not in TARGETED:
                problems.append(
                    f"{where}.target = {shown(e.target)}: an event of {e.what!r} has none; should be empty"
                )
            if e.what == "default" and not e.target:
                problems.append(f"{where}.target = '': should be a firm")
            low, high, wanted = _SIZES.get(e.what, (-5.0, 5.0, ""))
            part = e.what == "window" and e.size != int(e.size)
            if part or not low <= e.size <= high:
                problems.append(f"{where}.size = {e.size}: should be {wanted}")
        return problems

    def fits(self, others: dict[str, System]) -> list[str]:
        problems = []
        for e in self.event:
            source = {"rental": ("rental", "generation"), "default": ("firms", "firm")}.get(e.what)
            if not e.on or not e.target or source is None:
                continue
            system = others.get(source[0])
            known = [r.name for r in getattr(system, source[1])] if system else []
            if e.target not in known:
                problems.append(
                    f"stress.event.{e.name}.target = {shown(e.target)}: should be {TARGETED[e.what]}"
                    f"{near(e.target, known)}"
                )
        return problems

    @property
    def active(self) -> list[Any]:
        return [e for e in self.event if e.on]

    def prepare(self) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for e in self.active:
            made |= {f"first_{e.name}": e.month, f"end_{e.name}": e.month + e.lasting}
        return made

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        felt: dict[str, Any] = {
            "rental": 0.0, "demand": 0.0, "power": 0.0, "renewals": 1.0, "rate": 0.0, "spread": 0.0,
            "window": 0.0, "recall": 0.0,
        }  # fmt: skip
        for e in self.active:
            first, end = getattr(self, f"first_{e.name}"), getattr(self, f"end_{e.name}")
            happens = draw.once.uniform(f"happens_{e.name}") < e.probability
            now = happens & (up.month >= first) & (up.month < end)
            key = e.what if not e.target else f"{e.what}_{e.target}"
            if e.what == "default":
                felt[key] = xp.where(happens & (up.month == first), 1.0, felt.get(key, 0.0))
            elif e.what == "window":
                felt[key] = xp.where(now, xp.maximum(e.size, felt[key]), felt[key])
            elif e.what == "renewals":
                felt[key] = felt[key] * xp.where(now, e.size, 1.0)
            elif e.what == "recall":  # what one call leaves, another may call
                felt[key] = felt[key] + (1.0 - felt[key]) * xp.where(now, e.size, 0.0)
            else:
                felt[key] = felt.get(key, 0.0) + xp.where(now, e.size, 0.0)
        return felt
