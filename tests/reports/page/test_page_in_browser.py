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
  const column = place => [...document.querySelector("tbody").rows].map(row => row.cells[place].dataset.value);
  const heads = [...document.querySelector("thead").querySelectorAll("th")], sorted = {};
  const press = place => { heads[place].firstChild.focus(); document.activeElement.click(); };
  for (const [name, place] of [["n", 0], ["eval", 2], ["accuracy", 3]]) {
    press(place); const up = column(place), said = heads.map(head => head.getAttribute("aria-sort"));
    press(place); sorted[name] = [up, column(place), said, heads[place].getAttribute("aria-sort")];
  }
  const details = document.querySelector("details"), box = document.querySelector(".wide");
  details.querySelector("summary").click();
  const link = details.querySelector("a").getBoundingClientRect();
  parent.postMessage(JSON.stringify({
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
FIGURE = '<svg xmlns="http://www.w3.org/2000/svg" width="900" height="300" viewBox="0 0 900 300"><text>a</text></svg>'

LABELS = [f"a label of several words, number {number}" for number in range(12)]
CLASSES = ByClass(
    "SFT on sst2",
    (
        Table.of(
            "SFT on sst2: confusion matrix",
            "",
            (Column("right label"), *(Column(label, "d") for label in LABELS)),
            [(label, *range(12)) for label in LABELS],
        ),
    ),
)


@pytest.fixture
def seen(tmp_path):
    browser = shutil.which("chromium")
    assert browser is not None, "install Chromium: apt-get install chromium"
    # sft by N: 4 is 0.9, 8 missing, 16 is 0.25, 128 is 0.5; as text 128 would come before 4
    records = [record("sft", value, n=n) for n, value in ((4, 0.9), (16, 0.25), (128, 0.5))]
    records += [record("ia2", 0.5, n=n, labels=None, eval=task) for n in (4, 8) for task in ("sst2", "finsen")]
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
    up, down, said, last = found["sorted"]["n"]
    assert up == ["4", "4", "8", "8", "16", "128"]
    assert down == up[::-1]
    assert said[0] == "ascending"
    assert said[1:] == [None] * (len(said) - 1)
    assert last == "descending"
    assert found["sorted"]["eval"][0] == ["finsen*"] * 2 + ["sst2"] * 4
    up, down, said, _ = found["sorted"]["accuracy"]
    # what was not measured is last both ways
    assert up == ["25", "50", "90", "", "", ""]
    assert down == ["90", "50", "25", "", "", ""]
    assert said[:4] == [None, None, None, "ascending"]
    assert found["open"]
    assert found["link"]


def test_on_a_phone_only_tables_scroll_sideways(seen):
    found = seen(375)
    assert found["width"] == 375
    assert found["inner"]
    assert found["scrolls"] == "auto"
    assert found["figure"] <= 375


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
