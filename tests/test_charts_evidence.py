"""Charts of evidence: what they draw is what the tables say, and it can be read."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import vl_convert

from overbuilt.engine.charts import (
    bands,
    claims,
    fire_sale,
    layout,
    network,
    phases,
    sankey,
    stress,
    style,
    survival,
    tornado,
)
from overbuilt.engine.charts.figure import Figure

EVIL = "<script>alert(1)</script>"
QUOTED = "a\"b'c]d.e\\f\n=1+2\\"
LONG = "x" * 40


# ---- tables
def months(count: int, start: str = "2026-01") -> list[str]:
    return [str(p) for p in pd.period_range(start, periods=count, freq="M")]


def claims_rows(scenarios: tuple[str, ...] = ("base", "linear"), count: int = 5) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    rows = []
    for k in range(count):
        for given in (False, True) if k % 2 else (False,):
            for name in scenarios:
                p = float(rng.uniform())
                title = f"claim {k}, given a bust" if given else f"claim {k}"
                rows.append(
                    {"claim": f"c{k}", "title": title, "scenario": name, "given": given, "probability": p,
                     "low": max(p - 0.02, 0.0), "high": min(p + 0.03, 1.0), "paths": 4096}
                )  # fmt: skip
    return pd.DataFrame(rows)


def survival_rows(count: int = 24, hazards: dict[str, float] | None = None) -> pd.DataFrame:
    hazards = hazards or {"ada": 0.0, "bob": 0.02, "cyd": 0.0201, "dee": 0.05, "eve": 1e-5}
    rows = []
    for name, hazard in hazards.items():
        for m, date in enumerate(months(count), 1):
            a = math.exp(-hazard * m)
            rows.append((m, date, name, a, max(a - 0.01, 0.0), min(a + 0.01, 1.0)))
    return pd.DataFrame(rows, columns=["month", "date", "firm", "alive", "low", "high"])


FLOWS = (
    ("ada", "bob", "compute", 30.0, True), ("bob", "cyd", "chips", 20.0, True), ("cyd", "ada", "equity", 10.0, True),
    ("ada", "dee", "compute", 5.0, False), ("bob", "ada", "rent", 2.5, True), ("eve", "dee", "rent", 0.01, False),
    ("outside customers", "ada", "sales", 500.0, False), ("ada", "outside lenders", "interest", 7.0, False),
)  # fmt: skip


def flow_rows(rows: Any = FLOWS) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["payer", "payee", "kind", "value", "circular"])


def share_rows(
    column: str, names: tuple[str, ...], count: int = 24, first: float = 0.0
) -> pd.DataFrame:
    """Shares that add to 1 in each month; at least ``first`` for the first name."""
    rng = np.random.default_rng(2)
    rows = []
    for m, date in enumerate(months(count), 1):
        shares = rng.dirichlet(np.ones(len(names))) * (1.0 - first)
        shares[0] += first
        rows += [(m, date, name, float(x)) for name, x in zip(names, shares, strict=True)]
    return pd.DataFrame(rows, columns=["month", "date", column, "share"])


ROUNDS = ("no sale", "1", "2", "3 to 5", "6 or more")


def phase_rows(count: int = 24) -> pd.DataFrame:
    return share_rows("phase", tuple(phases.LOOKS), count)


def round_rows(count: int = 24) -> pd.DataFrame:
    return share_rows("rounds", ROUNDS, count, first=0.9)


def sale_rows(count: int = 24) -> pd.DataFrame:
    m = np.arange(1, count + 1)
    return pd.DataFrame(
        {"month": m, "date": months(count), "mean_units": 1e3 * m, "p99_units": 3e3 * m}
    )


def tornado_rows() -> pd.DataFrame:
    rows = [
        ("rental.decline", "1/year", 0.3, 0.03, -2.0, 1.8, 1.9, 1.7, 2.1, 0.4, True),
        ("firms.firm.ada.cash", "USD bn", 5.0, 0.5, 1.0, -0.9, -0.95, -1.2, -0.7, -0.2, True),
        ("gpu_loans.covenant", "share", 0.9, 0.09, math.nan, 0.1, 0.1, -0.1, 0.3, math.nan, False),
    ]
    columns = [
        "parameter",
        "unit",
        "value",
        "step",
        "down",
        "up",
        "effect",
        "low",
        "high",
        "elasticity",
        "told_apart",
    ]
    return pd.DataFrame(rows, columns=columns)


def stress_rows(scenarios: tuple[str, ...] = ("base", "price_war", "freeze")) -> pd.DataFrame:
    rows = []
    for k, (metric, unit) in enumerate((("holders.loss", "USD bn"), ("macro.growth", "1/year"))):
        for j, name in enumerate(scenarios):
            mean = (k == 0 and 100.0 + 10.0 * j) or 0.02 - 0.001 * j
            rows.append(
                (
                    name,
                    f"what {name} is",
                    metric,
                    unit,
                    mean,
                    0.9 * mean,
                    2.0 * mean,
                    0.98 * mean,
                    1.02 * mean,
                )
            )
    columns = ["scenario", "title", "metric", "unit", "mean", "p50", "p95", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


DRAWN: dict[str, tuple[Callable[..., Figure], Callable[[], pd.DataFrame]]] = {
    "claims": (claims.forest, claims_rows),
    "survival": (survival.survival, survival_rows),
    "network": (network.network, flow_rows),
    "phases": (phases.phases, phase_rows),
    "rounds": (fire_sale.rounds, round_rows),
    "sales": (fire_sale.sales, sale_rows),
    "tornado": (tornado.tornado, tornado_rows),
    "stress": (stress.stress, stress_rows),
}


# ---- reading a spec
def views(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Its layers, of all panels, each with its rows in ``rows``."""
    found = []
    for panel in spec.get("concat", [spec]):
        for layer in panel.get("layer", [panel]):
            data = layer.get("data", panel.get("data", spec.get("data")))
            found.append({**layer, "rows": spec["datasets"][data["name"]]})
    return found


