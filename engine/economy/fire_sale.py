"""Fire sale: lenders who enforce a loan-to-value covenant, and meet only in the price of what they sell.

A loan of balance B against collateral worth V breaches its covenant c when B > c V. It is cured by cash
x = B - c V, from its reserve account and then from the borrower, as far as they go; what is still open by a sale
worth (B - c V)/(1 - c), which at today's price would restore B = c V. Where that is above half of V, or the
loan has been called, all is sold. A loan sells the same share of each generation that it holds: pro rata to
units, which is pro rata to value. When all is sold, the balance that is left is the lender's loss.

All sales of a round meet the market together. With k = lambda n/depth of the n units sold so far, the price is
P e^-k (exponential) or P (1 - k) (linear), and never under a floor; a round's units fetch the average over its
part of that curve: P (1 - e^-k)/k, or P (1 - k/2), in the first. Then loans are valued at the lower price,
and the next round begins; without impact there is one. No lender foresees what the others will sell: so
several may lose a little less in a worse market, where who sells all at once shares the first round's price.

Fire sales of this kind: Shleifer and Vishny (1992); price impact exponential in the units sold, and the cycle
of sale, price and breach: Cifuentes, Ferrucci and Shin (2005). The size of the discount: Pulvino (1998).

``sell`` is traced into the kernels by gpu_loans; ``fire_sale`` runs it on NumPy arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...kernels.arrays import ArrayColumn, ArrayNamespace
from ...kernels.backends.base import path_words

LAWS = ("exponential", "linear")
_SMALL = 1e-12  # units sold over depth: below it a sale moves no price
_DEEP = 69.0  # log price impact where a floor of nothing stands: e^-69 is 1e-30


@dataclass(frozen=True, slots=True)
class Terms:
    """What a sale does not change. Columns are read at a loan's number.

    covenant: column of shares. payer: column of places in ``cash``. pressure: by generation, the impact of
    one unit, lambda/depth. tolerance: a breach up to this share of V is let pass, and so is what cash leaves open
    of a cure, up to this share of it.
    """

    loans: int
    generations: int
    covenant: Any
    payer: Any
    pressure: Sequence[Any]
    law: str
    floor: Any
    tolerance: Any
    most_rounds: Any


def excess(xp: Any, terms: Terms, loan: Any, owed: Any, value: Any, called: Any) -> Any:
    """What a loan must shed, USD bn: all of it where it is called, B - c V in a breach, else 0."""
    over = owed - xp.where(called, 0.0, terms.covenant[loan] * value)
    return xp.where(over > xp.where(called, 0.0, terms.tolerance * value), over, 0.0)


def worth(xp: Any, terms: Terms, units: Any, loan: Any, prices: Sequence[Any]) -> Any:
    """The value of a loan's collateral; ``units[loan * generations + g]`` are its units."""
    first = loan * terms.generations
    value = xp.get(units, first) * prices[0]
    for g in range(1, terms.generations):
        value = value + xp.get(units, first + g) * prices[g]
    return value


def sell(
    xp: Any,
    terms: Terms,
    prices: Sequence[Any],
    excess_before: Any,
    called: Any,
    **book: Any,
) -> Any:
    """Rounds of cure and sale, until no loan is in breach or the rounds run out.

    ``book``: the per-path arrays balance, units, reserve and cash, which change. ``called``: by loan, above 0.5
    where all is sold. ``excess_before``: the sum of ``excess`` over loans; none, no round.
    Returns them with, by loan: paid (from reserve and cash), proceeds, surplus (proceeds beyond the
    balance, the borrower's), lost, breached; by generation: k0, k1, ... (impact), sold0, sold1, ...;
    rounds, sold_later (units sold in round 2 or later), residual (what breaches the rounds left).
    """
    flows = {
        k: xp.array(terms.loans, 0.0) for k in ("paid", "proceeds", "surplus", "lost", "breached")
    }
    market = {f"{k}{g}": 0.0 for k in ("k", "sold") for g in range(terms.generations)}
    return xp.while_any(
        lambda a: (a.residual > 0.0) & (a.rounds < terms.most_rounds),
        lambda a: _round(xp, terms, prices, called, a),
        **book,
        **flows,
        **market,
        rounds=0.0,
        sold_later=0.0,
        residual=excess_before,
    )


