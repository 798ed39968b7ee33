"""What a browser makes of the page: nothing clipped, nothing on top of anything, legible in both modes, no request.

Runs where a Chromium is installed (Debian: apt-get install chromium), and says so where it does not.
"""

import pytest

from android_bench.page.whole import Imprint, page
from tests.android_bench.headless import NAMES, browser, opened
from tests.android_bench.report_toys import everything

pytestmark = pytest.mark.skipif(
    browser() is None, reason=f"none of {', '.join(NAMES)} is installed; on Debian: apt-get install chromium"
)
WIDTHS = (390, 820, 1180)
# The page with all its parts open, so that what is folded away is looked at too.
_OPEN = "document.querySelectorAll('details').forEach(part => part.open = true)"
_TEXTS = """[...document.querySelectorAll('.plot svg[role=img]')].map(svg => ({
  chart: svg.querySelector('title').textContent,
  texts: [...svg.querySelectorAll('text')].map(text => [text.textContent, text.getBoundingClientRect()])
    .filter(([, box]) => box.width > 0).map(([text, box]) => [text, box.left, box.top, box.right, box.bottom])
}))"""
_MARKS = """[...document.querySelectorAll('.plot svg[role=img]')].map(svg => {
  const area = svg.getBoundingClientRect();
  return {chart: svg.querySelector('title').textContent, area: [area.left, area.top, area.right, area.bottom],
    boxes: [...svg.querySelectorAll('path, rect, line.bar, line.front, line.interval')]
      .map(mark => mark.getBoundingClientRect()).map(box => [box.left, box.top, box.right, box.bottom])};
})"""
# Text with its colour and the colour that is behind it.
_COLOURS = """(() => {
  const behind = node => {
    for (; node; node = node.parentElement) {
      const colour = getComputedStyle(node).backgroundColor;
      if (!colour.startsWith('rgba(0, 0, 0, 0')) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  return [...document.querySelectorAll('h1, h2, h3, p, li, th, td, span, a, summary, text, code')]
    .filter(node => [...node.childNodes].some(child => child.nodeType === 3 && child.textContent.trim()))
    .filter(node => node.getClientRects().length && !node.matches('.skip'))
    .map(node => {
      const style = getComputedStyle(node);
      const colour = node instanceof SVGElement ? style.fill : style.color;
      return [node.textContent.trim().slice(0, 40), colour, behind(node), parseFloat(style.fontSize)];
    });
})()"""
_FILLS = """(() => {
  const paper = getComputedStyle(document.body).backgroundColor;
  return [...document.querySelectorAll('path')]
    .map(path => [path.getAttribute('class'), getComputedStyle(path).fill, paper]);
})()"""


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """The page in a browser, and its address."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "report.html").write_text(
        page(everything(), Imprint(title="Everything", written_utc="2026-11-21T15:00:00Z", version="0.1.0"))
    )
    with opened(browser(), folder / "profile") as made:
        yield made, (folder / "report.html").as_uri()


def contrast(one: str, other: str) -> float:
    """WCAG 2.2's contrast ratio of two colours as `rgb(r, g, b)`."""

    def luminance(colour: str) -> float:
        values = [int(float(part)) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in values]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("width", WIDTHS)
def test_no_text_of_a_chart_lies_on_another_one_or_off_the_screen(shown, width) -> None:
    made, address = shown
    made.show(address, width=width)
    made.ask(_OPEN)

    charts = made.ask(_TEXTS)

    assert len(charts) >= 15
    for chart in charts:
        texts = chart["texts"]
        for text, left, _, right, _ in texts:
            assert left >= 0, (chart["chart"], text)
            assert right <= width, (chart["chart"], text)
        for at, one in enumerate(texts):
            for other in texts[at + 1 :]:
                meet = one[1] < other[3] and other[1] < one[3] and one[2] < other[4] - 2 and other[2] < one[4] - 2
                assert not meet, (chart["chart"], one, other)