def layers(figure: Figure, mark: str) -> list[dict[str, Any]]:
    found = [v for v in views(figure.spec()) if v["mark"]["type"] == mark]
    assert found, f"no {mark} in {figure.name}"
    return found


def field(view: dict[str, Any], channel: str) -> str:
    return str(view["encoding"][channel]["field"])


def texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>(.*?)</text>", svg, re.DOTALL)


def svg_of(figure: Figure) -> str:
    """As a page as wide as 720 pixels shows it."""
    found = vl_convert.vegalite_to_svg(figure.spec(720), allowed_base_urls=[])
    return str(found)


# ---- all of them
@pytest.mark.parametrize("name", DRAWN)
def test_figures_are_sound_and_their_pictures_say_what_they_should(name: str) -> None:
    draw, table = DRAWN[name]
    rows = table()
    figure = draw(rows, source="4,096 paths of base, seed 0")
    assert figure.name == name
    assert figure.title.endswith("?")
    assert re.search(r"\d", figure.caption), "a caption answers with numbers"
    assert figure.source == "4,096 paths of base, seed 0"
    assert len(figure.data) == len(rows)
    spec = figure.spec()  # to_dict checks it against the schema
    assert "NaN" not in json.dumps(spec)
    assert "Infinity" not in json.dumps(spec)
    svg = svg_of(figure)
    assert "undefined" not in svg
    assert "NaN" not in svg
    said = " ".join(texts(svg))
    for word in LABELS[name]:
        assert word in said, f"{word!r} is not in the picture"


