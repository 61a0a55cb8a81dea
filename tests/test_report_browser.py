"""The report in a browser: Debian's Chromium, without a window. Left out, with a reason, where there is none."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import reports

api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(
    (p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None
)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium here: apt-get install chromium, then the report is opened"
)
NAMES = ("page", "comparison", "textbook", "no defaults", "very large", "one path", "one month")
LEAST = 11.0
"""Pixels of a letter at least, on a phone."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with api.sync_playwright() as p:
        found = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reports")


def file_of(name: str, folder: Path) -> Path:
    path = folder / f"{name.replace(' ', '_')}.html"
    if not path.exists():
        made = {"page": reports.page, "comparison": reports.comparison}
        path.write_text(made[name]() if name in made else reports.small(name), encoding="utf-8")
    return path


class Opened:
    """A page of the browser, and everything that it complained about or asked for."""

    def __init__(self, browser: Any, path: Path, width: int = 1280, **context: Any) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, **context)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda m: self.said.append(f"{m.type}: {m.text}"))
        self.page.on("pageerror", lambda e: self.said.append(f"error: {e}"))
        self.page.on("request", lambda r: self.asked.append(r.url))
        self.page.goto(path.as_uri())

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *exception: object) -> None:
        self.context.close()

    def draw(self) -> list[tuple[str, str]]:
        """All charts live."""
        return [tuple(x) for x in self.page.evaluate("overbuiltDrawAll()")]


MARKS = """() => [...document.querySelectorAll("figure[data-chart]")].map(f => [
  f.id, f.querySelectorAll(".live svg").length,
  f.querySelectorAll(".live svg .mark-line path, .live svg .mark-area path, .live svg .mark-rect path, " +
    ".live svg .mark-symbol path, .live svg .mark-rule line, .live svg .mark-text text, .live svg .mark-trail path").length,
  f.querySelector(".live svg").getBoundingClientRect().height, f.querySelector(".live").clientWidth,
  f.querySelector(".live svg").getBoundingClientRect().width])"""


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [1280, 360])
def test_every_chart_is_drawn_without_a_complaint_or_a_request(
    name: str, width: int, browser: Any, folder: Path
) -> None:
    path = file_of(name, folder)
    with Opened(browser, path, width) as opened:
        states = opened.draw()
        assert states
        assert {state for _, state in states} == {"live"}
        for chart, pictures, marks, height, room, wide in opened.page.evaluate(MARKS):
            assert pictures == 1, chart
            assert marks >= 2, chart
            assert height > 40, chart
            assert wide <= room + 1, chart
        assert opened.said == []
        assert opened.asked == [path.as_uri()]
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= width


SMALL_TEXT = """least => [...document.querySelectorAll("body *")].flatMap(e => {
  const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
  if (!own || ["SCRIPT", "STYLE"].includes(e.tagName) || e.closest(".still")) return [];
  const box = e.getBoundingClientRect();
  if (!box.width || !box.height) return [];
  const svg = e.closest("svg"), scale = svg && svg.viewBox.baseVal.width
    ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
  const size = parseFloat(getComputedStyle(e).fontSize) * scale;
  return size < least - 0.2 ? [[e.tagName, e.textContent.slice(0, 40), size]] : [];
})"""


@pytest.mark.parametrize("name", ["page", "comparison"])
def test_text_is_readable_on_a_phone(name: str, browser: Any, folder: Path) -> None:
    with Opened(browser, file_of(name, folder), 360) as opened:
        opened.draw()
        assert opened.page.evaluate(SMALL_TEXT, LEAST) == []


def test_reads_without_a_script(browser: Any, folder: Path) -> None:
    with Opened(browser, file_of("page", folder), java_script_enabled=False) as opened:
        page = opened.page
        charts = page.locator("figure[data-chart]").count()
        stills = page.locator("figure[data-chart] .still svg")
        assert stills.count() == charts > 15
        for k in range(charts):
            box = stills.nth(k).bounding_box()
            assert box is not None
            assert min(box["width"], box["height"]) > 30
        assert page.locator("button:visible").count() == 0
        assert opened.said == []


def test_hostile_texts_do_nothing(browser: Any, folder: Path) -> None:
    with Opened(browser, file_of("page", folder)) as opened:
        opened.draw()
        page = opened.page
        assert page.evaluate("window.pwned") is None
        assert page.locator("script:not([type])").count() == 2
        assert page.locator("img, iframe, object, embed").count() == 0
        links = page.evaluate(
            "[...document.querySelectorAll('[href]')].map(e => e.getAttribute('href'))"
        )
        assert all(re.match(r"#|data:(text/csv|application/toml|,)", link) for link in links)
        hover = page.locator("#chart-survival .live svg")
        hover.scroll_into_view_if_needed()
        box = hover.bounding_box()
        for share in (0.3, 0.5, 0.7):
            page.mouse.move(box["x"] + share * box["width"], box["y"] + 0.4 * box["height"])
            page.wait_for_timeout(60)
        assert page.evaluate("window.pwned") is None
        assert opened.said == []


