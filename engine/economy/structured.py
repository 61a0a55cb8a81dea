"""Structured finance: asset-backed securities by tranche, and leased sites whose tenant may leave.

A pool's loans are alike, so it needs no loan list: their uniforms come as order statistics, A_1 = E/n,
A_{k+1} = A_k + E/(n - k), U_(k) = 1 - e^-A_k, one at a time as they are passed. As in private_credit,
U < p(t) is turned round into a threshold for the pool's cumulative hazard, so that a month costs a comparison
and only a default costs the normal distribution.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..system import DT, Output, System, output, parameter, rows, setting, table
from ..validate import ConfigError, near, shown
from .abs_pool import Pool, Tranche, check_pools
from .leased_site import (
    WIDTH,
    Spv,
    check_site,
    exit_dates,
    guarantee_due,
    leaves,
    schedules,
    site_value,
)
from .thresholds import NEVER, gaussian_threshold
from .waterfall import tranche_loss, waterfall

_DRAWS = 1 << 16  # blocks of the stream that a pool may use
_HIT = 1e-6  # of its notional: below it a tranche lost nothing
_TOTALS = ("spv_loss", "exits", "spv_defaults", "guarantees_paid")


class Structured(System):
    """Pools of loans cut into tranches, and special-purpose vehicles that own what a sponsor rents.

    Given the path and the factor M of private_credit, a loan of a pool has defaulted by t with probability
    Phi((Phi^-1(1 - e^-Lambda) - sqrt(rho) M) / sqrt(1 - rho)); Lambda grows monthly by the pool's hazard
    times exp(clip(beta . y)). The cash goes down ``waterfall``. With stress off y = 0, M is the system's
    own, sponsors stay, and the system reads no other: the textbook.

    At an exit date a sponsor leaves iff PV(rent left) > PV(market rent) + min(cap, max(0, debt - value)). The rent
    repays the whole cost at the debt's rate over the term; rent left counts to the next exit date; the market's
    rent stays where it is. Its own default ends the lease too, and then it honours a part of the guarantee.
    """

    title = "SPVs and asset-backed securities"
    reads = ("compute", "rental", "firms", "private_credit", "funding")

    pool = rows(Pool, table(Pool, "abs_pools.csv"), "each row says where it comes from")
    tranche = rows(Tranche, table(Tranche, "abs_tranches.csv"), "each row says where it comes from")
    spv = rows(Spv, table(Spv, "spvs.csv"), "each row says where it comes from")
    stress = setting(
        True, "whether rentals, spreads, the window and sponsors act; false: the textbook"
    )
    hazard_bounds = parameter(
        [-1.5, 2.5], "log", "assumption: least and most that stress moves a hazard"
    )
    cover = parameter(
        1.0, "share", "assumption: of a month's excess spread, to cover its loss first", ge=0, le=1
    )
    chip_life = parameter(6.0, "year", "fact: accounting_life_new", gt=0)
    shell_life = parameter(30.0, "year", "assumption: of buildings and power, straight line", gt=0)
    shell_elasticity = parameter(
        0.5, "1", "assumption: half of a fall in site rents; others want the power", ge=0, le=2
    )
    sale_cost = parameter(0.10, "share", "assumption: of a site's value, sold in haste", ge=0, lt=1)
    sponsor_recovery = parameter(
        0.30, "share", "assumption: of its guarantee that a sponsor in default pays", ge=0, le=1
    )

    abs_loss = output("USD bn", "written down on tranches so far")
    abs_owed = output("USD bn", "interest of tranches left unpaid", metric=False, series=False)
    senior_hit = output("0 or 1", "whether any pool's most senior tranche was written down")
    spv_loss = output("USD bn", "lost on the debt of leased sites so far")
    spv_debt = output("USD bn", "debt of leased sites outstanding, without what gpu_loans holds")
    exits = output("count", "sponsors that left at an exit date", series=False)
    guarantees_paid = output("USD bn", "paid by sponsors on guarantees so far", series=False)

    def outputs(self) -> dict[str, Output]:
        found = super().outputs()
        if self.stress:
            found["hidden"] = Output(
                "ratio", "SPV debt, guarantees and take-or-pay over the debt that firms report"
            )
        for t in self.tranche:
            found[f"writedown_{t.name}"] = Output(
                "share", f"of the notional of {t.name}, written down so far", series=False
            )
        for t in self.tranche:
            if t.promised > 0:
                promise = f"{t.rating} promises {t.promised:.4g} in five years"
                found[f"hit_{t.name}"] = Output(
                    "0 or 1",
                    f"whether {t.name} was written down; {promise}",
                    metric=False,
                    series=False,
                )
        for v in self.spv:
            if not v.linked:
                found[f"loss_{v.name}"] = Output(
                    "USD bn", f"lost on {v.name} so far", metric=False, series=False
                )
        return found

    def needs(self) -> tuple[str, ...]:
        return self.reads if self.stress else ()

    # ---- what may be wrong
    def check(self) -> list[str]:
        low, high = self.hazard_bounds
        problems = []
        if low >= high:
            problems.append(
                f"structured.hazard_bounds = {self.hazard_bounds}: the first should be the lower one"
            )
        problems += check_pools(self.pool, self.tranche)
        for v in self.spv:
            problems += check_site(v)
        pools = {p.name for p in self.pool}
        for table_, found in (("tranche", self.tranche), ("spv", self.spv)):
            problems += [
                f"structured.{table_}.{r.name}: {r.name!r} is a pool as well; another name is needed"
                for r in found
                if r.name in pools
            ]
        return problems

    def fits(self, others: dict[str, System]) -> list[str]:
        if "firms" not in others:
            return []
        firms = [f.name for f in others["firms"].firm]
        return [
            f"structured.spv.{v.name}.sponsor = {shown(v.sponsor)}: should be a firm{near(v.sponsor, firms)}"
            for v in self.spv
            if v.sponsor not in firms
        ]

    # ---- what the host prepares
    def prepare(self) -> dict[str, Any]:
        if problems := self.check():
            raise ConfigError(problems)
        order = sorted(range(len(self.tranche)), key=lambda i: -self.tranche[i].attach)
        self.stacks = {
            p.name: [i for i in order if self.tranche[i].pool == p.name] for p in self.pool
        }
        self.pool_of = {t.name: [p.name for p in self.pool].index(t.pool) for t in self.tranche}
        self.sponsors = sorted({v.sponsor for v in self.spv if not v.linked})
        return self._pool_columns() | self._site_columns()

    def _pool_columns(self) -> dict[str, Any]:
        rho = np.array([p.rho_residual if self.stress else p.rho for p in self.pool])
        made: dict[str, Any] = {
            "pool_hazard": np.array([-np.log1p(-p.pd_5y) / 5.0 for p in self.pool]),
            "pool_names": np.array([float(p.names) for p in self.pool]),
            "pool_maturity": np.array([p.maturity for p in self.pool]),
            "pool_factor": np.sqrt(rho),
            "pool_own": np.sqrt(1.0 - rho),
        }
        fields = ("lgd", "collateral", "beta_rental", "beta_spread", "beta_window")
        return made | {f"pool_{k}": np.array([getattr(p, k) for p in self.pool]) for k in fields}

    def _site_columns(self) -> dict[str, Any]:
        """Schedules by site and month; and the exit dates, by month, with the rent left."""
        made = schedules(self.spv, self.sale_cost, self.shell_life, self.chip_life)
        dates = sorted((m, i, rent) for i, v in enumerate(self.spv) for m, rent in exit_dates(v))
        return made | {
            "site_cap": np.array([v.guarantee * v.debt for v in self.spv]),
            "exit_first": np.searchsorted([m for m, _, _ in dates], np.arange(WIDTH)),
            "exit_site": np.array([i for _, i, _ in dates] or [0]),
            "exit_rent": np.array([rent for _, _, rent in dates] or [0.0]),
        }

    # ---- the path
    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        count = len(self.pool)
        # a threshold already passed: the first month draws the first one, as the factor is not known before
        state: dict[str, Any] = {"next": xp.array(count, -1.0)}
        state |= {k: xp.array(count, 0.0) for k in ("clock", "gap", "drawn")}
        for p in self.pool:
            state |= {f"balance_{p.name}": p.notional, f"loss_{p.name}": 0.0}
        for t in self.tranche:
            notional = self.pool[self.pool_of[t.name]].notional
            state |= {f"balance_{t.name}": notional * (t.detach - t.attach), f"owed_{t.name}": 0.0}
        sites = len(self.spv)
        state |= {"standing": xp.array(sites, 1.0), "lost": xp.array(sites, 0.0)}
        state |= dict.fromkeys(("abs_loss", *_TOTALS), 0.0)
        return state | {f"guarantee_{f}": 0.0 for f in self.sponsors}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        return self._securities(xp, s, up, draw) | self._sites(xp, s, up)

    # ---- pools and tranches
    def _securities(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        loans = self._defaults(xp, s, up, draw)
        new: dict[str, Any] = {k: getattr(loans, k) for k in ("clock", "next", "gap", "drawn")}
        new |= dict.fromkeys(("collected", "paid", "abs_loss", "abs_owed", "senior_hit"), 0.0)
        for i, pool in enumerate(self.pool):
            new |= self._month(xp, s, up.month, i, pool, loans, new)
        return new

    def _defaults(self, xp: Any, s: Any, up: Any, draw: Any) -> Any:
        """By pool: the stress-weighted clock, this month's defaults, and what a default loses."""
        factor = up.private_credit.factor if self.stress else draw.once.normal("factor")

        def pool(i: Any, a: Any) -> dict[str, Any]:
            running = up.month <= self.pool_maturity[i]
            clock = xp.get(a.clock, i) + xp.where(running, self._speed(xp, up, i) * DT, 0.0)
            d = xp.while_any(
                lambda d: d.next < clock,
                lambda d: self._default(xp, draw, factor, i, d),
                **{k: xp.get(getattr(a, k), i) for k in ("next", "gap", "drawn")},
            )
            kept: Any = 1.0 - self.pool_lgd[i]
            if self.stress:
                kept = kept * xp.exp(-self.pool_collateral[i] * up.rental.shortfall)
            # the first threshold is drawn, but is no default
            fresh = d.drawn - xp.maximum(xp.get(a.drawn, i), 1.0)
            return {
                "clock": xp.set(a.clock, i, clock),
                "fresh": xp.set(a.fresh, i, xp.maximum(fresh, 0.0)),
                "lgd": xp.set(a.lgd, i, xp.clip(1.0 - kept, 0.0, 1.0)),
                **{k: xp.set(getattr(a, k), i, getattr(d, k)) for k in ("next", "gap", "drawn")},
            }

        count = len(self.pool)
        carry = {k: getattr(s, k) for k in ("clock", "next", "gap", "drawn")}
        carry |= {k: xp.array(count, 0.0) for k in ("fresh", "lgd")}
        return xp.loop(0, count, pool, **carry)

    def _speed(self, xp: Any, up: Any, i: Any) -> Any:
        """The hazard of pool i over its hazard without stress."""
        if not self.stress:
            return 1.0
        y = self.pool_beta_rental[i] * up.rental.shortfall
        y = y + self.pool_beta_spread[i] * up.funding.log_spread
        y = y + self.pool_beta_window[i] * up.funding.window
        return xp.exp(xp.clip(y, self.hazard_bounds[0], self.hazard_bounds[1]))

    def _default(self, xp: Any, draw: Any, factor: Any, i: Any, d: Any) -> dict[str, Any]:
        """Pool i's next default, the ``drawn``-th: the clock at which it comes."""
        left = self.pool_names[i] - d.drawn
        u = draw.once.uniform("default", index=i * _DRAWS + xp.to_int(d.drawn))
        gap = d.gap - xp.log(u) / xp.maximum(left, 1.0)
        x = self.pool_own[i] * xp.ndtri(-xp.expm1(-gap)) + self.pool_factor[i] * factor
        limit = xp.minimum(gaussian_threshold(xp, x) / self.pool_hazard[i], NEVER)
        return {
            "next": xp.where(left > 0.5, limit, NEVER),
            "gap": gap,
            "drawn": d.drawn + 1.0,
        }

    def _month(
        self, xp: Any, s: Any, month: Any, i: int, pool: Any, loans: Any, so_far: dict[str, Any]
    ) -> dict[str, Any]:
        """One pool's cash, from its loans to its tranches; and the sums over pools."""
        stack = [self.tranche[k] for k in self.stacks[pool.name]]
        balance = getattr(s, f"balance_{pool.name}")
        fresh = xp.get(loans.fresh, i)
        alive = xp.maximum(pool.names + 1.0 - xp.get(loans.drawn, i), 0.0)
        failed = balance * (fresh / xp.maximum(alive + fresh, 1.0))
        lost = failed * xp.get(loans.lgd, i)
        performing = balance - failed
        planned = xp.minimum(
            alive * (pool.notional / pool.names * pool.amortisation * DT), performing
        )
        repaid = xp.where(month >= pool.maturity, performing, planned)
        interest = performing * (pool.coupon * DT)

        before = [getattr(s, f"balance_{t.name}") for t in stack]
        due = [b * (t.coupon * DT) for b, t in zip(before, stack, strict=True)]
        owed = [getattr(s, f"owed_{t.name}") for t in stack]
        principal = repaid + (failed - lost)
        done = waterfall(before, owed, due, interest, principal, lost, self.cover, xp)

        written = sum(done.writedown[1:], done.writedown[0])
        loss = getattr(s, f"loss_{pool.name}") + written
        new = {f"balance_{pool.name}": performing - repaid, f"loss_{pool.name}": loss}
        for k, t in enumerate(stack):
            new |= {f"balance_{t.name}": done.balance[k], f"owed_{t.name}": done.owed[k]}
            # losses rise from the equity and principal falls from the top: the parts by tranche follow
            share = tranche_loss(loss / pool.notional, t.attach, t.detach, xp) / (
                t.detach - t.attach
            )
            new[f"writedown_{t.name}"] = share
            new[f"hit_{t.name}"] = xp.where(share > _HIT, 1.0, 0.0)
        paid = sum((*done.interest, *done.principal), done.residual)
        return new | {
            "collected": so_far["collected"] + interest + principal,
            "paid": so_far["paid"] + paid,
            "abs_loss": so_far["abs_loss"] + loss,
            "abs_owed": so_far["abs_owed"] + sum(done.owed[1:], done.owed[0]),
            "senior_hit": xp.maximum(so_far["senior_hit"], new[f"hit_{stack[0].name}"]),
        }

    # ---- leased sites
    def _sites(self, xp: Any, s: Any, up: Any) -> dict[str, Any]:
        sites: dict[str, Any] = {k: getattr(s, k) for k in ("standing", "lost", *_TOTALS)}
        sites["called"] = xp.array(len(self.spv), 0.0)
        if self.stress:
            sites = self._sponsors_default(xp, up, sites)
            sites = self._exit(xp, up, sites)
        after = up.month + 1
        own: Any = 0.0
        linked: Any = 0.0
        guarantees: Any = 0.0
        for i, v in enumerate(self.spv):
            owed = self.site_debt[after + i * WIDTH]
            if v.linked:
                linked = linked + owed
                continue
            stands = xp.get(sites["standing"], i)
            own = own + stands * owed
            guarantees = guarantees + stands * xp.minimum(self.site_cap[i], owed)
        called = sites.pop("called")
        new = sites | {"spv_debt": own, "guarantees": guarantees}
        for i, v in enumerate(self.spv):
            if not v.linked:
                new[f"loss_{v.name}"] = xp.get(sites["lost"], i)
        for firm in self.sponsors:
            mine = [i for i, v in enumerate(self.spv) if v.sponsor == firm and not v.linked]
            new[f"guarantee_{firm}"] = sum(
                (xp.get(called, i) for i in mine[1:]), xp.get(called, mine[0])
            )
        if self.stress:
            off_sheet = own + linked + guarantees + up.firms.take_or_pay
            new["hidden"] = off_sheet / xp.maximum(up.firms.reported_debt, 1e-6)
        return new

    def _sponsors_default(self, xp: Any, up: Any, sites: dict[str, Any]) -> dict[str, Any]:
        """Leases that end since the sponsor declared default this month."""
        now = {f: getattr(up.firms, f"defaults_now_{f}") for f in self.sponsors}

        def once(a: Any) -> dict[str, Any]:
            ends = xp.array(len(self.spv), 0.0)
            for i, v in enumerate(self.spv):
                if not v.linked:
                    ends = xp.set(ends, i, now[v.sponsor])

            def site(i: Any, b: Any) -> dict[str, Any]:
                return self._end(xp, up, i, b, ends=xp.get(ends, i) > 0.5)

            done = xp.loop(0, len(self.spv), site, **{k: getattr(a, k) for k in sites})
            return {k: getattr(done, k) for k in sites} | {"todo": a.todo & ~a.todo}

        some = sum(now.values()) > 0.5
        # a loop of one round at most: nothing is computed where no sponsor defaults
        after = xp.while_any(lambda a: a.todo, once, **sites, todo=some)
        return {k: getattr(after, k) for k in sites}

    def _exit(self, xp: Any, up: Any, sites: dict[str, Any]) -> dict[str, Any]:
        """Sponsors at an exit date leave where that is cheaper; in other months the loop is empty."""

        def date(j: Any, a: Any) -> dict[str, Any]:
            return self._end(xp, up, self.exit_site[j], a, rent=self.exit_rent[j])

        first, last = self.exit_first[up.month], self.exit_first[up.month + 1]
        done = xp.loop(first, last, date, **sites)
        return {k: getattr(done, k) for k in sites}

    def _end(
        self, xp: Any, up: Any, i: Any, a: Any, *, ends: Any = None, rent: Any = None
    ) -> dict[str, Any]:
        """A lease that ends, by default (``ends``) or where its sponsor would rather not pay ``rent``."""
        at = i * WIDTH + up.month
        log_market = self._log_market(xp, up)
        value = site_value(
            self.site_shell[at],
            self.site_chips[at],
            log_market,
            -up.rental.shortfall,
            self.shell_elasticity,
            xp,
        )
        debt = self.site_debt[at]
        due = guarantee_due(debt, value, self.site_cap[i], xp)
        stands = xp.get(a.standing, i)
        leaving = rent is not None
        ends = leaves(rent, xp.exp(log_market), due) if leaving else ends
        gone = xp.where(ends, stands, 0.0)
        paid = gone * (due if leaving else due * self.sponsor_recovery)
        loss = xp.maximum(gone * xp.maximum(debt - value, 0.0) - paid, 0.0)
        return {
            "standing": xp.set(a.standing, i, stands - gone),
            "lost": xp.set(a.lost, i, xp.get(a.lost, i) + loss),
            "called": xp.set(a.called, i, xp.get(a.called, i) + paid),
            "spv_loss": a.spv_loss + loss,
            "guarantees_paid": a.guarantees_paid + paid,
            "exits": a.exits + (gone if leaving else 0.0),
            "spv_defaults": a.spv_defaults + (0.0 if leaving else gone),
        }

    def _log_market(self, xp: Any, up: Any) -> Any:
        """The log of what a kilowatt of a site earns over its start: rental, and how much of it is used."""
        tight0 = up.compute.tight0
        start = -0.125 * xp.log(1.0 + xp.exp(-8.0 * xp.log(tight0)))
        return up.rental.log_per_kw + (xp.log(up.compute.utilisation) - start)