LABELS = {
    "claims": ("claim 0", "... given a bust", "base", "linear", "25 %", "100 %"),
    "survival": ("dee 30 %", "cyd 62 %", "bob 62 %", "2 firms: ≥ 99 %"),
    "network": ("ada 35", "bob 22.5", "cyd 10", "dee 5.01", "can come back (striped)"),
    "phases": ("build-out", "late boom", "bust", "efficiency", "% of paths"),
    "rounds": ("6 or more", "3 to 5", "rounds:"),
    "sales": ("mean", "1 path in 100 sells more", "GPUs a month"),
    "tornado": ("rental.decline", "firms.firm.ada.cash", "parameter up", "parameter down"),
    "stress": (
        "loss of all holders, USD bn",
        "macro.growth, % a year",
        "price war",
        "110",
        "1.9 %",
    ),
}


@pytest.mark.parametrize("name", DRAWN)
def test_an_empty_table_gives_a_figure_that_says_so(name: str) -> None:
    draw, table = DRAWN[name]
    figure = draw(table().iloc[:0])
    assert figure.title.endswith("?")
    assert len(figure.data) == 0
    assert figure.caption in " ".join(texts(svg_of(figure)))


@pytest.mark.parametrize("name", DRAWN)
def test_texts_are_not_told_by_the_nearest_point(name: str) -> None:
    # Vega-Lite 6.4 says "undefined" for every text in the tooltip of such a mark
    draw, table = DRAWN[name]
    assert '"nearest": true' not in json.dumps(draw(table()).spec())


def swapped(table: pd.DataFrame) -> pd.DataFrame:
    """The table with names that no one should have."""
    names = {
        "base": EVIL, "linear": LONG, "price_war": QUOTED, "ada": EVIL, "bob": LONG, "cyd": QUOTED,
        "claim 0": EVIL * 4, "claim 1": "", "rental.decline": EVIL, "firms.firm.ada.cash": LONG * 3,
    }  # fmt: skip
    return table.replace(names)


@pytest.mark.parametrize("name", ["claims", "survival", "network", "tornado", "stress"])
def test_hostile_names_stay_text(name: str) -> None:
    draw, table = DRAWN[name]
    figure = draw(swapped(table()))
    svg, page = svg_of(figure), figure.html()
    assert "<script>" not in svg
    assert "alert(1)" in page
    assert EVIL not in page
    assert "undefined" not in svg
    assert "NaN" not in svg
    assert max(len(line) for line in figure.caption.split(".")) < 500
    assert "\n" not in figure.caption


@pytest.mark.parametrize(
    ("draw", "table"),
    [
        (survival.survival, survival_rows(1)),
        (survival.survival, survival_rows(1, {"ada": 0.0})),
        (survival.survival, survival_rows(24, {"ada": 0.1})),
        (survival.survival, survival_rows(24, {f"f{k}": 0.001 * k for k in range(40)})),
        (phases.phases, phase_rows(1)),
        (phases.phases, phase_rows(240)),
        (fire_sale.rounds, round_rows(1)),
        (fire_sale.rounds, round_rows(2)),
        (fire_sale.rounds, share_rows("rounds", ROUNDS, 3, first=1.0)),
        (fire_sale.sales, sale_rows(1)),
        (fire_sale.sales, sale_rows(3).assign(mean_units=0.0, p99_units=0.0)),
        (claims.forest, claims_rows(("base",), 1)),
        (claims.forest, claims_rows(("base",), 40)),
        (claims.forest, claims_rows(tuple("abcdefghij"), 3)),
        (claims.forest, claims_rows().assign(probability=math.nan, low=math.nan, high=math.nan, paths=0)),
        (network.network, flow_rows(FLOWS[:1])),
        (network.network, flow_rows(FLOWS[6:])),
        (network.network, flow_rows([("a", "a", "k", 1.0, True), ("a", "b", "k", math.nan, False)])),
        (network.network, flow_rows([("a", "b", "k", 1e-12, False), ("b", "c", "k", 1e12, False)])),
        (network.network, flow_rows([("a", "b", "k", -1.0, False), ("b", "c", "k", 0.0, False)])),
        (network.network, flow_rows([(f"f{k}", f"f{(7 * k + 1) % 50}", "k", 1.0 / (k + 1), k % 2 == 0) for k in range(50)])),
        (tornado.tornado, tornado_rows().assign(told_apart=False)),
        (tornado.tornado, tornado_rows().iloc[:1].assign(up=0.0, down=0.0, effect=0.0)),
        (stress.stress, stress_rows(("base",))),
        (stress.stress, stress_rows().assign(mean=math.nan, low=math.nan, high=math.nan)),
        (stress.stress, stress_rows().assign(mean=0.0, p50=0.0, p95=0.0, low=0.0, high=0.0)),
    ],
)  # fmt: skip
def test_odd_tables_are_drawn(draw: Callable[..., Figure], table: pd.DataFrame) -> None:
    figure = draw(table)
    svg = svg_of(figure)
    assert "undefined" not in svg
    assert "NaN" not in svg
    assert "nan" not in figure.caption
    assert "inf" not in figure.caption.replace("infinity", "inf")