def _round(xp: Any, terms: Terms, prices: Sequence[Any], called: Any, a: Any) -> dict[str, Any]:
    every = range(terms.generations)
    before = [price_ratio(xp, terms, getattr(a, f"k{g}")) for g in every]
    offer = _offers(xp, terms, [p * r for p, r in zip(prices, before, strict=True)], called, a)
    offered = [getattr(offer, f"n{g}") for g in every]
    pushed = [n * per_unit for n, per_unit in zip(offered, terms.pressure, strict=True)]
    fetched = [prices[g] * average_ratio(xp, terms, getattr(a, f"k{g}"), pushed[g]) for g in every]
    new: dict[str, Any] = {f"k{g}": getattr(a, f"k{g}") + pushed[g] for g in every}
    after = [prices[g] * price_ratio(xp, terms, new[f"k{g}"]) for g in every]
    settled = _settle(xp, terms, fetched, after, called, a, offer)
    new |= {f"sold{g}": getattr(a, f"sold{g}") + offered[g] for g in every}
    later = xp.where(a.rounds > 0.5, sum(offered[1:], offered[0]), 0.0)
    return {
        **new,
        **{k: getattr(offer, k) for k in ("reserve", "cash", "paid", "breached")},
        **{k: getattr(settled, k) for k in ("balance", "units", "proceeds", "surplus", "lost")},
        "rounds": a.rounds + 1.0,
        "sold_later": a.sold_later + later,
        "residual": settled.residual,
    }


def _offers(xp: Any, terms: Terms, prices: Sequence[Any], called: Any, a: Any) -> Any:
    """By loan: what cash cures, and the share of its collateral that it puts up for sale."""

    def loan(i: Any, b: Any) -> dict[str, Any]:
        owed, value = xp.get(b.balance, i), worth(xp, terms, a.units, i, prices)
        is_called, payer = xp.get(called, i) > 0.5, terms.payer[i]
        short = excess(xp, terms, i, owed, value, is_called)
        reserve, cash = xp.get(b.reserve, i), xp.get(b.cash, payer)
        from_reserve = xp.minimum(short, reserve)
        # a borrower whose loan is called pays no more
        from_cash = xp.where(is_called, 0.0, xp.minimum(short - from_reserve, cash))
        still = short - from_reserve - from_cash
        # a debt that the reserve just covers is no reason to sell: which way rounding falls would decide it
        still = xp.where(still > terms.tolerance * short, still, 0.0)
        wanted = still / xp.maximum(1.0 - terms.covenant[i], 1e-6)
        everything = (still > 0.0) & (is_called | (wanted > 0.5 * value))
        share = xp.where(everything, 1.0, wanted / xp.maximum(value, 1e-30))
        found = {
            "balance": xp.set(b.balance, i, owed - from_reserve - from_cash),
            "reserve": xp.set(b.reserve, i, reserve - from_reserve),
            "cash": xp.set(b.cash, payer, cash - from_cash),
            "share": xp.set(b.share, i, share),
            "paid": xp.set(b.paid, i, xp.get(b.paid, i) + from_reserve + from_cash),
            "breached": xp.set(b.breached, i, xp.where(short > 0.0, 1.0, xp.get(b.breached, i))),
        }
        for g in range(terms.generations):
            held = xp.get(a.units, i * terms.generations + g)
            found[f"n{g}"] = getattr(b, f"n{g}") + share * held
        return found

    carried = {k: getattr(a, k) for k in ("balance", "reserve", "cash", "paid", "breached")}
    none = {f"n{g}": 0.0 for g in range(terms.generations)}
    return xp.loop(0, terms.loans, loan, **carried, share=xp.array(terms.loans, 0.0), **none)


def _settle(
    xp: Any,
    terms: Terms,
    fetched: Sequence[Any],
    after: Sequence[Any],
    called: Any,
    a: Any,
    offer: Any,
) -> Any:
    """By loan: proceeds repay, a surplus is the borrower's, a shortfall the lender's; who is in breach now."""

    def loan(i: Any, b: Any) -> dict[str, Any]:
        share, owed = xp.get(offer.share, i), xp.get(b.balance, i)
        units, value, got = b.units, 0.0, 0.0
        for g in range(terms.generations):
            place = i * terms.generations + g
            held = xp.get(units, place)
            kept = held * (1.0 - share)
            got = got + share * held * fetched[g]
            value = value + kept * after[g]
            units = xp.set(units, place, kept)
        repaid = xp.minimum(got, owed)
        # what cash left of a called loan, if it was too little to sell for, is written off
        gone = (share >= 1.0) | (xp.get(called, i) > 0.5)
        left = owed - repaid
        owed = xp.where(gone, 0.0, left)
        return {
            "balance": xp.set(b.balance, i, owed),
            "units": units,
            "proceeds": xp.set(b.proceeds, i, xp.get(b.proceeds, i) + got),
            "surplus": xp.set(b.surplus, i, xp.get(b.surplus, i) + (got - repaid)),
            "lost": xp.set(b.lost, i, xp.get(b.lost, i) + xp.where(gone, left, 0.0)),
            "residual": b.residual + excess(xp, terms, i, owed, value, False),
        }

    carried = {k: getattr(a, k) for k in ("units", "proceeds", "surplus", "lost")}
    return xp.loop(0, terms.loans, loan, **carried, balance=offer.balance, residual=0.0)


