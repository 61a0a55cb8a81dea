"""Holders: where the losses land."""

from __future__ import annotations

from typing import Any

from ..system import DT, Output, Row, System, output, parameter, rows, setting, table
from ..validate import near, shown

SUMS_TO_ONE = 1e-9


class Holder(Row):
    """Who finally bears a loss."""

    capital = parameter(0.0, "USD bn", "assumption: that its losses eat; 0: none of its own", ge=0)
    threshold = parameter(
        0.0, "share", "assumption: of capital lost that makes a systemic event", ge=0, le=1
    )
    source = setting("", "where the figures come from")


class Instrument(Row):
    """A claim on which money can be lost, and the one variable that computes the loss."""

    loss = setting("private_credit.loss", "the cumulative loss, USD bn: system.variable")
    funds = setting(False, "whether funds with bank lines hold it: equity first, then the banks")
    source = setting("", "where it comes from")


class Share(Row):
    """What a holder has of an instrument."""

    instrument = setting("", "a row of instrument")
    holder = setting("", "a row of holder")
    share = parameter(0.0, "share", "assumption: of the instrument at the start", ge=0, le=1)
    drift = parameter(0.0, "1/year", "assumption: change of that share", ge=-1, le=1)
    source = setting("", "where the figure comes from")


class Holders(System):
    """Losses by ultimate holder. Sum over instruments = sum over holders, every month.

    Funds are conduits: their equity loses first, then the banks that lend to them. Funds differ, so a loss
    of L on average is L e^(sz - s^2/2) on one of them, and banks, who lend 0.60 against a part a of the assets E,
    lose a E [L Phi(d1) - 0.40 Phi(d1 - s)] with d1 = (ln(L/0.40) + s^2/2)/s.
    """

    title = "where the losses land"
    reads = ("firms", "gpu_loans", "private_credit", "structured")

    holder = rows(Holder, table(Holder, "holders.csv"), "each row says where its figures come from")
    instrument = rows(
        Instrument, table(Instrument, "instruments.csv"), "each loss is computed by one system"
    )
    share = rows(Share, table(Share, "shares.csv"), "each row says where its figure comes from")
    lined = parameter(
        0.32, "share", "assumption: of fund assets against which banks lend; bank_nbfi_share bounds it",
        ge=0, le=1,
    )  # fmt: skip
    cushion = parameter(0.40, "share", "assumption: of those assets that is equity", gt=0, lt=1)
    dispersion = parameter(0.6, "log", "assumption: of losses across funds", gt=0)
    lender = setting("banks", "the holder that lends to funds")

    loss = output("USD bn", "credit losses of all holders since the start")
    systemic = output("0 or 1", "a holder lost more of its capital than the system bears")
    funds_loss = output("USD bn", "lost by banks on lines to funds", metric=False, series=False)

    def outputs(self) -> dict[str, Output]:
        found = super().outputs()
        for h in self.holder:
            found[f"loss_{h.name}"] = Output("USD bn", f"credit losses of {h.name}", series=False)
        return found

    def check(self) -> list[str]:
        instruments = [i.name for i in self.instrument]
        holders = [h.name for h in self.holder]
        problems = []
        for s in self.share:
            where = f"holders.share.{s.name}"
            if s.instrument not in instruments:
                problems.append(
                    f"{where}.instrument = {shown(s.instrument)}: should be a row of holders.instrument"
                    f"{near(s.instrument, instruments)}"
                )
            if s.holder not in holders:
                problems.append(
                    f"{where}.holder = {shown(s.holder)}: should be a row of holders.holder{near(s.holder, holders)}"
                )
            end = s.share + s.drift * self.months * DT
            if not -SUMS_TO_ONE <= end <= 1.0 + SUMS_TO_ONE:
                problems.append(
                    f"{where}.drift = {s.drift}: makes the share {end:g} at the horizon; it should stay from 0 to 1"
                )
        for name in instruments:
            mine = [s for s in self.share if s.instrument == name]
            total, drift = sum(s.share for s in mine), sum(s.drift for s in mine)
            if abs(total - 1.0) > SUMS_TO_ONE:
                problems.append(
                    f"holders.share: shares of {name} sum to {total:g}; they should sum to 1"
                )
            if abs(drift) > SUMS_TO_ONE:
                problems.append(
                    f"holders.share: drifts of {name} sum to {drift:g}; they should sum to 0"
                )
        problems += [
            f"holders.instrument.{i.name}.loss = {shown(i.loss)}: should be system.variable"
            for i in self.instrument
            if i.loss.count(".") != 1
        ]
        first = {i.loss: i.name for i in reversed(self.instrument)}
        problems += [
            f"holders.instrument.{i.name}.loss = {shown(i.loss)}: is that of {first[i.loss]} already; "
            "should be another, as a loss is borne once"
            for i in self.instrument
            if first[i.loss] != i.name
        ]
        if self.lender not in holders:
            problems.append(
                f"holders.lender = {shown(self.lender)}: should be a row of holders.holder{near(self.lender, holders)}"
            )
        return problems

    def fits(self, others: dict[str, System]) -> list[str]:
        problems = []
        for i in self.instrument:
            if i.loss.count(".") != 1:
                continue
            system, _, name = i.loss.partition(".")
            known = list(others[system].outputs()) if system in others else []
            if system not in others:
                problems.append(
                    f"holders.instrument.{i.name}.loss = {shown(i.loss)}: no system {shown(system)}"
                    f"{near(system, list(others))}"
                )
            elif name not in known and name not in _UNREPORTED:
                problems.append(
                    f"holders.instrument.{i.name}.loss = {shown(i.loss)}: {system} gives no {shown(name)}"
                    f"{near(name, known)}"
                )
        return problems

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        state = {f"loss_{h.name}": 0.0 for h in self.holder}
        state |= {f"before_{i.name}": 0.0 for i in self.instrument}
        return {**state, "loss": 0.0, "systemic": 0.0, "funds_loss": 0.0}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        years = xp.to_real(up.month) * DT
        losses: dict[str, Any] = {h.name: getattr(s, f"loss_{h.name}") for h in self.holder}
        new: dict[str, Any] = {"funds_loss": s.funds_loss}
        total: Any = s.loss
        for i in self.instrument:
            system, _, name = i.loss.partition(".")
            so_far = getattr(getattr(up, system), name)
            month = so_far - getattr(s, f"before_{i.name}")
            new[f"before_{i.name}"] = so_far
            total = total + month
            if i.funds:
                lines = xp.maximum(self._lines(xp, so_far, up.private_credit.lent), s.funds_loss)
                losses[self.lender] = losses[self.lender] + (lines - s.funds_loss)
                month = month - (lines - s.funds_loss)
                new["funds_loss"] = lines
            for share in self.share:
                if share.instrument == i.name:
                    part = share.share + share.drift * years
                    losses[share.holder] = losses[share.holder] + part * month
        return {**new, "loss": total, **self._report(xp, s, losses)}

    def _lines(self, xp: Any, loss: Any, assets: Any) -> Any:
        """What banks lose on lines to funds whose assets have lost ``loss`` on average."""
        share, v = xp.maximum(loss / assets, 1e-6), self.dispersion
        d1 = (xp.log(share / self.cushion) + 0.5 * v * v) / v
        beyond = share * xp.ndtr(d1) - self.cushion * xp.ndtr(d1 - v)
        return self.lined * assets * xp.maximum(beyond, 0.0)

    def _report(self, xp: Any, s: Any, losses: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {f"loss_{name}": value for name, value in losses.items()}
        hit: Any = s.systemic
        for h in self.holder:
            over = losses[h.name] > h.threshold * h.capital
            hit = xp.where((h.capital > 0.0) & over, 1.0, hit)
            found[f"capital_lost_{h.name}"] = losses[h.name] / xp.maximum(h.capital, 1e-9)
        return {**found, "systemic": hit}


_UNREPORTED = (
    "loss_in_book",
    "loss_banks",
    "loss_other",
)  # parts of an output, which gpu_loans gives too
