"""What Chromium makes of a page: inside a frame of the width of a phone or a desk, with a script that looks around."""

import html
import json
import re
import shutil
import subprocess

import pytest
from study_records import record

from ia2.reports.aggregate import cells
from ia2.reports.by_class import ByClass
from ia2.reports.page.page import page
from ia2.reports.study import study_tables
from ia2.reports.table import Column, Table

pytestmark = pytest.mark.slow

LOOK = """
const errors = [];
addEventListener("error", event => errors.push(event.message));
addEventListener("securitypolicyviolation", event => errors.push(event.violatedDirective));
addEventListener("load", () => {
  const column = place => [...document.querySelector("table").tBodies].map(body =>
    [...body.querySelectorAll("tr:not(.group)")].map(row => row.cells[place].dataset.value));
  const heads = [...document.querySelector("thead").querySelectorAll("th")], sorted = {};
  const press = place => { heads[place].firstChild.focus(); document.activeElement.click(); };
  for (const [name, place] of [["method", 0], ["accuracy", 1]]) {
    press(place); const up = column(place), said = heads.map(head => head.getAttribute("aria-sort"));
    press(place); sorted[name] = [up, column(place), said, heads[place].getAttribute("aria-sort")];
  }
  const boxes = [...document.querySelectorAll(".wide")].map(one => {
    // scrolled to its end, the last cell of each row is in sight, and so is what names the row
    one.scrollLeft = one.scrollWidth;
    const {left, right} = one.getBoundingClientRect(), rows = [...one.querySelectorAll("tr:not(.group)")];
    const inside = cell => cell.getBoundingClientRect().left >= left && cell.getBoundingClientRect().right <= right + 1;
    return {
      name: one.ariaLabel, scrolls: one.scrollWidth > one.clientWidth, right,
      ends: rows.every(row => inside(row.cells[row.cells.length - 1])), names: rows.every(row => inside(row.cells[0])),
    };
  });
  const details = document.querySelector("details"), box = document.querySelector(".wide");
  details.querySelector("summary").click();
  const link = details.querySelector("a").getBoundingClientRect();
  const style = (selector, part) => getComputedStyle(document.querySelector(selector))[part];
  parent.postMessage(JSON.stringify({
    boxes, letters: style("figure svg text", "fill"), ground: style("figure svg .ground", "fill"),
    line: style("figure svg .line", "stroke"),
    sorted, errors, open: details.open, link: link.height > 0, width: document.documentElement.scrollWidth,
    classes: [...document.querySelectorAll(".classes .wide")].map(one => [
      one.getBoundingClientRect().height > 0, one.getBoundingClientRect().right <= innerWidth,
      one.scrollWidth > one.clientWidth && getComputedStyle(one).overflowX == "auto",
    ]),
    inner: box.scrollWidth > box.clientWidth, scrolls: getComputedStyle(box).overflowX,
    back: getComputedStyle(document.body).backgroundColor, text: getComputedStyle(document.body).color,
    figure: document.querySelector("figure svg").getBoundingClientRect().width,
  }), "*");
});
"""
OUTER = """<!doctype html><pre></pre><iframe src="page.html" width="{width}" height="700" style="border: 0"></iframe>
<script>addEventListener("message", event => {{ document.querySelector("pre").textContent = event.data; }});</script>"""
FIGURE = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="900" height="300" viewBox="0 0 900 300"><text>a</text>'
    '<path class="ground" d="M 0 0 L 900 300" style="fill: #ffffff"></path>'
    '<path class="line" d="M 0 0 L 900 300" style="stroke: #000000"></path></svg>'
)

LABELS = [f"a label of several words, number {number}" for number in range(12)]
CLASSES = ByClass(
    "SFT on sst2",
    (
        Table.of(
            "SFT on sst2: confusion matrix",
            "",
            (Column("correct label"), *(Column(label, "d") for label in LABELS)),
            [(label, *range(12)) for label in LABELS],
        ),
    ),
)