# ---- the price of what is sold
def price_ratio(xp: Any, terms: Terms, k: Any) -> Any:
    """The price over its start once sales have pushed it by k."""
    free = xp.exp(-xp.minimum(k, _DEEP)) if terms.law == "exponential" else 1.0 - k
    return xp.maximum(free, terms.floor)


def average_ratio(xp: Any, terms: Terms, k: Any, step: Any) -> Any:
    """The average price over its start, while sales push it from k to k + step."""
    if terms.law == "exponential":
        end = -xp.log(xp.maximum(terms.floor, 1e-30))
    else:
        end = 1.0 - terms.floor
    fall = xp.minimum(step, xp.maximum(end - k, 0.0))  # the part before the floor
    if terms.law == "exponential":
        area = -xp.exp(-xp.minimum(k, _DEEP)) * xp.expm1(-fall)
    else:
        area = fall * (1.0 - k - 0.5 * fall)
    area = area + terms.floor * (step - fall)
    return xp.where(step > _SMALL, area / xp.maximum(step, _SMALL), price_ratio(xp, terms, k))


# ---- on NumPy arrays
@dataclass(frozen=True)
class FireSale:
    """What a fire sale left. Shapes follow the balances': (loans,) or (paths, loans).

    balances, loss, surplus (sold beyond the balance, the borrower's), proceeds (gross), cash_paid (reserve and
    borrower's cash), breached: by loan; units: by loan and generation; prices, sold: by generation; rounds,
    sold_later (units, in round 2 or later), residual (breach that the rounds left, 0 unless they ran out):
    one number a path. Balances before = balances + cash_paid + proceeds - surplus + loss.
    """

    balances: NDArray[np.float64]
    units: NDArray[np.float64]
    prices: NDArray[np.float64]
    sold: NDArray[np.float64]
    cash_paid: NDArray[np.float64]
    proceeds: NDArray[np.float64]
    surplus: NDArray[np.float64]
    loss: NDArray[np.float64]
    breached: NDArray[np.bool_]
    rounds: NDArray[np.int64]
    sold_later: NDArray[np.float64]
    residual: NDArray[np.float64]


def fire_sale(
    balances: ArrayLike,
    units: ArrayLike,
    prices: ArrayLike,
    covenant: ArrayLike,
    impact: ArrayLike,
    depth: ArrayLike,
    *,
    cash: ArrayLike = 0.0,
    reserve: ArrayLike = 0.0,
    borrower: Sequence[int] | None = None,
    called: ArrayLike = False,
    law: str = "exponential",
    floor: float = 0.0,
    tolerance: float = 1e-12,
    most_rounds: int = 1000,
) -> FireSale:
    """The fire sale of loans against the same collateral, by the code that the kernels run.

    balances: (loans,) or (paths, loans), money. units: (..., loans, generations) pledged. prices:
    (..., generations), money a unit. covenant: a share, or one a loan. impact, depth: lambda, and the units that
    the market absorbs, one or by generation; k = impact * units/depth. reserve: money in each loan's account.
    borrower: by loan, whose cash it may take, by the number of the borrower; without it each loan has its own.
    cash: (..., borrowers), money. called: loans of which all is sold. floor: share of the price
    that holds whatever is sold. Raises ValueError with every problem.
    """
    given = _Given(
        balances=balances, units=units, prices=prices, covenant=covenant, impact=impact, depth=depth,
        cash=cash, reserve=reserve, borrower=borrower, called=called, law=law, floor=floor,
        tolerance=tolerance, most_rounds=most_rounds,
    )  # fmt: skip
    paths, n, generations = given.units.shape
    xp = ArrayNamespace(np, True, path_words(0, paths), 0)
    terms = Terms(
        n, generations, ArrayColumn(np, given.covenant), ArrayColumn(np, given.payer),
        list(given.impact / given.depth), law, np.float64(floor), np.float64(tolerance),
        np.float64(most_rounds),
    )  # fmt: skip
    quotes = list(given.prices.T)
    stock = given.units.reshape(paths, n * generations).T.copy()
    with np.errstate(all="ignore"):
        over = sum(
            excess(xp, terms, np.int32(i), given.balances[:, i],
                   worth(xp, terms, stock, np.int32(i), quotes), given.called[:, i] > 0.5)
            for i in range(n)
        )  # fmt: skip
        done = sell(
            xp, terms, quotes, over, given.called.T,
            balance=given.balances.T.copy(), units=stock, reserve=given.reserve.T.copy(),
            cash=given.cash.T.copy(),
        )  # fmt: skip
        ratios = [
            price_ratio(xp, terms, xp.full(getattr(done, f"k{g}"))) for g in range(generations)
        ]
    return FireSale(
        balances=given.shaped(done.balance.T),
        units=given.shaped(done.units.T.reshape(paths, n, generations)),
        prices=given.shaped(given.prices * np.stack(ratios, axis=1)),
        sold=given.shaped(
            np.stack([xp.full(getattr(done, f"sold{g}")) for g in range(generations)], axis=1)
        ),
        cash_paid=given.shaped(done.paid.T),
        proceeds=given.shaped(done.proceeds.T),
        surplus=given.shaped(done.surplus.T),
        loss=given.shaped(done.lost.T),
        breached=given.shaped(done.breached.T > 0.5),
        rounds=given.shaped(xp.full(done.rounds).astype(np.int64)),
        sold_later=given.shaped(xp.full(done.sold_later)),
        residual=given.shaped(xp.full(done.residual)),
    )