@pytest.mark.parametrize("name", ["survival", "phases", "rounds", "sales"])
def test_a_run_without_a_calendar_is_drawn_by_month(name: str) -> None:
    draw, table = DRAWN[name]
    figure = draw(table().assign(date=""))
    assert '"temporal"' not in json.dumps(figure.spec())
    assert "month" in texts(svg_of(figure))


def test_fills_differ_on_a_grey_print() -> None:
    for looks in (phases.LOOKS, fire_sale.LOOKS):
        shades = [luminance(fill) for fill, _ in looks.values()]
        assert min(abs(a - b) for a, b in itertools.pairwise(shades)) > 0.1
    for fill, ink in phases.LOOKS.values():  # a label on it: WCAG 2.2, 1.4.3
        a, b = sorted((luminance(fill), luminance({"white": "#FFFFFF"}.get(ink, ink))))
        assert (b + 0.05) / (a + 0.05) > 4.5
    assert abs(luminance(network.ROUND) - luminance(network.PLAIN)) > 0.1
    assert abs(luminance(tornado.LOOKS[tornado.UP]) - luminance(tornado.LOOKS[tornado.DOWN])) > 0.1


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    parts = [int(colour[i : i + 2], 16) / 255.0 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


# ---- claims
def test_the_forest_has_each_share_and_its_interval_at_its_ends() -> None:
    table = claims_rows(("base", "linear", "exponential"), 13)
    figure = claims.forest(table)
    points = [r for v in layers(figure, "point") for r in v["rows"]]
    rules = [r for v in layers(figure, "rule") for r in v["rows"]]
    assert len(points) == len(rules) == len(table)
    want = sorted(zip(100 * table["low"], 100 * table["high"], strict=True))
    assert np.allclose(sorted((r["from"], r["to"]) for r in rules), want)
    said = {(r["scenario"], round(r["percent"], 9)) for r in points}
    assert said == {(r.scenario, round(100 * r.probability, 9)) for r in table.itertuples()}
    for view in layers(figure, "rule"):
        assert (field(view, "x"), field(view, "x2")) == ("from", "to")
        assert view["encoding"]["x"]["scale"]["domain"] == [0, 100]


def test_scenarios_have_lanes_of_their_own_and_differ_in_shape_and_colour() -> None:
    table = claims_rows(("base", "linear", "exponential"), 4)
    (view,) = layers(claims.forest(table), "point")
    places = [r["y"] for r in view["rows"]]
    assert len(set(places)) == len(table)
    assert min(np.diff(sorted(places))) >= claims.LANE - 1e-9
    shapes, fills = (view["encoding"][c]["scale"]["range"] for c in ("shape", "fill"))
    assert len(set(shapes)) == len(set(fills)) == 3


def test_what_belongs_to_a_claim_stays_with_it() -> None:
    table = claims_rows(count=30)
    parts = claims.panels(table)
    assert len(parts) == 6
    assert sum(len(p) for p in parts) == len(table)
    for part in parts:
        assert not part["given"].iloc[0]
    named = claims.titles(table)
    assert named["c1", True, "claim 1, given a bust"] == "... given a bust"


# ---- survival
def test_lines_are_the_table_and_labels_stand_apart() -> None:
    table = survival_rows(24, {f"f{k:02d}": 0.0004 * k for k in range(30)})
    rows, ends = survival.layout(table)
    own = rows[rows["own"]]
    assert own["firm"].nunique() == survival.SHOWN
    key = table.assign(percent=100 * table["alive"]).set_index(["firm", "month"])["percent"]
    for r in rows.itertuples():
        assert math.isclose(r.percent, key[r.firm, r.month], abs_tol=1e-3)
    assert set(own["firm"]) == set(
        table.groupby("firm")["alive"].min().nsmallest(survival.SHOWN).index
    )
    pixels = survival.HEIGHT / (100.0 - survival.floor(table))
    gaps = np.diff(np.sort(ends["label"])) * pixels
    assert gaps.min() >= survival.GAP - 1e-6
    assert ends["label"].max() <= 100.0
    assert ends["label"].min() >= survival.floor(table)


def test_firms_that_never_default_share_one_label() -> None:
    figure = survival.survival(survival_rows(24, {"ada": 0.0, "bob": 0.0, "cyd": 0.0}))
    assert "3 firms: no default" in texts(svg_of(figure))
    assert "none of these paths any of the 3 firms" in figure.caption


def test_the_axis_begins_near_what_happens() -> None:
    assert survival.floor(survival_rows(24, {"ada": 0.0}).assign(low=0.99)) == 98.0
    assert survival.floor(survival_rows(24, {"ada": 0.0}).assign(low=0.6)) == 50.0
    assert survival.floor(survival_rows(24, {"ada": 0.0}).assign(low=0.2)) == 0.0


# ---- places
@pytest.mark.parametrize("seed", range(20))
def test_spread_is_the_isotonic_regression(seed: int) -> None:
    isotonic = pytest.importorskip("scipy.optimize").isotonic_regression
    rng = np.random.default_rng(seed)
    wanted = np.sort(rng.uniform(0.0, 100.0, int(rng.integers(1, 30))))
    gap = float(rng.uniform(0.1, 3.0))
    steps = gap * np.arange(len(wanted))
    want = isotonic(wanted - steps).x + steps
    assert np.allclose(layout.spread(list(wanted), gap), want)
    order = rng.permutation(len(wanted))
    assert np.allclose(layout.spread(list(wanted[order]), gap), want[order])


def test_spread_keeps_to_its_bounds() -> None:
    found = layout.spread([99.0, 99.5, 100.0, 1.0], 5.0, 0.0, 100.0)
    assert found == pytest.approx([90.0, 95.0, 100.0, 1.0])
    assert layout.spread([5.0, 5.0, 5.0], 50.0, 0.0, 10.0) == pytest.approx([0.0, 5.0, 10.0])
    assert layout.spread([], 1.0) == []


# ---- stacked shares
@pytest.mark.parametrize(("name", "column"), [("phases", "phase"), ("rounds", "rounds")])
def test_bands_are_as_high_as_their_shares(name: str, column: str) -> None:
    draw, make = DRAWN[name]
    table = make()
    (area,) = layers(draw(table), "area")
    assert {field(area, c) for c in ("y", "y2")} == {"bottom", "top"}
    months_ = table["month"].nunique()
    drawn = pd.DataFrame(area["rows"])
    first = drawn.groupby(column).head(
        months_
    )  # what follows is the last month again, where it ends
    want = table[table["share"].gt(-1.0) & (table[column] != "no sale")]
    for key, rows in first.groupby(column):
        shares = want.loc[want[column] == key, "share"]
        assert np.allclose((rows["top"] - rows["bottom"]) / 100.0, shares)
    tops = first.groupby("date")["top"].max().to_numpy()
    total = want.groupby("month")["share"].sum().to_numpy()
    assert np.allclose(tops, 100.0 * total)
    if name == "phases":
        assert np.allclose(tops, 100.0)
    bottoms = first.sort_values(["date", "bottom"]).groupby("date")
    for _, rows in bottoms:  # without a gap
        assert rows["bottom"].iloc[0] == 0.0
        assert np.allclose(rows["bottom"].iloc[1:], rows["top"].iloc[:-1])


def test_labels_of_bands_are_within_them() -> None:
    table = phase_rows(60)
    rows = bands.stacked(table, "phase", list(phases.LOOKS))
    found = bands.places(rows, "phase", phases.LOOKS, 280, 100.0)
    for r in found.itertuples():
        at = rows[(rows["date"] == r.date) & (rows["phase"] == r.phase)].iloc[0]
        assert at["bottom"] < r.middle < at["top"]
        assert (at["top"] - at["bottom"]) * 2.8 >= bands.ROOM


# ---- the network
@pytest.mark.parametrize("seed", range(5))
def test_widths_are_values_and_stacks_fill_their_bars(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = [f"f{k}" for k in range(9)]
    pairs = [(a, b) for a in names for b in names if a != b and rng.uniform() < 0.3]
    links = [sankey.Link(a, b, float(rng.lognormal(0.0, 2.0))) for a, b in pairs]
    found = sankey.lay_out(links, 300.0)
    assert math.isclose(found.scale * sum(k.value for k in links), 300.0)
    for side, tops in (("left", found.starts), ("right", found.ends)):
        nodes = {n.name: n for n in found.nodes if n.side == side}
        for name, node in nodes.items():
            mine = [
                (t, k.value)
                for t, k in zip(tops, links, strict=True)
                if name == (k.payer if side == "left" else k.payee)
            ]
            assert math.isclose(node.bottom - node.top, found.scale * node.value)
            assert math.isclose(node.value, sum(v for _, v in mine))
            at = node.top
            for top, value in sorted(mine):
                assert math.isclose(top, at, abs_tol=1e-9)
                at = top + found.scale * value
            assert math.isclose(at, node.bottom, abs_tol=1e-9)
        ordered = sorted(nodes.values(), key=lambda n: n.top)
        for a, b in itertools.pairwise(ordered):
            assert a.bottom < b.top
            assert b.middle - a.middle >= sankey.ROOM - 1e-9
        assert ordered[0].top >= 0.0
        assert ordered[-1].bottom <= found.height


def test_ribbons_run_from_bar_to_bar_at_one_width() -> None:
    drawn = network.shown(flow_rows())
    links = [sankey.Link(r.payer, r.payee, r.value) for r in drawn.itertuples()]
    found = sankey.lay_out(links, network.RIBBONS)
    ribbons, stripes = network.curves(drawn, found)
    assert np.isfinite(ribbons[["x", "y", "y2"]].to_numpy()).all()
    for k, rows in ribbons.groupby("link"):
        width = drawn["value"][k] * found.scale
        assert np.allclose(rows["y2"] - rows["y"], width, atol=0.02)
        assert (rows["x"].iloc[0], rows["x"].iloc[-1]) == (0.0, 1.0)
        ends = [found.starts[k] + network.HEAD, found.ends[k] + network.HEAD]
        assert np.allclose([rows["y"].iloc[0], rows["y"].iloc[-1]], ends, atol=0.01)
    striped = {int(s.split(".")[0]) for s in stripes["stripe"]}
    assert striped == set(drawn.index[drawn["circular"]])


def test_an_order_is_kept_only_where_ribbons_cross_less() -> None:
    links = [sankey.Link("a", "x", 3.0), sankey.Link("b", "y", 2.9), sankey.Link("c", "x", 2.8)]
    found = sankey.lay_out(links, 100.0)
    at = {(n.side, n.name): n.middle for n in found.nodes}
    crossed = [
        (at["left", k.payer] - at["left", j.payer]) * (at["right", k.payee] - at["right", j.payee]) < 0
        for i, k in enumerate(links) for j in links[:i]
    ]  # fmt: skip
    assert not any(crossed)


def test_what_is_drawn_are_the_payments_between_firms() -> None:
    drawn = network.shown(flow_rows())
    assert math.isclose(drawn["value"].sum(), sum(v for *_, v, _ in FLOWS[:6]))
    figure = network.network(flow_rows())
    assert "500 from customers" in figure.caption
    assert "62.5 of it (93 %)" in figure.caption
    assert len(figure.data) == len(FLOWS)


def test_circles_are_named_with_their_least_payment() -> None:
    found = network.circles(network.shown(flow_rows()))
    assert (["ada", "bob", "ada"], 2.5) in found
    (third,) = [f for f in found if len(f[0]) == 4]
    assert third[1] == 10.0
    assert set(third[0]) == {"ada", "bob", "cyd"}
    assert third[0][0] == third[0][-1]
    assert [least for _, least in found] == sorted((x for _, x in found), reverse=True)


def test_the_smallest_of_many_firms_are_put_together() -> None:
    rows = [(f"p{k}", "ada", "k", 1.0 + k, False) for k in range(40)]
    drawn = network.shown(flow_rows(rows))
    assert drawn["payer"].nunique() == network.MOST
    assert math.isclose(drawn["value"].sum(), sum(r[3] for r in rows))
    assert "p39" in set(drawn["payer"])
    assert "25 others" in set(drawn["payer"])


# ---- tornado and stress
def test_bars_reach_from_zero_to_the_change() -> None:
    table = tornado_rows()
    figure = tornado.tornado(table, "holders.loss", "USD bn")
    bars = next(v for v in layers(figure, "rect") if "x2" in v["encoding"])
    assert (field(bars, "x"), field(bars, "x2")) == ("start", "change")
    drawn = {(r["parameter"], r["side"]): r for r in bars["rows"]}
    assert len(drawn) == 5  # one cannot be moved down
    for r in table.itertuples():
        up = drawn[r.parameter, tornado.UP]
        assert (up["start"], up["change"], up["certain"]) == (0.0, r.up, r.told_apart)
    whiskers = next(v for v in layers(figure, "rule") if field(v, "x") == "low")
    assert [(r["low"], r["high"]) for r in whiskers["rows"]] == list(
        zip(table["low"], table["high"], strict=True)
    )
    assert "rental.decline: +1.9 USD bn for 0.03 1/year more" in figure.caption


def test_panels_have_their_own_axis_and_the_base_in_each() -> None:
    table = stress_rows()
    figure = stress.stress(table)
    assert figure.panels == 2
    panels = figure.spec()["concat"]
    for panel, (_, rows) in zip(panels, table.groupby("metric", sort=False), strict=True):
        factor = 100.0 if rows["unit"].iloc[0] == "1/year" else 1.0
        made = {**figure.spec(), "concat": [panel]}
        point = next(v for v in views(made) if v["mark"]["type"] == "point")
        for name in ("mean", "low", "high", "p50", "p95"):
            assert np.allclose([r[name] for r in point["rows"]], factor * rows[name])
        base = next(v for v in views(made) if v["encoding"].get("x", {}).get("field") == "base")
        assert {r["base"] for r in base["rows"]} == {factor * rows["mean"].iloc[0]}
    assert figure.spec()["resolve"]["scale"]["x"] == "independent"
    assert (
        "Furthest from base: loss of all holders under freeze (100 to 120 USD bn)" in figure.caption
    )


def test_words() -> None:
    assert [layout.per_cent(p) for p in (0.0, 1e-5, 0.004, 0.5, 0.996, 0.99999, 1.0, math.nan)] == [
        "0 %", "under 0.1 %", "0.4 %", "50 %", "99.6 %", "over 99.9 %", "100 %", "-"
    ]  # fmt: skip
    assert layout.listed(list("abc")) == "a, b and c"
    assert layout.listed(["a"]) == "a"
    assert layout.listed(list("abcdef"), 3) == "a, b and 4 more"
    assert layout.shortened("firms.firm.coreweave.cash", 11) == "firms….cash"
    assert style.look(0).colour != style.look(1).colour