@pytest.fixture
def seen(tmp_path):
    browser = shutil.which("chromium")
    assert browser is not None, "install Chromium: apt-get install chromium"
    # as text 100 would come before 5, and nothing was measured of in-context learning at N = 4
    records = [record(method, value) for method, value in (("sft", 0.9), ("ia2", 0.05), ("ia2-sft", 1.0))]
    records += [record(method, value, n=8) for method, value in (("sft", 0.5), ("icl", 0.3))]
    text = page(
        "fake",
        [one.table for one in study_tables(cells(records))],
        notes=["How to read."],
        settings={"long": "x" * 400},
        failures={"unit": "e" * 400},
        folder="..",
        by_class=(CLASSES,),
        figures={"One": (FIGURE, "A caption.")},
    )
    (tmp_path / "page.html").write_text(text.replace("<main>", f"<script>{LOOK}</script><main>"), encoding="utf-8")

    def look(width, *flags):
        (tmp_path / "outer.html").write_text(OUTER.format(width=width), encoding="utf-8")
        done = subprocess.run(
            [
                browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                f"--user-data-dir={tmp_path / 'profile'}",
                "--virtual-time-budget=5000", "--dump-dom", *flags, (tmp_path / "outer.html").as_uri(),
            ],
            capture_output=True, text=True, check=True, timeout=120,
        )  # fmt: skip
        found = re.search("<pre>(.+?)</pre>", done.stdout, flags=re.DOTALL)
        assert found is not None, done.stdout + done.stderr
        return json.loads(html.unescape(found[1]))

    return look


def test_columns_sort_both_ways_and_say_so(seen):
    found = seen(1200)
    assert found["errors"] == []
    up, down, said, last = found["sorted"]["method"]
    # a setting's methods stay together
    assert up == [["IA2", "IA2→SFT", "ICL", "SFT"]] * 2
    assert down == [names[::-1] for names in up]
    assert said == ["ascending", None, None]
    assert last == "descending"
    up, down, said, _ = found["sorted"]["accuracy"]
    # what was not measured is last both ways
    assert up == [["5", "90", "100", ""], ["30", "50", "", ""]]
    assert down == [["100", "90", "5", ""], ["50", "30", "", ""]]
    assert said == [None, "ascending", None]
    assert found["open"]
    assert found["link"]


def test_on_a_phone_only_tables_scroll_sideways(seen):
    found = seen(375)
    assert found["width"] == 375
    assert all(box["right"] <= 375 for box in found["boxes"])
    assert found["scrolls"] == "auto"
    # a figure isn't made so small that its letters can't be read, and scrolls instead
    assert found["figure"] > 500


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_cut_where_it_can_not_be_reached(seen, width):
    found = seen(width)
    assert found["width"] == width
    assert all(box["ends"] and box["names"] and box["right"] <= width for box in found["boxes"])
    scrolling = {box["name"].partition(":")[0] for box in found["boxes"] if box["scrolls"]}
    # the main table has room for everything on a phone too; a matrix of twelve long labels has none even on a desk
    assert scrolling == ({"SFT on sst2", "One"} if width == 390 else {"SFT on sst2"})


def test_on_a_phone_the_classes_are_seen_whole_by_scrolling_their_table(seen):
    found = seen(390)
    assert found["width"] == 390
    # seen, inside the window, and scrolling
    assert found["classes"] == [[True, True, True]]


def test_it_is_dark_where_that_is_wanted(seen):
    def brightness(colour):
        return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3

    light, dark = seen(1200), seen(1200, "--blink-settings=preferredColorScheme=0")
    assert brightness(light["back"]) > 200 > 100 > brightness(light["text"])
    assert brightness(dark["back"]) < 50 < 200 < brightness(dark["text"])
    # a figure goes with its page
    assert (light["ground"], light["line"]) == ("rgb(255, 255, 255)", "rgb(0, 0, 0)")
    assert light["letters"] == light["text"]
    assert dark["ground"] == dark["back"]
    assert dark["line"] == dark["letters"] == dark["text"]
