"""Private credit: a loan book, name by name.

A loan defaults when its uniform first lies below its group's conditional default probability p(t). That
is turned round once for each default instead of each month: U < p(t) means that the group's cumulative
hazard has passed Lambda* = -log(1 - Phi(sqrt(1 - rho) Phi^-1(U) + sqrt(rho) M)), so a month costs a
comparison for each group, and only a default costs the normal distribution.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from ...kernels.namespace import Fields
from ..book import Loan, arrange, homogeneous, read_book
from ..locate import find_file
from ..system import DT, Row, System, output, parameter, rows, setting
from ..validate import ConfigError, shown
from .credit_columns import columns, lending
from .loan_draws import Each, Order
from .reversion import decay
from .thresholds import (
    NEVER,
    chi_square,
    frye_jacobs_lgd,
    gaussian_threshold,
    hazard_quantile,
    hermite,
    student_tables,
)

BOOK = ("at", "next", "gap", "taken", "since", "scale", "drawn", "defaults")


class Sector(Row):
    """A sector of borrowers."""

    collateral = parameter(
        0.0,
        "1",
        "assumption: elasticity of recovery to GPU rentals; 0: no such collateral",
        ge=0,
        le=5,
    )
    ai = setting(False, "whether its debt counts as AI debt")


class Rating(Row):
    """A rating class."""

    refinancing = parameter(
        1.0, "1", "assumption: times the refinancing hazard at maturity", ge=0, le=20
    )


_SECTORS: list[dict[str, Any]] = [
    {"name": "any"},
    {"name": "software"},
    {"name": "it_services"},
    {"name": "data_centre", "collateral": 0.3, "ai": True},
    {"name": "neocloud_gpu", "collateral": 1.0, "ai": True},
    {"name": "ai_labs_apps", "ai": True},
    {"name": "hardware_semis", "ai": True},
    {"name": "power_onsite", "ai": True},
    {"name": "fibre_telecom"},
]
_RATINGS: list[dict[str, Any]] = [
    {"name": "any"},
    {"name": "bbb", "refinancing": 0.25},
    {"name": "bb", "refinancing": 0.5},
    {"name": "b", "refinancing": 1.0},
    {"name": "ccc", "refinancing": 2.0},
]


class PrivateCredit(System):
    """Defaults and losses of a loan book, driven by rentals, spreads, the funding window and a frailty."""

    title = "the loan book"
    reads = ("stress", "rental", "gpu_loans", "funding", "macro")

    book = setting(
        "book.csv", "the loans: a CSV file, looked for beside the config and among the shipped ones"
    )
    new_book = setting("", "loans to come, in the same columns, by their start month; '' for none")
    lending = parameter(
        [1.0, 0.8, 0.35],
        "share",
        "assumption: of the loans to come that are made when funding is open, tight, shut",
        ge=0,
        le=1,
    )
    recall_time = parameter(
        1.5, "year", "assumption: default risk that calling a loan brings forward", ge=0
    )
    loans = setting(100, "loans of a homogeneous book (book = '')", ge=1, le=100_000)
    exposure = parameter(100.0, "USD bn", "assumption: total of a homogeneous book", gt=0)
    pd = parameter(
        0.02, "1/year", "assumption: one-year default probability, homogeneous book", gt=0, lt=1
    )
    rho = parameter(0.10, "share", "assumption: asset correlation, homogeneous book", ge=0, lt=1)
    lgd = parameter(0.45, "share", "assumption: loss given default, homogeneous book", gt=0, le=1)
    stress = setting(
        True, "whether rentals, spreads and the window move hazards; false: the textbook"
    )
    method = setting(
        "order",
        "how loans are drawn: order statistics, or each by itself",
        choices=("order", "each"),
    )
    copula = setting(
        "gaussian",
        "what joins defaults given the path: one Gaussian factor, Student t, or a continuous frailty",
        choices=("gaussian", "student_t", "frailty"),
    )
    nu = parameter(8.0, "1", "assumption: degrees of freedom of the Student t copula", ge=2, le=200)
    frailty_reversion = parameter(0.5, "1/year", "assumption: frailty halves in 17 months", gt=0)
    frailty_volatility = parameter(
        0.40,
        "1/year^0.5",
        "assumption: of the log hazard, near Duffie, Eckner, Horel and Saita (2009)",
        ge=0,
    )
    opacity = parameter(
        0.5, "log", "assumption: spread of true about stated hazard, one draw a path", ge=0, le=2
    )
    hazard_bounds = parameter(
        [-1.5, 2.5], "log", "assumption: least and most that stress moves a hazard"
    )
    refinancing = parameter(
        [0.0, 0.02, 0.15],
        "hazard",
        "assumption: at maturity when funding is open, tight, shut",
        ge=0,
    )
    sector = rows(Sector, _SECTORS, "GPU-backed borrowers recover less when rentals fall")
    rating = rows(Rating, _RATINGS, "weak names fail to refinance first")

    loss = output("USD bn", "cumulative credit loss")
    loss_share = output("share", "cumulative loss over what was lent")
    lent = output("USD bn", "lent so far", metric=False, series=False)
    stated = output("USD bn", "loss expected by those who believe stated hazards", metric=False)
    defaults = output("count", "loans in default so far")

    def files(self) -> dict[str, str]:
        named = {"book": self.book, "new_book": self.new_book if self.book else ""}
        return {field: name for field, name in named.items() if name}

    def _books(self) -> tuple[list[Loan], list[str]]:
        """The loans of both books, and what is wrong with them; read once."""
        if self not in _BOOKS:
            _BOOKS[self] = self._read_books()
        return _BOOKS[self]

    def _read_books(self) -> tuple[list[Loan], list[str]]:
        if not self.book:
            return homogeneous(self.loans, self.pd, self.rho, self.lgd, self.exposure), []
        names = ({s.name for s in self.sector}, {r.name.upper() for r in self.rating})
        loans, problems = read_book(find_file(self.book, self.folder), *names)
        if self.new_book and self.new_book == self.book:
            return loans, [
                *problems,
                f"private_credit.new_book = {shown(self.new_book)}: is the book already; should be another file, "
                "or '' for none",
            ]
        if self.new_book:
            more, found = read_book(find_file(self.new_book, self.folder), *names, key="new_book")
            known = {x.loan for x in loans}
            found += [
                f"{self.new_book}: loan = {shown(x.loan)}: stands in {self.book} already; ids should differ"
                for x in more
                if x.loan in known
            ]
            return loans + more, problems + found
        return loans, problems

    def _split(self) -> tuple[list[Loan], list[Loan], list[str]]:
        """Loans drawn here, and those that gpu_loans computes: they are linked and take no draw."""
        loans, problems = self._books()
        if not self.stress:
            return loans, [], problems
        own = [x for x in loans if x.computed_by != "gpu_loans"]
        return own, [x for x in loans if x.computed_by == "gpu_loans"], problems

    def fits(self, others: dict[str, System]) -> list[str]:
        if "gpu_loans" not in others or not self.stress:
            return []
        _, loans, problems = self._split()
        if problems:
            return []
        linked = sum(x.exposure for x in loans)
        books = ("legacy", "new") if self.new_book else ("legacy",)
        there = sum(x.balance for x in others["gpu_loans"].loan if x.in_book in books)
        if self.book and abs(linked - there) > 0.01 * max(there, 1.0):
            return [
                f"gpu_loans.loan: balances in the book sum to {there:g}; they should be the {linked:g} of the "
                f"loans with loss_computed_by = gpu_loans in {self.book} and {self.new_book or 'no new book'}; or "
                "set in_book = 'none' for those that it does not hold"
            ]
        return []

    def needs(self) -> tuple[str, ...]:
        return self.reads if self.stress else ()

    def check(self) -> list[str]:
        low, high = self.hazard_bounds
        problems = list(self._books()[1])
        if low >= high:
            problems.append(
                f"private_credit.hazard_bounds = {self.hazard_bounds}: the first should be the lower one"
            )
        return problems

    def prepare(self) -> dict[str, Any]:
        loans, linked, problems = self._split()
        if problems:
            raise ConfigError(problems)
        book = arrange(loans)
        self.count = len(book.loans)
        self.groups, self.patterns = len(book.group_size), len(book.patterns)
        self.most_batches = max(1, int(np.diff(book.matures).max(initial=0)))
        self.vintages = bool((book.group_start > 0).any())
        tables = student_tables(self.nu) if self.copula == "student_t" else {}
        return columns(self, book) | lending(self, book, linked) | tables

    @property
    def draws(self) -> Order | Each:
        return Order(self) if self.method == "order" else Each(self)

    # ---- the path
    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        factor, opaque = draw.normal("factor", 2)
        state: dict[str, Any] = {"factor": factor, "drawn": 0.0, "defaults": 0.0}
        state["lent"] = self.lent_start
        state["hazard"] = xp.array(self.patterns, 0.0)
        if self.copula == "student_t":
            state["mixing"] = xp.sqrt(chi_square(xp, draw, self.nu) / self.nu)
        if self.copula == "frailty":
            state["frailty"] = 0.0
        if self.stress:
            spread = self.opacity
            state["log_opacity"] = spread * opaque - 0.5 * spread * spread
            state["opacity"] = xp.exp(state["log_opacity"])
            state["stated"] = 0.0
        book = self.draws.start(xp, draw, Fields(state))
        if self.vintages:
            book["since"] = xp.array(self.groups, 0.0)
            book["scale"] = xp.array(self.groups, 1.0)
        return state | book

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        kept = {
            k: getattr(s, k)
            for k in ("factor", "mixing", "opacity", "log_opacity")
            if hasattr(s, k)
        }
        if self.copula == "frailty":
            kept["frailty"] = self._frailty(xp, s.frailty, draw)
        book = {k: getattr(s, k) for k in BOOK if hasattr(s, k)}
        lent = s.lent + xp.where(up.month == 1, self.lent_linked, 0.0)
        if self.vintages:
            entered = self._enter(xp, s.hazard, up, book, lent)
            lent = entered.pop("lent")
            book |= entered
        clocks = self._hazards(xp, s.hazard, up, kept)
        market = Fields(
            {
                "month": up.month,
                "started": self.started[up.month],
                "hazard": clocks.hazard,
                "log_speed": clocks.log_speed,
                "shortfall": up.rental.shortfall if self.stress else 0.0,
                "path": Fields(kept),
            }
        )
        book = self.draws.month(xp, draw, market, book)
        if self.stress:
            book |= self._mature(xp, draw, up.funding.window, market, book)
        loss, stated = book["drawn"], 0.0
        if self.stress:
            loss = loss + up.gpu_loans.loss_in_book
            stated = self._stated(xp, s.stated, up.month, clocks)
        return {
            **kept, **book, "hazard": clocks.hazard, "lent": lent, "loss": loss, "stated": stated,
            "loss_share": loss / lent, "lent_start": self.lent_start,
            "ai_lent": self.ai_start + self.ai_new * (lent - self.lent_start),
        }  # fmt: skip

    def _stated(self, xp: Any, so_far: Any, month: Any, clocks: Any) -> Any:
        """Expected losses at stated hazards, which know the market's stress but not the borrowers'."""
        at = month * self.patterns

        def pattern(b: Any, a: Any) -> dict[str, Any]:
            rate = self.stated_rate[at + b]
            return {"sum": a.sum + rate * xp.get(clocks.speed, b)}

        return so_far + DT * xp.loop(0, self.patterns, pattern, sum=0.0).sum

    def _frailty(self, xp: Any, x: Any, draw: Any) -> Any:
        keep, spread = decay(xp, self.frailty_reversion)
        return x * keep + self.frailty_volatility * spread * draw.normal("frailty")

    def _hazards(self, xp: Any, hazard: Any, up: Any, kept: dict[str, Any]) -> Any:
        """By pattern of betas: stress-weighted time so far, and its speed."""
        common: Any = 0.0
        if self.copula == "frailty":
            k, v = self.frailty_reversion, self.frailty_volatility
            years = xp.to_real(up.month) * DT
            variance = v * v * (1.0 - xp.exp(-2.0 * k * years)) / (2.0 * k)
            common = kept["frailty"] - 0.5 * variance

        called: Any = self.recall_time * up.stress.recall if self.stress else 0.0

        def pattern(b: Any, a: Any) -> dict[str, Any]:
            stress: Any = 0.0
            if self.stress:
                y = (
                    self.beta_rental[b] * up.rental.shortfall
                    + self.beta_spread[b] * up.funding.log_spread
                )
                y = y + self.beta_window[b] * up.funding.window
                y = y + self.beta_displacement[b] * up.macro.displacement
                stress = xp.clip(y, self.hazard_bounds[0], self.hazard_bounds[1])
            now = xp.exp(stress + common)
            total = xp.get(a.hazard, b) + now * DT + called
            return {
                "hazard": xp.set(a.hazard, b, total),
                "speed": xp.set(a.speed, b, now),
                "log_speed": xp.set(a.log_speed, b, stress + common),
            }

        made = {k: xp.array(self.patterns, 0.0) for k in ("speed", "log_speed")}
        return xp.loop(0, self.patterns, pattern, hazard=hazard, **made)

    def since(self, xp: Any, book: dict[str, Any], g: Any) -> Any:
        """The reading of group g's clock, its pattern's stress-weighted time, when the group started."""
        return xp.get(book["since"], g) if self.vintages else 0.0

    def _enter(
        self, xp: Any, hazard: Any, up: Any, book: dict[str, Any], lent: Any
    ) -> dict[str, Any]:
        """Groups that start with this month: their clock begins now, and the window decides how much is lent."""
        share: Any = 1.0
        if self.stress:
            window = up.funding.window
            share = xp.where(
                window < 0.5,
                self.lending[0],
                xp.where(window < 1.5, self.lending[1], self.lending[2]),
            )

        def group(g: Any, a: Any) -> dict[str, Any]:
            so_far = xp.get(hazard, self.group_pattern[g])
            drawn = self.draws.enter(xp, {k: getattr(a, k) for k in entering}, g, so_far)
            return drawn | {
                "since": xp.set(a.since, g, so_far),
                "scale": xp.set(a.scale, g, share),
                "lent": a.lent + self.group_exposure[g] * share,
            }

        entering = [k for k in ("at", "next") if k in book]
        first = xp.where(up.month == 1, self.at_start, self.started[up.month - 1])
        done = xp.loop(
            first,
            self.started[up.month],
            group,
            **{k: book[k] for k in (*entering, "since", "scale")},
            lent=lent,
        )
        return {k: getattr(done, k) for k in (*entering, "since", "scale", "lent")}

    def threshold(self, xp: Any, path: Any, kind: Any, gap: Any, z: Any) -> Any:
        """The stress-weighted time at which a loan of class ``kind`` defaults; of its uniform u, gap is -log(1 - u), and
        z its normal quantile."""
        if self.copula == "frailty":
            limit = gap
        else:
            x = self.class_own[kind] * z + self.class_factor[kind] * path.factor
            if self.copula == "student_t":
                z = xp.asinh(x / path.mixing / xp.sqrt(self.nu))
                table = (self.table_z, self.table_z_slope, self.table_z_first, self.table_z_last)
                limit = xp.exp(hermite(xp, *table, z))
            else:
                limit = gaussian_threshold(xp, x)
        return xp.minimum(limit / self._true_hazard(path, kind), NEVER)

    def _true_hazard(self, path: Any, kind: Any) -> Any:
        return self.class_hazard[kind] * path.opacity if self.stress else self.class_hazard[kind]

    def _quantile(self, xp: Any, path: Any, kind: Any, log_hazard: Any) -> Any:
        """Phi^-1 of the conditional default probability, from the log of the cumulative hazard."""
        if self.copula == "student_t":
            table = (self.table_h, self.table_h_slope, self.table_h_first, self.table_h_last)
            z = hermite(xp, *table, log_hazard)
            grown = xp.exp(z)
            x = 0.5 * (grown - 1.0 / grown) * xp.sqrt(self.nu) * path.mixing
        else:
            x = hazard_quantile(xp, log_hazard)
        return (x - self.class_factor[kind] * path.factor) / self.class_own[kind]

    def loss_rate(self, xp: Any, market: Any, book: dict[str, Any], g: Any, kind: Any) -> Any:
        """Loss of a default in group g over its planned exposure: what was lent of it, times LGD."""
        rate = self._lgd(xp, market, kind)
        return rate * xp.get(book["scale"], g) if self.vintages else rate

    def _lgd(self, xp: Any, market: Any, kind: Any) -> Any:
        """Recovery falls with the collateral; without collateral LGD follows the default rate."""
        lgd = self.class_lgd[kind]
        if not self.stress:
            return lgd
        collateral = self.class_collateral[kind]
        kept = (1.0 - lgd) * xp.exp(-collateral * market.shortfall)
        log_rate = self.class_log_hazard[kind] + market.path.log_opacity
        log_rate = log_rate + xp.get(market.log_speed, self.class_pattern[kind])
        if self.copula == "frailty":
            quantile = hazard_quantile(xp, log_rate)
        else:
            quantile = self._quantile(xp, market.path, kind, log_rate)
        unsecured = frye_jacobs_lgd(xp, quantile, self.class_shift[kind])
        return xp.where(collateral == 0.0, unsecured, xp.clip(1.0 - kept, 0.0, 1.0))

    def _mature(
        self, xp: Any, draw: Any, window: Any, market: Any, book: dict[str, Any]
    ) -> dict[str, Any]:
        """Loans that mature now must refinance. A survivor's uniform is uniform above p, so a fresh one serves."""
        jump = xp.where(
            window < 0.5,
            self.refinancing[0],
            xp.where(window < 1.5, self.refinancing[1], self.refinancing[2]),
        )

        def batch(k: Any, _: Any) -> dict[str, Any]:
            g = self.batch_group[k]
            kind, last = self.group_class[g], self.batch_first[k + 1]
            now = xp.get(market.hazard, self.class_pattern[kind]) - self.since(xp, book, g)
            hazard = self._true_hazard(market.path, kind) * now
            more = hazard + jump * self.class_weight[kind]
            odds = self._conditional(xp, market.path, kind, hazard, more)

            def loan(a: Any) -> dict[str, Any]:
                row = self.maturity_loan[a.i]
                fails = draw.uniform("refinance", index=self.draws.refinancing(a.i)) < odds
                lost = fails & ~self.draws.is_gone(xp, market, book, row, g)
                return {
                    "i": a.i + 1,
                    "lost": a.lost + xp.where(lost, self.loan_exposure[row], 0.0),
                    "hits": a.hits + xp.where(lost, 1.0, 0.0),
                }

            a = xp.while_any(lambda a: a.i < last, loan, i=self.batch_first[k], lost=0.0, hits=0.0)
            return {
                "drawn": a.lost * self.loss_rate(xp, market, book, g, kind),
                "defaults": a.hits,
            }

        done = xp.sparse(
            self.matures[market.month],
            self.matures[market.month + 1],
            self.most_batches,
            lambda k, _: jump > 0.0,
            batch,
            arrays={},
            sums={k: book[k] for k in ("drawn", "defaults")},
        )
        return {k: getattr(done, k) for k in ("drawn", "defaults")}

    def _conditional(self, xp: Any, path: Any, kind: Any, hazard: Any, more: Any) -> Any:
        """The chance that a survivor of ``hazard`` does not survive ``more``."""
        if self.copula == "frailty":
            return -xp.expm1(hazard - more)
        least = 1e-30
        log_before, log_after = (xp.log(xp.maximum(h, least)) for h in (hazard, more))
        before = xp.ndtr_plain(-self._quantile(xp, path, kind, log_before))
        after = xp.ndtr_plain(-self._quantile(xp, path, kind, log_after))
        return 1.0 - after / xp.maximum(before, 1e-30)


# beside the systems, not in them: what a system holds is part of what its program is named by
_BOOKS: WeakKeyDictionary[PrivateCredit, tuple[list[Loan], list[str]]] = WeakKeyDictionary()
