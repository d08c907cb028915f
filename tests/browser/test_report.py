"""Reports as a browser shows them. TULLE_SCREENSHOTS names a folder that keeps what was seen."""

import os
import re
import tempfile
from pathlib import Path

import pytest

from chromium import PROGRAM, Chromium
from conftest import Tulle, write_problem

SIZES = [(width, scheme) for width in (1280, 400) for scheme in ("light", "dark")]


@pytest.fixture(scope="module")
def browser():
    if PROGRAM is None:
        reason = "no browser to look with; install chromium"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        running = Chromium(profile)
        yield running
        running.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A page about one run, one about seeds beside a run, and one about recoveries."""
    folder = tmp_path_factory.mktemp("pages")
    write_problem(folder)
    tulle = Tulle(folder)
    tulle("train", "config.toml", "--compare-dense=timing", check=True)
    tulle("train", "config.toml", "--name=seeds", "--seed=1..3", "--rule=rigl", check=True)
    tulle("train", "config.toml", "--name=a name that is long, \"quoted\" and <b>bold", check=True)
    tulle("recover", "--n=400", "--d=20", "--hidden-width=5", "--nnz=10", "--name=found", check=True)
    tulle("recover", "grid", "--n=400", "--d=20", "--widths=4,6", "--budgets=8,12,16", "--name=grid", check=True)
    several = ["out/run", "out/seeds", "out/a name that is long, \"quoted\" and <b>bold"]
    tulle("report", *several, "-o", "several.html", check=True)
    tulle("report", "out/found", "out/grid", "-o", "recoveries.html", check=True)
    return {"run": folder / "out/run/report.html", "several": folder / "several.html",
            "recoveries": folder / "recoveries.html"}  # fmt: skip


def opened(browser, page, width, scheme="light", script=True):
    browser.complaints.clear()
    browser.requests.clear()
    browser.look(width, scheme, script)
    browser.open(page.as_uri())
    if script:
        browser.ask("document.querySelectorAll('details').forEach(one => one.open = true)")
    return browser


@pytest.mark.parametrize("width,scheme", SIZES)
@pytest.mark.parametrize("name", ["run", "several", "recoveries"])
def test_a_page_is_whole_at_every_width_and_in_both_schemes(browser, pages, name, width, scheme):
    page = opened(browser, pages[name], width, scheme)
    assert page.complaints == []
    assert page.requests == [pages[name].as_uri()]
    boxes = page.ask("[...document.querySelectorAll('svg')].map(one => {const b = one.getBBox(), r = "
                     "one.getBoundingClientRect(); return Math.min(b.width, b.height, r.width, r.height)})")  # fmt: skip
    assert len(boxes) >= {"run": 10, "several": 10, "recoveries": 2}[name] and min(boxes) > 0
    assert page.ask("document.documentElement.scrollWidth") <= width
    beyond = page.ask("[...document.querySelectorAll('main *')].filter(one => !one.closest('.wide, svg') && "
                      "one.getBoundingClientRect().right > innerWidth + 1).map(one => one.outerHTML.slice(0, 99))")  # fmt: skip
    assert beyond == []
    shades = page.ask("[document.body, document.querySelector('h1')].map(one => "
                      "[getComputedStyle(one).backgroundColor, getComputedStyle(one).color])")  # fmt: skip
    page_shade, ink = (sum(map(int, re.findall(r"\d+", color)[:3])) for color in (shades[0][0], shades[1][1]))
    assert page_shade > 600 > 200 > ink if scheme == "light" else page_shade < 200 < 600 < ink
    if folder := os.environ.get("TULLE_SCREENSHOTS"):
        page.screenshot(Path(folder) / f"{name}-{width}-{scheme}.png")


@pytest.mark.parametrize("script", [True, False])
def test_other_programs_find_the_figures_in_the_page(browser, pages, script):
    page = opened(browser, pages["several"], 1280, script=script)
    names = page.ask("JSON.parse(document.getElementById('tulle-data').textContent).runs.map(run => run.name)")
    assert names == ["run", "seeds", "a name that is long, \"quoted\" and <b>bold"]
    assert page.complaints == []


def test_words_in_charts_stay_within_their_pictures(browser, pages):
    for width in (1280, 400):
        page = opened(browser, pages["several"], width)
        beyond = page.ask("[...document.querySelectorAll('svg[data-frame] text')].filter(one => {const t = "
                          "one.getBoundingClientRect(), c = one.closest('.card').getBoundingClientRect(); return "
                          "t.left < c.left || t.right > c.right || t.bottom > c.bottom}).map(one => one.textContent)")  # fmt: skip
        assert beyond == []


def test_the_figures_under_the_pointer_are_told(browser, pages):
    page = opened(browser, pages["run"], 1280)
    box = page.ask("(svg => {svg.scrollIntoView(); const b = svg.getBoundingClientRect(); return [b.left, b.top, b.width]})"
                   "([...document.querySelectorAll('figure')].find(one => /Loss/.test(one.textContent)).querySelector('svg'))")  # fmt: skip
    page("Input.dispatchMouseEvent", type="mouseMoved", x=box[0] + 0.11 * box[2], y=box[1] + 60)
    told = page.ask("document.querySelector('.told:not([hidden])').innerText")
    assert re.fullmatch(r"epoch 1\ntrain: [\d.]+\ntest: [\d.]+", told)
    assert page.complaints == []


def test_a_name_switches_its_line(browser, pages):
    page = opened(browser, pages["run"], 1280)
    shown = "getComputedStyle(document.querySelector('svg[data-frame] g')).display"
    assert page.ask(shown) != "none"
    page.ask("document.querySelector('.key').dispatchEvent(new MouseEvent('click'))")
    assert page.ask(shown) == "none"


def test_without_script_the_page_says_the_same(browser, pages):
    page = opened(browser, pages["run"], 1280, script=False)
    page.look(1280)  # so that it can be asked
    assert page.ask("document.querySelectorAll('svg').length") >= 8
    assert page.ask("document.querySelectorAll('.told').length") == 0
