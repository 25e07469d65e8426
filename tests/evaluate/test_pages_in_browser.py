"""The pages in a real browser: nothing to complain about, nothing fetched, nothing cut, on screen, phone and paper."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.evaluate import reports
from tests.evaluate.chromium import Page, browser, chromium
from tests.evaluate.conftest import WorldMaker

pytestmark = pytest.mark.skipif(
    chromium() is None,
    reason="no Chromium on PATH: Debian has it as a package, apt-get install --no-install-recommends chromium",
)
NAMES = ("retrieval", "multiple_choice", "question_answering", "compare")
WIDTHS = {"desktop": 1280, "phone": 360}
LOADED = """Promise.all([...document.querySelectorAll('img, image')].map(async found => {
    const image = new Image(); image.src = found.getAttribute('src') || found.getAttribute('href');
    try { await image.decode(); } catch (error) { return 'broken: ' + image.src.slice(0, 60); }
    return image.naturalWidth > 0 ? '' : 'empty: ' + image.src.slice(0, 60); }))"""
SHOWN = """[...document.querySelectorAll('use')].map(use => {
    const box = use.getBoundingClientRect(); return box.width > 0 && box.height > 0; })"""
CUT = """[...document.querySelectorAll('main *')].filter(found => {
    if (found.closest('.scroll, svg, .sr, details:not([open])')) return false;
    const box = found.getBoundingClientRect();
    return box.width > 0 && (box.right > document.documentElement.clientWidth + 1 || box.left < -1);
}).map(found => found.tagName + '.' + found.className)"""
ORDER = "[...document.querySelectorAll('h1, h2, h3, h4, h5')].map(found => Number(found.tagName[1]))"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """All pages; one video is missing, two of three have frames."""
    folder = tmp_path_factory.mktemp("pages")
    world = WorldMaker(folder)(questions=reports.ASKED, absent=["inkwell"])
    root = reports.media(folder / "media")
    retrieval, found = reports.retrieval_page(folder, world, root, allow_missing=True, frames=3)
    return {
        "retrieval": retrieval,
        "multiple_choice": reports.multiple_choice_page(folder, world, root, frames=1)[0],
        "question_answering": reports.question_answering_page(folder, world, root, frames=1)[0],
        "compare": reports.comparison_page(folder, found),
    }


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    program = chromium()
    assert program is not None
    with browser(program, tmp_path_factory.mktemp("profile")) as page:
        yield page


def complaints(tab: Page) -> list[object]:
    """What stands in the console: errors, warnings, anything that a script said or threw."""
    kinds = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Network.loadingFailed")
    return [parameters for method, parameters in tab.events if method in kinds]


def requests(tab: Page) -> list[str]:
    found = [p["request"]["url"] for method, p in tab.events if method == "Network.requestWillBeSent"]
    return [url for url in found if not url.startswith("data:")]


@pytest.mark.parametrize("device", WIDTHS)
@pytest.mark.parametrize("name", NAMES)
def test_page_is_whole(pages: dict[str, Path], tab: Page, name: str, device: str) -> None:
    tab.open(pages[name], WIDTHS[device])
    images = tab.evaluate(LOADED)
    assert not any(images), images
    assert images or name == "compare"
    assert all(tab.evaluate(SHOWN))
    width = tab.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert width[0] <= width[1], f"{width[0]} pixels on a screen of {width[1]}"
    assert not tab.evaluate(CUT)
    smallest = tab.evaluate("Math.min(...[...document.querySelectorAll('p, td, th, li')].map(found =>"
                            " parseFloat(getComputedStyle(found).fontSize)))")  # fmt: skip
    assert smallest >= 10
    assert requests(tab) == [pages[name].resolve().as_uri()]
    assert not complaints(tab)


@pytest.mark.parametrize("name", NAMES)
def test_headings_descend_one_level_at_a_time(pages: dict[str, Path], tab: Page, name: str) -> None:
    tab.open(pages[name], WIDTHS["desktop"])
    levels = tab.evaluate(ORDER)
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels)), levels


@pytest.mark.parametrize("name", NAMES)
def test_page_prints(pages: dict[str, Path], tab: Page, name: str) -> None:
    tab.open(pages[name], WIDTHS["desktop"])
    document = tab.pdf()
    assert document.startswith(b"%PDF-") and len(re.findall(rb"/Type\s*/Page\b", document)) > 0
    assert len(document) < 5 << 20


def test_what_would_be_wrong_is_seen(tmp_path: Path, tab: Page) -> None:
    """The checks above can fail: a page with each of the faults."""
    page = tmp_path / "bad.html"
    page.write_text(
        '<!doctype html><meta name="viewport" content="width=device-width"><main><img src="data:image/png;base64,AAAA">'
        '<p style="width:2000px">wide</p><img src="absent.png"></main><script>console.warn("said")</script>',
        encoding="utf-8",
    )
    tab.open(page, WIDTHS["desktop"])
    assert any(tab.evaluate(LOADED)) and tab.evaluate(CUT)
    assert tab.evaluate("document.documentElement.scrollWidth > window.innerWidth")
    assert len(requests(tab)) > 1 and complaints(tab)
