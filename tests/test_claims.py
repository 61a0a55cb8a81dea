"""Answers to claims: the counts of a run, their statistics, and how they are shown."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from overbuilt import ConfigError, System, load, output
from overbuilt.engine import claims_table
from overbuilt.engine.claims import ClaimsResult, evaluate, switch_on, with_systems
from overbuilt.engine.economy import FLOW, SYSTEMS
from overbuilt.engine.economy.claims import Claim, Claims, UnknownVariables
from overbuilt.engine.economy.stress import Stress
from overbuilt.engine.proportions import holm, paired_interval, sign_test, wilson
from overbuilt.engine.simulate import plan
from overbuilt.engine.system import Economy, rows, setting

from .claim_model import BACKENDS, MONTHS, SEED, Market, claim, economy, record


# ---- statistics
def test_wilson_against_scipy() -> None:
    for n in (1, 7, 100, 12345, 10**9):
        for k in {1, n // 3, n // 2, n - 1} - {0, n}:
            wanted = stats.binomtest(k, n).proportion_ci(0.95, "wilson")
            assert wilson(k, n) == pytest.approx((wanted.low, wanted.high), rel=1e-7, abs=1e-12)
    assert wilson(0, 1000) == (0.0, 0.003)  # Hanley and Lippman-Hand (1983)
    assert wilson(1000, 1000) == (0.997, 1.0)
    assert wilson(0, 2) == (0.0, 1.0)
    assert wilson(0, 0) == (0.0, 1.0)


def test_sign_test_against_scipy() -> None:
    for b, c in [(0, 0), (0, 1), (5, 0), (8, 2), (10, 10), (130, 95), (40_000, 41_000)]:
        wanted = stats.binomtest(b, b + c).pvalue if b + c else 1.0
        assert sign_test(b, c) == pytest.approx(wanted, rel=1e-9)
        assert sign_test(c, b) == sign_test(b, c)


def test_holm_by_hand() -> None:
    # 0.01 x 4, 0.02 x 3, 0.03 x 2 raised to its predecessor, 0.5
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_agresti_and_min_by_hand() -> None:
    """b 30, c 10 of 1000: (20/1002) +- 1.96 sqrt(41 + ... ) with half a pair added to each count."""
    b, c, n = 30.5, 10.5, 1002.0
    half = 1.959964 * math.sqrt((b + c) - (b - c) ** 2 / n) / n
    assert paired_interval(30, 10, 1000) == pytest.approx((20 / n - half, 20 / n + half), rel=1e-6)
    assert paired_interval(10, 30, 1000) == pytest.approx((-20 / n - half, half - 20 / n), rel=1e-6)
    assert paired_interval(0, 0, 0) == (-1.0, 1.0)


@pytest.mark.parametrize(("p", "q", "n"), [(0.3, 0.4, 60), (0.05, 0.1, 80), (0.5, 0.5, 40)])
def test_intervals_cover(p: float, q: float, n: int) -> None:
    """Of 4,000 samples about 95 % of intervals hold the truth; four standard errors are 1.4 points."""
    rng = np.random.default_rng(3)
    u = rng.random((4000, n))
    a, b = u < p, (u + 0.2) % 1.0 < q  # dependent pairs
    k = a.sum(axis=1)
    single = np.mean([low <= p <= high for low, high in (wilson(int(i), n) for i in k)])
    gained, lost = (b & ~a).sum(axis=1), (a & ~b).sum(axis=1)
    pairs = [paired_interval(int(g), int(h), n) for g, h in zip(gained, lost, strict=True)]
    paired = np.mean([low <= q - p <= high for low, high in pairs])
    assert 0.92 < single < 0.985
    assert 0.92 < paired < 0.985


# ---- the run
QUESTIONS = (
    claim("at(market.x, 12) > 1.1", "high"),
    claim("ever(market.y > 3.2)", "rare"),
    claim("market.x > 1", "up", given="ever(market.y > 2)", given_title="good news"),
    claim("market.x > 1000", "never"),
)


def ask(*economies: Economy, **more: Any) -> ClaimsResult:
    return evaluate(economies, **({"paths": 3000, "seed": SEED, "backend": "native"} | more))


def test_counts_are_those_of_the_paths() -> None:
    one, two = economy(*QUESTIONS), economy(*QUESTIONS, name="two", drift=0.2)
    found = ask(one, two, dtype="float64")
    outs = {
        e.name: plan(e, "native", "float64").run(SEED, 0, 3000).metrics > 0.5 for e in (one, two)
    }
    names = [m.partition(".")[2] for m in one.metrics]
    for e in (one, two):
        hit = dict(zip(names, outs[e.name], strict=True))
        before = dict(zip(names, outs["one"], strict=True))
        for c in ("high", "rare", "up", "never"):
            a = found.answers[c, e.name]
            assert a.probability == hit[c].mean()
            assert a.interval == wilson(int(hit[c].sum()), 3000)
            if e is two:
                gained, lost = int((hit[c] & ~before[c]).sum()), int((before[c] & ~hit[c]).sum())
                assert a.difference == (gained - lost) / 3000
                assert a.difference_interval == paired_interval(gained, lost, 3000)
            else:
                assert a.difference is None
        a = found.answers["up", e.name]
        joint = hit["up"] & hit["up_given"]
        assert a.joint == joint.mean()
        assert a.conditional == joint.sum() / hit["up_given"].sum()
        assert a.conditional_interval == wilson(int(joint.sum()), int(hit["up_given"].sum()))
    raw = {
        c: sign_test(t.gained, t.lost)
        for (c, n), t in ((k, a.tally) for k, a in found.answers.items())
        if n == "two"
    }
    adjusted = dict(zip(raw, holm(list(raw.values())), strict=True))
    assert found.tests == 4
    for c, p in adjusted.items():
        assert found.answers[c, "two"].p_value == p
        assert found.answers[c, "two"].verdict == ("told apart" if p < 0.05 else "noise")
    assert found.answers["high", "two"].told_apart
    assert not found.answers["never", "two"].told_apart


def test_common_random_numbers() -> None:
    """The same economy by another name differs on no path, and a drift that helps gains and never loses."""
    one, same = economy(*QUESTIONS), economy(*QUESTIONS, name="same")
    better = economy(*QUESTIONS, name="better", drift=0.3)
    found = ask(one, same, better)
    for c in QUESTIONS:
        t = found.answers[c["name"], "same"].tally
        assert (t.gained, t.lost) == (0, 0)
        assert found.answers[c["name"], "same"].verdict == "noise"
    t = found.answers["high", "better"].tally
    assert t.gained > 100
    assert t.lost == 0


@pytest.mark.parametrize("batch", [1, 7, 1000, 2999])
def test_blocks_add_up(batch: int) -> None:
    economies = economy(*QUESTIONS), economy(*QUESTIONS, name="two", drift=0.2)
    paths = 50 if batch == 1 else 3000
    whole, parts = ask(*economies, paths=paths), ask(*economies, paths=paths, batch=batch)
    assert whole.answers == parts.answers


def test_progress_counts_all_runs() -> None:
    seen: list[tuple[int, int]] = []
    ask(
        economy(*QUESTIONS), economy(*QUESTIONS, name="two"), paths=100, batch=60,
        progress=lambda done, total, seconds: seen.append((done, total)),
    )  # fmt: skip
    assert seen == [(60, 200), (120, 200), (160, 200), (200, 200)]


def test_backends_count_the_same() -> None:
    results = [ask(economy(*QUESTIONS), backend=b, dtype="float64", paths=1500) for b in BACKENDS]
    assert all(r.answers == results[0].answers for r in results)


def test_a_short_run_leaves_later_claims_undecided() -> None:
    made = economy(*QUESTIONS, claim("at(market.x, 20) > 1", "late"))
    found = ask(made, months=12)
    assert found.why == {("late", "one"): "names month 20; the run has 12"}
    assert ("late", "one") not in found.answers
    assert found.answers["high", "one"].probability == ask(made).answers["high", "one"].probability
    short = economy(*QUESTIONS, claim("at(market.x, 20) > 1", "late"), months=12)
    assert "claims.late" not in short.metrics
    assert "-" in printed(found)


def test_one_asks_and_all_answer() -> None:
    """A user's claim is put to the other scenarios too, where they have what it reads."""

    class Extra(System):
        z = output("1", metric=False)

        def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
            return {"z": draw.normal("z")}

    mine = claim("at(market.x, 3) > 1", "mine"), claim("extra.z > 0", "own")
    one = economy(*QUESTIONS)
    two = Economy(
        Market(drift=0.1), Extra(), Claims(claim=[*QUESTIONS, *mine]), months=MONTHS, name="two"
    )
    found = ask(one, two)
    assert [c.name for c in found.claims] == ["high", "rare", "up", "never", "mine", "own"]
    assert found.answers["mine", "one"].probability == pytest.approx(0.5, abs=0.05)
    assert found.answers["mine", "two"].difference is not None
    assert ("own", "one") not in found.answers
    assert found.why["own", "one"] == "reads what this scenario lacks"
    assert found.answers["own", "two"].difference is None
    # one that has no claims of its own answers as well
    assert ask(Economy(Market(), months=MONTHS, name="bare"), two).answers["mine", "bare"]