def test_the_policy_holds(browser: Any, folder: Path) -> None:
    """A script that gets in by a mistake does not run, and nothing leaves the page."""
    path = folder / "tampered.html"
    text = file_of("page", folder).read_text(encoding="utf-8")
    bad = '<script>window.pwned = 1</script><img src="http://127.0.0.1:9/x"><p onclick="window.pwned = 2" id="bad">x</p>'
    path.write_text(text.replace("<footer>", f"{bad}<footer>"), encoding="utf-8")
    with Opened(browser, path) as opened:
        opened.page.locator("#bad").dispatch_event("click")
        opened.page.wait_for_timeout(100)
        assert opened.page.evaluate("window.pwned") is None
        assert len([s for s in opened.said if "Content Security Policy" in s]) >= 3


def test_hover_shows_values_and_the_axis_can_be_switched(browser: Any, folder: Path) -> None:
    with Opened(browser, file_of("page", folder)) as opened:
        opened.draw()
        page = opened.page
        figure = page.locator("#chart-fan_rental_hopper")
        chart = figure.locator(".live svg")
        chart.scroll_into_view_if_needed()
        tip = page.locator(".tip")
        for n in range(50):  # scrolling, which hides it, ends when the browser says so
            box = chart.bounding_box()
            page.mouse.move(box["x"] + 0.5 * box["width"] + n % 2, box["y"] + 0.5 * box["height"])
            page.wait_for_timeout(100)
            if tip.is_visible():
                break
        assert tip.is_visible()
        assert "median" in tip.inner_text()
        button = figure.locator("button.toggle")
        assert button.inner_text() == "Log axis"
        shape = figure.locator(".live .mark-line path").first.get_attribute("d")
        button.click()
        page.wait_for_function(
            "d => document.querySelector('#chart-fan_rental_hopper .live .mark-line path')?.getAttribute('d') !== d",
            arg=shape,
        )
        assert button.inner_text() == "Linear axis"
        button.click()
        page.wait_for_function(
            "d => document.querySelector('#chart-fan_rental_hopper .live .mark-line path')?.getAttribute('d') === d",
            arg=shape,
        )
        assert figure.locator(".live svg").count() == 1
        assert opened.said == []


def test_charts_wake_as_they_come_into_view(browser: Any, folder: Path) -> None:
    with Opened(browser, file_of("page", folder)) as opened:
        page = opened.page
        last = page.locator("#chart-stress")
        assert last.get_attribute("data-state") == "waiting"
        last.scroll_into_view_if_needed()
        page.wait_for_function(
            "() => document.querySelector('#chart-stress').dataset.state === 'live'"
        )


def test_the_data_link_gives_a_file(browser: Any, folder: Path) -> None:
    with Opened(browser, file_of("page", folder), accept_downloads=True) as opened:
        opened.draw()  # else a chart above may still change its height under the pointer
        with opened.page.expect_download() as download:
            opened.page.locator("#chart-fan_rental_hopper a.csv").click()
        assert download.value.suggested_filename == "fan_rental_hopper.csv"
        lines = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
        assert len(lines) == 61
        assert lines[0].startswith("scenario,variable,date,month")


@pytest.mark.parametrize("name", ["page", "comparison", "textbook"])
def test_prints(name: str, browser: Any, folder: Path) -> None:
    with Opened(browser, file_of(name, folder)) as opened:
        opened.draw()
        pdf = opened.page.pdf(prefer_css_page_size=True)
        pages = len(re.findall(rb"/Type\s*/Page\b", pdf))
        assert pdf.startswith(b"%PDF")
        assert pages >= (3 if name == "textbook" else 8)
        opened.page.emulate_media(media="print")
        assert opened.page.locator("button:visible, a.csv:visible, .live svg:visible").count() == 0
        stills = opened.page.locator(".still svg:visible").count()
        assert stills == opened.page.locator("figure[data-chart]").count()


def test_dark_keeps_charts_on_paper_and_text_apart(browser: Any, folder: Path) -> None:
    """Contrast of text to its background of 4.5 at least (WCAG 2.2, 1.4.3), in both schemes."""
    for scheme in ("light", "dark"):
        with Opened(browser, file_of("textbook", folder), color_scheme=scheme) as opened:
            worst = opened.page.evaluate(CONTRAST)
            assert worst[0] >= 4.5, (scheme, worst)


CONTRAST = """() => {
  const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).map(Number).map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const back = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
    if (c !== "rgba(0, 0, 0, 0)" && c !== "transparent") return c; } return "rgb(255, 255, 255)"; };
  const found = [...document.querySelectorAll("h1, h2, h3, p, a, td, th, li, summary, code, span")]
    .filter(e => e.getClientRects().length && !e.closest(".skip"))
    .map(e => { const a = light(getComputedStyle(e).color), b = light(back(e));
      return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.tagName, e.textContent.slice(0, 40)]; });
  return found.sort((x, y) => x[0] - y[0])[0];
}"""
