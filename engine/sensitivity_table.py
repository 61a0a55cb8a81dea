"""Sensitivities for the terminal: the tornado table of effects, the table of Sobol' indices."""

from __future__ import annotations

import math

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .sensitivity import REFUSED, STILL, UNREAD, Effect, Sensitivity
from .sobol import Index, SobolIndices
from .tables import GRID, console, number

NAME, VALUE, ELASTICITY, EFFECT, ARM = 36, 9, 15, 15, 8  # widths; ARM is that of one side of a bar
FEW = 5
"""Parameters that cannot be moved are named with the reason if they are no more than this."""


def print_sensitivity(result: Sensitivity, top: int = 20, screen: Console | None = None) -> None:
    """The ``top`` effects, how all parameters fared, and how it was computed."""
    screen = screen or console()
    screen.print(_title(result), highlight=False, markup=False, style="bold")
    shown = result.having("moved")[:top]
    if shown:
        screen.print()
        screen.print(_table(result, shown))
    screen.print()
    for line in _closing(result, len(shown)):
        screen.print(line, highlight=False, markup=False)
    for line in _legend(result, shown):
        screen.print(line, highlight=False, markup=False, style="dim")


def _title(r: Sensitivity) -> str:
    unit = "" if r.unit == "1" else f" {r.unit}"
    half = number((r.high - r.low) / 2.0, 2)
    return f"{r.name}: {r.quantity} = {number(r.value)} ±{half}{unit}; each parameter moved by {share(r.bump)}"


def share(bump: float) -> str:
    return f"{100.0 * bump:g} %"


def _table(result: Sensitivity, shown: list[Effect]) -> Table:
    table = Table(**GRID)
    table.add_column("parameter", no_wrap=True, width=NAME)
    table.add_column("value", justify="right", no_wrap=True, width=VALUE)
    table.add_column("elasticity", justify="right", no_wrap=True, width=ELASTICITY)
    table.add_column(
        f"effect of +{share(result.bump)}", justify="right", no_wrap=True, width=EFFECT
    )
    table.add_column(f"{'░ down':>{ARM}} {'up █':<{ARM}}", no_wrap=True, width=2 * ARM + 1)
    certain = [r for r in shown if r.told_apart]
    longest = max((abs(x) for r in certain for x in (r.up, r.down) if math.isfinite(x)), default=0)
    for r in shown:
        effect = plus_minus(r.effect, (r.high - r.low) / 2.0)
        ratio = plus_minus(r.elasticity, (r.elasticity_high - r.elasticity_low) / 2.0, ELASTICITY)
        table.add_row(
            escape(shortened(r.parameter + (" ~" if r.tied else ""), NAME)),
            _value(r),
            ratio if math.isfinite(r.elasticity) else "-",
            f"[bold]{effect}[/]*" if r.told_apart else f"[dim]{effect}[/] ",
            bar(r, longest) if r.told_apart else " " * ARM + "[dim]│[/]",
        )
    return table


def _value(r: Effect) -> str:
    """The value; what zero was moved by; an arrow where it moved to one side alone."""
    if not r.value:
        return f"0{'+' if r.side != 'down' else '-'}{number(abs(r.step), 2)}"
    return number(r.value) + {"up": " ↑", "down": " ↓"}.get(r.side, "")


def shortened(name: str, width: int) -> str:
    """The name, its middle cut out where it is too long: system and field say the most."""
    if len(name) <= width:
        return name
    head = (width - 1) // 2
    return name[:head] + "…" + name[len(name) - (width - 1 - head) :]


def plus_minus(value: float, half: float, width: int = EFFECT - 1) -> str:
    """A value and half of its interval, to two digits of the half; to one where two take too much room."""
    if not (math.isfinite(value) and math.isfinite(half)):
        return "-"
    if not half:
        return ("+" if value > 0 else "") + number(value)
    size = max(half, 1e-3 * abs(value))
    least = math.floor(math.log10(size))
    for digits in (1, 0):
        places = max(digits - least, 0)
        text = f"{value:+,.{places}f} ±{max(half, 10.0**-places):,.{places}f}"
        if len(text) <= width:
            return text
    return f"{value:+.1e}±{half:.0e}".replace("e-0", "e-").replace("e+0", "e")


def bar(r: Effect, longest: float) -> str:
    """From the quantity as it is, in the middle: where the parameter moved down and where moved up take it."""
    cells = [" "] * ARM + ["│"] + [" "] * ARM
    for value, mark in sorted(((r.down, "░"), (r.up, "█")), key=lambda x: -abs(x[0])):
        if math.isfinite(value) and longest:
            reach = round(ARM * abs(value) / longest)
            for k in range(1, reach + 1):
                cells[ARM + (k if value > 0 else -k)] = mark
    return "".join(cells).rstrip()