def test_what_cannot_be_compared_is_refused() -> None:
    other = economy(claim("market.x > 2", "high"), name="two")
    with pytest.raises(ConfigError) as error:
        ask(economy(*QUESTIONS), other)
    assert error.value.problems == [
        "claims.claim.high.event = 'market.x > 2' in two: should be as in one, 'at(market.x, 12) > 1.1'"
    ]
    with pytest.raises(ConfigError, match="stands 2 times; names should differ"):
        ask(economy(*QUESTIONS), economy(*QUESTIONS))
    with pytest.raises(
        ConfigError, match="two: months = 36: should be 24 as in one, or say --months"
    ):
        ask(economy(*QUESTIONS), economy(*QUESTIONS, name="two", months=36))
    with pytest.raises(ConfigError, match="one: has no claims; add claims to its systems"):
        ask(Economy(Market(), name="one"))
    with pytest.raises(ConfigError, match="at least one scenario"):
        ask()
    with pytest.raises(ConfigError, match=r"paths = 0.*\n?.*"):
        ask(economy(*QUESTIONS), paths=0)
    with pytest.raises(ConfigError, match="batch = 0"):
        ask(economy(*QUESTIONS), batch=0)
    with pytest.raises(UnknownVariables, match="market gives no q"):
        ask(economy(claim("market.q > 0")))