@pytest.mark.parametrize("width", WIDTHS)
def test_every_mark_is_inside_its_chart(shown, width) -> None:
    made, address = shown
    made.show(address, width=width)
    made.ask(_OPEN)

    charts = made.ask(_MARKS)

    assert sum(len(chart["boxes"]) for chart in charts) > 300
    for chart in charts:
        left, top, right, bottom = chart["area"]
        for box in chart["boxes"]:
            assert left - 7 <= box[0], chart["chart"]
            assert box[2] <= right + 7, chart["chart"]
            assert top - 7 <= box[1], chart["chart"]
            assert box[3] <= bottom + 7, chart["chart"]


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_is_as_wide_as_the_screen(shown, width) -> None:
    made, address = shown
    made.show(address, width=width)
    made.ask(_OPEN)

    assert width == made.ask("document.documentElement.scrollWidth")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_text_can_be_read(shown, dark) -> None:
    made, address = shown
    made.show(address, width=390, dark=dark)
    made.ask(_OPEN)

    seen = made.ask(_COLOURS)

    assert len(seen) > 300
    for text, colour, behind, size_px in seen:
        assert size_px >= 11, text
        assert contrast(colour, behind) >= 4.5, (text, colour, behind)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_mark_stands_out_from_the_paper(shown, dark) -> None:
    made, address = shown
    made.show(address, width=1180, dark=dark)

    fills = made.ask(_FILLS)

    assert len({fill for _, fill, _ in fills}) >= 5
    for class_, fill, paper in fills:
        assert contrast(fill, paper) >= 3, class_


def test_dark_is_dark_and_light_is_light(shown) -> None:
    made, address = shown
    made.show(address, width=390, dark=True)
    dark = made.ask("getComputedStyle(document.body).backgroundColor")
    made.show(address, width=390)
    light = made.ask("getComputedStyle(document.body).backgroundColor")

    assert contrast(dark, "rgb(255, 255, 255)") > 12
    assert light == "rgb(255, 255, 255)"


def test_a_phone_shows_numbers_and_a_wide_screen_names(shown) -> None:
    made, address = shown
    ask = "getComputedStyle(document.querySelector('text.label.{}')).display !== 'none'"
    made.show(address, width=390)
    assert (True, False) == (made.ask(ask.format("narrow")), made.ask(ask.format("wide")))
    made.show(address, width=1180)
    assert (False, True) == (made.ask(ask.format("narrow")), made.ask(ask.format("wide")))


def test_nothing_is_asked_of_the_network_and_nothing_is_complained_of(shown) -> None:
    made, address = shown
    made.show(address, width=1180)

    assert {address} == set(made.requests)
    assert [] == made.complaints


def test_the_keyboard_reaches_everything_that_opens_and_scrolls(shown) -> None:
    made, address = shown
    made.show(address, width=390)
    made.press("Tab")
    assert "Skip to the results" == made.ask("document.activeElement.textContent")
    assert made.ask("document.activeElement.getBoundingClientRect().left") >= 0
    made.press("Tab")
    assert "A" == made.ask("document.activeElement.tagName")
    assert "none" != made.ask("getComputedStyle(document.activeElement).outlineStyle")
    boxes = (
        "[...document.querySelectorAll('.scroll')].every(box => box.tabIndex === 0 && box.getAttribute('aria-label'))"
    )
    assert made.ask(f"!!({boxes})")
    assert made.ask("document.querySelectorAll('summary').length") > 10


def test_a_screen_reader_is_told_what_every_chart_shows(shown) -> None:
    made, address = shown
    made.show(address, width=1180)
    made.ask(_OPEN)

    nodes = made.call("Accessibility.getFullAXTree")["nodes"]

    named = [
        (node["name"]["value"], node["role"]["value"])
        for node in nodes
        if not node["ignored"] and node.get("name", {}).get("value")
    ]
    pictures = [name for name, role in named if role in ("image", "img", "graphics-document")]
    assert len(pictures) >= 15
    assert any(name.startswith("Accuracy against latency, host On the front, the cheapest first") for name in pictures)
    headings = [name for name, role in named if role == "heading"]
    assert {"Everything", "Trend", "Verdict: REGRESSION", "Operators"} <= set(headings)
    assert any(role == "main" for role in (node["role"]["value"] for node in nodes if not node["ignored"]))