class _Given:
    """The arguments of ``fire_sale`` as float64 arrays with a path axis, checked."""

    def __init__(self, **given: Any) -> None:
        self.problems: list[str] = []
        sizes = np.asarray(given["balances"]), np.asarray(given["units"])
        self.single = sizes[0].ndim == 1
        if (
            sizes[0].ndim not in (1, 2)
            or sizes[1].ndim not in (2, 3)
            or 0 in sizes[0].shape + sizes[1].shape
        ):
            raise ValueError(
                f"balances of shape {sizes[0].shape} and units of shape {sizes[1].shape}: should be (loans,) or "
                "(paths, loans), and (loans, generations) or (paths, loans, generations)"
            )
        self.paths = 1 if self.single else sizes[0].shape[0]
        n, generations = sizes[0].shape[-1], sizes[1].shape[-1]
        owner = given["borrower"]
        payer = list(range(n)) if owner is None else [int(i) for i in owner]
        if len(payer) != n or min(payer) < 0:
            self.problems.append(
                f"borrower = {owner!r}: should be {n} whole numbers from 0, one for each loan"
            )
            payer = [0] * n
        borrowers = max(payer) + 1
        self.payer = np.array(payer, np.int32)
        self.balances = self._array(given, "balances", (n,), least=0.0)
        self.units = self._array(given, "units", (n, generations), least=0.0)
        self.prices = self._array(given, "prices", (generations,), above=0.0)
        self.cash = self._array(given, "cash", (borrowers,), least=0.0)
        self.reserve = self._array(given, "reserve", (n,), least=0.0)
        self.called = self._array(given, "called", (n,), least=0.0)
        self.covenant = self._row(given, "covenant", n, above=0.0, below=1.0)
        self.impact = self._row(given, "impact", generations, least=0.0)
        self.depth = self._row(given, "depth", generations, above=0.0)
        self._row(given, "floor", 1, least=0.0, below=1.0)
        self._row(given, "tolerance", 1, least=0.0, below=1.0)
        self._row(given, "most_rounds", 1, least=1.0)
        if given["law"] not in LAWS:
            self.problems.append(f"law = {given['law']!r}: should be {' or '.join(LAWS)}")
        if self.problems:
            raise ValueError("\n".join(self.problems))

    def shaped(self, values: NDArray[Any]) -> Any:
        """Without the path axis, where the balances came without."""
        return values[0] if self.single else values

    def _row(self, given: dict[str, Any], name: str, size: int, **bounds: float) -> Any:
        return self._array(given, name, (size,), one_path=True, **bounds)[0]

    def _array(
        self,
        given: dict[str, Any],
        name: str,
        shape: tuple[int, ...],
        *,
        one_path: bool = False,
        **bounds: float,
    ) -> NDArray[np.float64]:
        whole = (1 if one_path else self.paths, *shape)
        try:
            values = np.asarray(given[name], np.float64)
            if 0 < values.ndim < len(shape):
                raise ValueError  # ambiguous: generations or loans?
            values = np.broadcast_to(values, whole)
        except (TypeError, ValueError):
            wanted = f"numbers of shape {shape}" + (
                "" if one_path or self.single else f" or {whole}"
            )
            self.problems.append(
                f"{name} of shape {np.shape(given[name])}: should be {wanted}, or one number"
            )
            return np.ones(whole)
        bad = ~np.isfinite(values)
        words = []
        for key, word, outside in (
            ("least", "at least", np.less), ("above", "above", np.less_equal),
            ("below", "below", np.greater_equal),
        ):  # fmt: skip
            if key in bounds:
                bad = bad | outside(values, bounds[key])
                words.append(f"{word} {bounds[key]:g}")
        if bad.any():
            worst = values[bad].flat[0]
            self.problems.append(f"{name} = {worst:g}: should be finite, {' and '.join(words)}")
        return np.array(values)