def test_paths_that_are_not_finite_are_left_out_and_counted() -> None:
    class Broken(Market):
        system_name = "market"

        def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
            new = super().step(xp, s, up, draw)
            bad = (up.month == 3) & (new["y"] > 1.0)
            return new | {"log": xp.where(bad, new["log"] / 0.0, new["log"])}

    broken = Economy(Broken(), Claims(claim=list(QUESTIONS)), months=MONTHS, name="broken")
    found = ask(economy(*QUESTIONS), broken)
    lost = found.bad["broken"]
    assert found.bad == {"one": 0, "broken": lost}
    assert 300 < lost < 700
    tally = found.answers["high", "broken"].tally
    assert tally.paths == tally.pairs == 3000 - lost
    sound = plan(broken, "native").run(SEED, 0, 3000).bad == 0
    high = plan(economy(*QUESTIONS), "native").run(SEED, 0, 3000).metrics[1] > 0.5
    assert tally.event == (high & sound).sum()
    assert (tally.gained, tally.lost) == (0, 0)
    assert f"broken: {lost} of 3,000 paths" in printed(found)
    turned = ask(broken, economy(*QUESTIONS)).answers["high", "one"].tally
    assert (turned.paths, turned.pairs, turned.gained, turned.lost) == (3000, 3000 - lost, 0, 0)


# ---- forced claims
class Squeezed(Market):
    """The market under what stress forces on it."""

    system_name = "market"

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        new = super().step(xp, s, up, draw)
        return new | {"x": new["x"] * xp.exp(up.stress.demand), "demand": up.stress.demand}


def squeezed(name: str, *claims: dict[str, str], drift: float = 0.0) -> Economy:
    return Economy(
        Stress(), Squeezed(drift=drift), Claims(claim=list(claims)), months=MONTHS, name=name
    )