def _closing(r: Sensitivity, shown: int) -> list[str]:
    apart = sum(x.told_apart for x in r.rows)
    lines = [
        f"{len(r.rows):,} parameters: {apart:,} told apart from zero (*), {r.tests - apart:,} within noise; "
        f"{len(r.having(STILL)):,} changed no path, {len(r.having(UNREAD)):,} do not reach this metric and were "
        f"not run,"
    ]
    refused = r.having(REFUSED)
    lines[0] += f" {len(refused):,} cannot be moved" + (
        " (--format json says why)." if len(refused) > FEW else "."
    )
    lines += [x.why for x in refused if len(refused) <= FEW]
    rest = len(r.having("moved")) - shown
    if rest > 0:
        lines.append(f"{rest:,} more that were run are not shown: --top {shown + rest} shows all.")
    return lines


def _legend(r: Sensitivity, shown: list[Effect]) -> list[str]:
    lines = [
        "±: half of the 95 % interval, paired on common draws. *: not zero, at 5 % over all that were run (Holm). "
        "Effect: half the difference of moving up and down. Elasticity: % of the quantity for 1 % of the parameter."
    ]
    if any(x.side != "both" for x in shown if x.value):
        lines.append("↑ ↓: moved to this side only; the other is out of bounds or unsound.")
    if any(x.tied for x in shown):
        lines.append("~: others moved with it, to keep a symmetry or a sum.")
    if any(not x.value for x in shown):
        lines.append(
            f"0+x: zero has no {share(r.bump)}; it was moved by x, {share(r.bump)} of the median of its like "
            "that are not zero."
        )
    if r.bad:
        lines.append(
            f"{r.bad:,} of {r.path_count:,} paths had a non-finite state and are left out."
        )
    seconds = ", ".join(f"{k} {v:.2f}" for k, v in r.seconds.items())
    lines.append(
        f"{r.path_count:,} paths in each of {r.runs:,} runs, {r.months} months, seed {r.seed}, "
        f"{r.backend} {r.dtype}; seconds: {seconds}"
    )
    lines += [f"passed over {why}" for why in r.passed_over]
    return lines


# ---- Sobol' indices
WHOLE = 24  # characters of a bar that is the whole variance


def print_sobol(result: SobolIndices, screen: Console | None = None) -> None:
    """The indices, the largest total first, and how they were computed."""
    screen = screen or console()
    unit = "" if result.unit == "1" else f" {result.unit}"
    screen.print(
        f"{result.name}: {result.quantity} from {number(result.least)} to {number(result.most)}{unit} over the "
        f"ranges, mean {number(result.mean)}, sd {number(result.sd)}; {number(result.base)} as it is",
        highlight=False, markup=False, style="bold",
    )  # fmt: skip
    table = Table(**GRID)
    table.add_column("parameter", no_wrap=True, width=NAME - 6)
    table.add_column("range", no_wrap=True, width=15)
    table.add_column("alone S, %", justify="right", no_wrap=True)
    table.add_column("in all T, %", justify="right", no_wrap=True)
    table.add_column("", width=WHOLE, no_wrap=True)
    for r in result.rows:
        table.add_row(
            escape(shortened(r.parameter + (" ~" if r.tied else ""), NAME - 6)),
            f"{number(r.low)} to {number(r.high)}",
            _per_cent(r.first.value, r.first.half),
            _per_cent(r.total.value, r.total.half),
            _index_bar(r),
        )
    screen.print()
    screen.print(table)
    screen.print()
    if result.sd == 0:
        screen.print("does not vary: none of these parameters reaches it", highlight=False)
    for line in _legend_of_sobol(result):
        screen.print(line, highlight=False, markup=False, style="dim")


def _per_cent(value: float, half: float) -> str:
    return f"{100.0 * value:.1f} ±{100.0 * half:.1f}" if math.isfinite(value) else "-"


def _index_bar(r: Index) -> str:
    """S in full, what T adds to it shaded."""
    if not math.isfinite(r.total.value):
        return ""
    alone, all_ = (round(WHOLE * min(max(e.value, 0.0), 1.0)) for e in (r.first, r.total))
    return "█" * alone + "░" * max(all_ - alone, 0)


def _legend_of_sobol(r: SobolIndices) -> list[str]:
    lines = [
        "S: share of the variance that goes when this parameter alone is known (full bar). T: share that stays when "
        "all others are, what it does together with them included (shaded). ±: half of the 95 % interval.",
        "Parameters are uniform over their ranges and independent; each set of them runs on the same draws.",
    ]
    if any(x.tied for x in r.rows):
        lines.append("~: others moved with it, to keep a symmetry or a sum.")
    seconds = ", ".join(f"{k} {v:.2f}" for k, v in r.seconds.items())
    lines.append(
        f"design of {r.design:,} rows, {r.path_count:,} paths in each of {r.runs:,} runs, {r.months} months, "
        f"seed {r.seed}, {r.backend} {r.dtype}; seconds: {seconds}"
    )
    lines += [f"passed over {why}" for why in r.passed_over]
    return lines
