"""Fleet: what GPUs stand in the books at, and what they are worth."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..system import DT, MAX_MONTHS, Output, Row, System, output, parameter, rows, setting, table
from ..validate import near, shown

HOURS = 8766.0  # of a year
PAST_YEARS = 6  # vintages that stand in the books at the start
YEARS = PAST_YEARS + MAX_MONTHS // 12
OLDEST = 8  # years after which a vintage is out of the books and the halls


class Chip(Row):
    """A generation of chips, as ``rental.generation`` names it: what a unit cost, fetches and needs."""

    unit_cost = parameter(30_000.0, "USD", "assumption: with its share of server and network", gt=0)
    resale_start = parameter(
        20_000.0, "USD", "assumption: a used unit today, or when it will be sold", gt=0
    )
    opex = parameter(0.35, "USD/GPU-hour", "assumption: power, cooling, staff", gt=0)
    age_start = parameter(0.0, "year", "assumption: of the pledged units at the start", le=OLDEST)
    source = setting("", "where the figures come from")


class Fleet(System):
    """Vintages of chips by year and generation: gross and net book, value in use, impairment.

    A unit is worth V = a (1 - e^(-(r+d) n))/(r+d) - c (1 - e^(-r n))/r with a = 8766 u tier P a year of rentals,
    c = 8766 opex, d the expected price decline and n = min(remaining life, ln(a/c)/d): until it no
    longer earns its running cost. Under IFRS a vintage is written down to V; under ASC 360 only where its
    undiscounted cash flows fall short of book. Vintages are tested at each year's end.
    """

    title = "depreciation, and what a GPU is worth"
    reads = ("compute", "rental")

    chip = rows(Chip, table(Chip, "chips.csv"), "each row says where its figures come from")
    life_old = parameter(4.0, "year", "fact: accounting_life_old", gt=0, le=OLDEST)
    life_new = parameter(6.0, "year", "fact: accounting_life_new", gt=0, le=OLDEST)
    technical_life = parameter(7.0, "year", "fact: technical_life_seen", gt=0, le=OLDEST)
    tier = parameter(
        [1.0, 0.85, 0.70],
        "share",
        "assumption: of the list rental that newest, previous and older chips realise; a third of a "
        "well-run fleet is each (fleet_mix_newest)",
        ge=0,
        le=1,
    )
    ramp = parameter(
        1.0, "year", "assumption: that a new generation takes to fill a fleet's first tier", gt=0
    )
    discount = parameter(0.12, "1/year", "assumption: a neocloud's cost of capital", gt=0)
    decline = parameter(
        0.20, "1/year", "assumption: fall of rentals that buyers of used chips expect", gt=0
    )
    scrap = parameter(0.03, "share", "assumption: of cost, for parts", ge=0, le=1)
    chip_share = parameter(0.6, "share", "assumption: of capex that is chips", gt=0, le=1)
    past_growth = parameter(0.70, "1/year", "assumption: of chip spending before the start", ge=0)
    spend_2025 = parameter(400.0, "USD bn/year", "fact: datacenter_spend_2025", gt=0)

    book = output("USD bn", "net book of chips, world, by the longer life", metric=False)
    earnings_added = output("USD bn", "earnings that the longer life has added since the start")
    impairment = output("USD bn", "written off under IFRS since the start")
    impairment_us = output("USD bn", "written off under ASC 360 since the start", series=False)
    margin_hopper = output(
        "USD/GPU-hour", "what the oldest generation earns over its running cost", metric=False
    )

    def outputs(self) -> dict[str, Output]:
        found = super().outputs()
        for c in self.chip:
            found[f"resale_{c.name}"] = Output(
                "USD", f"a used {c.name} unit", metric=False, series=c.age_start >= 0
            )
        return found

    def fits(self, others: dict[str, System]) -> list[str]:
        known = [g.name for g in others["rental"].generation] if "rental" in others else []
        have = [c.name for c in self.chip]
        return [
            f"fleet.chip: no row for the generation {shown(n)}; add [[fleet.chip]] name = {shown(n)}"
            for n in known
            if n not in have
        ] + [
            f"fleet.chip.{n}: no such generation in rental.generation{near(n, known)}"
            for n in have
            if known and n not in known
        ]

    def prepare(self) -> dict[str, Any]:
        age = PAST_YEARS - 1 - np.arange(PAST_YEARS)
        gross = self.chip_share * self.spend_2025 * np.exp(-self.past_growth * age)
        return {
            "newest_start": float(sum(c.age_start >= 0 for c in self.chip) - 1),
            "past": np.concatenate([gross, np.zeros(YEARS - PAST_YEARS)]),
            "unit_cost": np.array([c.unit_cost for c in self.chip]),
            "chip_opex": np.array([c.opex for c in self.chip]),
        }

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        gross = xp.loop(
            0, PAST_YEARS, lambda k, a: {"g": xp.set(a.g, k, self.past[k])}, g=xp.array(YEARS, 0.0)
        ).g
        return {
            "gross": gross,
            "made_of": xp.array(YEARS, 0.0),
            "newest": self.newest_start,
            "written": xp.array(YEARS, 0.0),
            "written_us": xp.array(YEARS, 0.0),
            "impairment": 0.0,
            "impairment_us": 0.0,
            "earnings_added": 0.0,
            "book": 0.0,
        }

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        month = up.month
        year = self._year(xp, month)
        bought = self.chip_share * up.compute.capex * DT
        gross = xp.set(s.gross, year, xp.get(s.gross, year) + bought)
        made_of = xp.set(s.made_of, year, up.rental.newest_index)
        # a new generation takes a while to be everywhere: it displaces the others as it ramps
        ramp = 1.0 - xp.exp(-DT / self.ramp)
        newest = s.newest + (up.rental.newest_index - s.newest) * ramp
        books = self._close_year(xp, s, up, gross, made_of, year, newest)

        used: dict[str, Any] = {}
        years = xp.to_real(month) * DT
        hours = HOURS * up.compute.utilisation
        for i, c in enumerate(self.chip):
            tier = self._tier(xp, newest - float(i))
            price = getattr(up.rental, c.name)
            left = self.technical_life - xp.maximum(c.age_start + years, 0.0)
            now = self._worth(xp, hours * tier * price, c.opex, left, c.unit_cost)
            start = self._worth_start(xp, up, c, i)
            used[f"resale_{c.name}"] = c.resale_start * now / start
            if i == 0:
                used["margin_hopper"] = price * up.compute.utilisation * tier - c.opex
        return {**books, "newest": newest, "made_of": made_of, "gross": gross, **used}

    def _year(self, xp: Any, month: Any) -> Any:
        return PAST_YEARS + xp.to_int(xp.floor((xp.to_real(month) - 1.0) / 12.0))

    def _tier(self, xp: Any, behind: Any) -> Any:
        """What a chip realises with so many newer generations on the market, straight between whole numbers."""
        new, previous, older = self.tier
        first, second = xp.clip(behind, 0.0, 1.0), xp.clip(behind - 1.0, 0.0, 1.0)
        return new + (previous - new) * first + (older - previous) * second

    def _worth(self, xp: Any, earned: Any, opex: Any, left: Any, cost: Any) -> Any:
        """V of a unit in USD; ``earned`` a year at today's rental, ``left`` years of life."""
        r, d = self.discount, self.decline
        run = HOURS * opex
        n = xp.maximum(xp.minimum(left, xp.log(earned / run) / d), 0.0)
        fade, paid = xp.exp(-d * n), xp.exp(-r * n)
        value = earned * (1.0 - fade * paid) / (r + d) - run * (1.0 - paid) / r
        return xp.maximum(value, self.scrap * cost)

    def _undiscounted(self, xp: Any, earned: Any, opex: Any, left: Any) -> Any:
        d, run = self.decline, HOURS * opex
        n = xp.maximum(xp.minimum(left, xp.log(earned / run) / d), 0.0)
        return earned * (1.0 - xp.exp(-d * n)) / d - run * n

    def _worth_start(self, xp: Any, up: Any, c: Any, i: int) -> Any:
        """The same at the start, when chips to come are at their launch: what resale_start refers to."""
        left = self.technical_life - xp.maximum(c.age_start, 0.0)
        behind = up.rental.newest_index0 - float(i)
        earned = HOURS * up.compute.utilisation0 * self._tier(xp, behind)
        return self._worth(
            xp, earned * getattr(up.rental, f"{c.name}_start"), c.opex, left, c.unit_cost
        )

    def _close_year(
        self, xp: Any, s: Any, up: Any, gross: Any, made_of: Any, year: Any, newest: Any
    ) -> dict[str, Any]:
        """At a year's end: depreciation of the year and the impairment tests, vintage by vintage."""
        ends = xp.clock(up.month, 12) == 0
        first = xp.where(ends, xp.maximum(year - OLDEST, 0), 0)
        last = xp.where(ends, year + 1, 0)
        hours = HOURS * up.compute.utilisation

        def vintage(k: Any, a: Any) -> dict[str, Any]:
            spent, kind = xp.get(gross, k), xp.get(made_of, k)
            age = xp.to_real(year - k) + 0.5  # bought in mid-year, tested at its end
            price: Any = getattr(up.rental, self.chip[0].name)
            for i, c in enumerate(self.chip[1:], start=1):
                price = xp.where(kind > i - 0.5, getattr(up.rental, c.name), price)
            index = xp.to_int(kind)
            cost, opex = self.unit_cost[index], self.chip_opex[index]
            left = xp.maximum(self.technical_life - age, 0.0)
            earned = hours * self._tier(xp, newest - kind) * price
            worth = spent * (self._worth(xp, earned, opex, left, cost) / cost)
            flows = spent * (self._undiscounted(xp, earned, opex, left) / cost)
            plain = spent * xp.maximum(1.0 - age / self.life_new, 0.0)
            was, was_us = xp.get(a.written, k), xp.get(a.written_us, k)
            off = xp.maximum(plain - was - worth, 0.0)
            held_us = plain - was_us
            off_us = xp.where(flows < held_us, xp.maximum(held_us - worth, 0.0), 0.0)
            # a write-down is then depreciated with the rest: by the next test it shrinks with the life left
            shrink = xp.maximum(1.0 - (age + 1.0) / self.life_new, 0.0) / xp.maximum(
                1.0 - age / self.life_new, 0.05
            )
            return {
                "written": xp.set(a.written, k, (was + off) * shrink),
                "written_us": xp.set(a.written_us, k, (was_us + off_us) * shrink),
                "lost": a.lost + off,
                "lost_us": a.lost_us + off_us,
                "added": a.added
                + spent
                * (self._charge(xp, age, self.life_old) - self._charge(xp, age, self.life_new)),
                "net": a.net + xp.maximum(plain - was - off, 0.0),
            }

        done = xp.loop(
            first, last, vintage,
            written=s.written, written_us=s.written_us, lost=s.impairment, lost_us=s.impairment_us,
            added=s.earnings_added, net=0.0,
        )  # fmt: skip
        return {
            "written": done.written,
            "written_us": done.written_us,
            "impairment": done.lost,
            "impairment_us": done.lost_us,
            "earnings_added": done.added,
            "book": xp.where(ends, done.net, s.book),
        }

    def _charge(self, xp: Any, age: Any, life: Any) -> Any:
        """A year's straight-line depreciation, per dollar of cost, in the year that ends at ``age``."""
        since = xp.maximum(age - 1.0, 0.0)
        return xp.maximum(xp.minimum(age, life) - since, 0.0) / life