def test_a_forced_claim_has_a_run_of_its_own() -> None:
    """demand_slump takes 0.5 off the log of x in months 12 to 35."""
    questions = (
        claim("at(market.x, 12) < 0.8", "natural"),
        claim("at(market.x, 12) < 0.8", "forced", forced="demand_slump"),
    )
    one, two = squeezed("one", *questions), squeezed("two", *questions, drift=0.1)
    assert "claims.forced" not in one.metrics
    found = ask(one, two, dtype="float64")
    x = record(paths=3000)["x"][11]
    assert found.answers["natural", "one"].probability == np.mean(x < 0.8)
    assert found.answers["forced", "one"].probability == np.mean(x * math.exp(-0.5) < 0.8)
    assert found.answers["forced", "two"].tally.gained == 0
    assert found.answers["forced", "two"].tally.lost > 0
    assert "with demand_slump forced" in printed(found)


def test_a_forcing_of_ones_own() -> None:
    questions = (claim("at(market.x, 12) < 0.8", "forced", forced="crash"),)
    one = economy(*questions)

    def crash(e: Economy) -> Economy:
        return with_systems(e, Market(drift=-6.0))

    found = ask(one, forcings={"crash": crash})
    assert found.answers["forced", "one"].probability == 1.0
    with pytest.raises(ConfigError, match="one: has no event 'crash' to force"):
        ask(one)
    with pytest.raises(ConfigError, match="did you mean 'demand_slump'"):
        switch_on("demand_slum")(squeezed("one"))


# ---- as a system
@pytest.fixture
def wired(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The flow with claims at its end."""
    monkeypatch.setitem(SYSTEMS, Claims.key(), Claims)
    return [s.key() for s in FLOW if s is not Claims] + [Claims.key()]


def file_of_ones_own(folder: Path, systems: list[str], text: str) -> Path:
    """A scenario with claims of its own and none of the shipped ones."""
    gone = "".join(f"[[claims.claim]]\nname = '{c.name}'\nremove = true\n" for c in Claims().claim)
    path = folder / "mine.toml"
    path.write_text(f"extends = 'base'\nsystems = {systems}\n{gone}{text}")
    return path


def test_a_file_adds_a_claim(tmp_path: Path, wired: list[str]) -> None:
    text = """
        [[claims.claim]]
        name = "mine"
        title = "H100 a tenth cheaper within half a year"
        event = "min(rental.hopper, 1, 6) <= 0.9 * rental.hopper_start"
        given = "ever(revenue.regime == 1, 1, 6)"
        given_title = "linear growth"
    """
    made = load(file_of_ones_own(tmp_path, wired, text)).economy
    assert made.metrics[-2:] == ("claims.mine", "claims.mine_given")
    found = evaluate([made], 64, backend="numpy", months=6).answers["mine", "mine"]
    assert found.probability is not None
    assert 0 < found.probability < 1
    assert found.tally.given > 0


def test_a_file_with_a_wrong_claim(tmp_path: Path, wired: list[str]) -> None:
    def problems(event: str) -> list[str]:
        text = f"[[claims.claim]]\nname = 'mine'\nevent = {json.dumps(event)}"
        with pytest.raises(ConfigError) as error:
            load(file_of_ones_own(tmp_path, wired, text))
        return error.value.problems

    where = "claims.claim.mine.event = "
    assert problems("rental.hoper > 1") == [
        f"{where}'rental.hoper > 1': rental gives no hoper; did you mean 'hopper'?"
    ]
    assert problems("rentl.hopper > 1") == [
        f"{where}'rentl.hopper > 1': rentl is no system; did you mean 'rental'?"
    ]
    assert problems("rental.hopper") == [
        f"{where}'rental.hopper': is a number; should be a condition, such as ... > 0"
    ]
    assert "compute.history is a table of its own" in problems("compute.history > 1")[0]


def test_rows_that_are_gone_are_found_before_a_run() -> None:
    """Claims as they ship are traced where another table has other rows, since rows are variables."""

    class Rental(System):
        generation = rows(Claim, [{"name": "hopper"}], "the test's")

        def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
            return {"other": 1.0 * draw.uniform("u")}

    hopper = next(c.values() for c in Claims().claim if c.name == "hopper_keeps")
    asked = Claims(claim=[hopper])
    assert asked.fits({"rental": Rental()}) == []
    found = asked.fits({"rental": Rental(generation=[{"name": "other"}])})
    assert len(found) == 2  # the price, and its start
    assert found[0].startswith("claims.claim.hopper_keeps.event = ")
    assert "rental gives no hopper" in found[0]


def test_shipped_claims() -> None:
    """All 32 of the list are there, each has an event that can be read, a title that fits and a source."""
    asked = Claims()
    assert {c.number.rstrip("bcd") for c in asked.claim} == {str(n) for n in range(1, 33)}
    assert asked.check() in ([], [line for line in asked.check() if "is no system" in line])
    for c in asked.claim:
        assert c.number
        assert 0 < len(c.title) <= claims_table.TITLE, c.title
        assert c.source
        assert bool(c.given) == bool(c.given_title), c.name
        assert len(c.given_title) <= claims_table.TITLE - len("  given "), c.given_title
    assert [c.name for c in asked.claim if c.forced] == ["loop_holds"]


# ---- what is shown
def printed(result: ClaimsResult) -> str:
    text = io.StringIO()
    claims_table.print_claims(result, Console(file=text, width=100, emoji=False))
    lines = text.getvalue().splitlines()
    assert all(len(line) <= 100 for line in lines), max(lines, key=len)
    return text.getvalue()


def test_the_table() -> None:
    one = economy(*QUESTIONS)
    more = [
        economy(*QUESTIONS, name=n, drift=d)
        for n, d in (("rising", 0.3), ("falling", -0.3), ("flat", 0.0))
    ]
    found = ask(one, *more, paths=20_000)
    text = printed(found)
    high = next(line for line in text.splitlines() if "claim high" in line)
    p = found.answers["high", "one"].probability
    assert p is not None
    assert f"{100 * p:.1f}" in high
    assert high.count("*") == 2  # rising and falling are told apart
    assert "given good news" in text
    assert "<0.015" in text  # of 20,000 paths none: three over n
    assert "Holm" in text
    assert "20,000 paths" in text
    for name in ("one", "rising", "falling", "flat"):
        assert name in text


@pytest.mark.parametrize(
    ("k", "n", "text"),
    [
        (500, 1000, "50 ±3"),
        (62_000, 100_000, "62.0 ±0.3"),
        (620_000, 1_000_000, "62.00 ±0.10"),
        (0, 1000, "<0.3"),
        (1000, 1000, ">99.7"),
        (0, 10_000_000, "<0.001"),
        (1, 1_000_000, "<0.001"),
        (999_999, 1_000_000, ">99.999"),
        (1, 1000, "<0.56"),
        (100, 100_000, "0.100 ±0.020"),
        (99_900, 100_000, "99.900±0.020"),
        (1_000_000, 10_000_000_000, "0.010 ±0.001"),
    ],
)
def test_a_share_fits_its_column(k: int, n: int, text: str) -> None:
    assert claims_table.share(k / n, wilson(k, n)) == text
    assert len(text) <= claims_table.SHARE


def test_json_and_frame() -> None:
    found = ask(economy(*QUESTIONS), economy(*QUESTIONS, name="two", drift=0.2), paths=500)
    plain = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert plain["paths"] == 500
    assert [r["scenario"] for r in plain["claims"]] == ["one", "two"] * 4
    up = plain["claims"][5]
    assert up["claim"] == "up"
    assert up["low"] < up["probability"] < up["high"]
    assert up["verdict"] in ("told apart", "noise")
    frame = found.frame()
    assert frame.loc[("up", "two"), "conditional"] == up["conditional"]
    assert frame.loc[("high", "one"), "verdict"] == ""


def test_claim_rows_hold_text_only() -> None:
    """An event shapes the program, so it is a setting; nothing of a claim is read at run time."""
    assert all(type(d) is type(setting("", "")) for d in Claim.fields.values())
    assert isinstance(Claims.fields["claim"], type(rows(Claim, [], "")))
