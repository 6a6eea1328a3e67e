import re
from html.parser import HTMLParser

from study_records import record

from ia2.reports.aggregate import cells
from ia2.reports.by_class import ByClass
from ia2.reports.page.page import page
from ia2.reports.study import study_tables
from ia2.reports.table import Column, Table

RECORDS = [
    *(record("sft", value, seed=seed) for seed, value in enumerate((0.6, 0.7))),
    *(record("icl", 0.5, seed=seed, ece=None) for seed in (0, 1)),
    record("sft", 0.4, eval="finsen"),
]
VOID = {"meta", "link", "br"}


class Tree(HTMLParser):
    """Every element with its attributes; complains where one is closed that isn't open."""

    def __init__(self, text):
        super().__init__()
        self.found, self.open = [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def made(records=RECORDS, more=(), **changes):
    own = {"notes": ["How to read."], "settings": {"n": [4]}, "failures": {}, "folder": ".."}
    return page("fake", [*(one.table for one in study_tables(cells(records))), *more], **{**own, **changes})


def test_every_number_leads_to_its_records_and_rows():
    tree = Tree(made(folder="../a study: 1"))
    links = [link["href"] for link in tree.all("a")]
    # the sets of sft on two tasks and two measures, and of icl with its accuracy alone
    assert sum(not link.startswith("#") for link in links) == 2 * (2 * 2 + 2 + 2)
    own = RECORDS[0]
    assert f"./../a%20study%3A%201/{own.file}" in links
    assert "./../a%20study%3A%201/predictions/small-sst2-n4-set0/" + own.predictions.rpartition("/")[2] in links
    values = [cell["data-value"] for cell in tree.all("td") if "data-value" in cell]
    assert [cell["data-value"] for cell in tree.all("th") if "data-value" in cell] == ["ICL", "SFT"] * 2
    # icl on finsen twice, its ECE on sst2
    assert values == ["", "", "40", "0.1", "50", "", "65", "0.1"]


def test_nothing_is_fetched():
    tree = Tree(made(figures={"One": ('<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"></svg>', "c")}))
    assert not tree.all("img")
    assert [script for script in tree.all("script") if "src" in script] == []
    assert [link["href"] for link in tree.all("link")] == ["data:,"]
    (policy,) = [meta["content"] for meta in tree.all("meta") if "http-equiv" in meta]
    assert policy.startswith("default-src 'none'")


def test_failures_and_settings_are_told_and_made_safe():
    text = made(failures={"unit-1": "ValueError: a < b & <script>"}, settings={"name": "<b>", "n": [4, 8]})
    assert "<h3>unit-1</h3><pre>ValueError: a &lt; b &amp; &lt;script&gt;</pre>" in text
    assert '<tr><th scope="row"><span>name</span></th><td>&lt;b&gt;</td></tr>' in text
    assert '<tr><th scope="row"><span>n</span></th><td>4, 8</td></tr>' in text
    assert "id small, dtype float32" in text
    assert "torch 2" in text
    assert "Said of the model." in text
    assert "<p>None.</p>" in made()
    Tree(text)


def test_names_with_marks_break_nothing():
    text = made([record("sft", 0.5, model='x"><script>alert(1)</script>')])
    assert "<script>alert" not in text
    Tree(text)


CLASSES = ByClass(
    "SFT on toy",
    (
        Table.of("SFT on toy: each class", "How.", (Column("label"), Column("F1", ".3f")), [("<b>", 0.5)]),
        Table.of("SFT on toy: confusion matrix", "", (Column("correct label"), Column("<b>", "d")), [("<b>", 3)]),
    ),
)


def test_classes_are_open_unless_they_are_many():
    text = made(by_class=(CLASSES,))
    assert '<h2 id="classes">By class</h2>\n<details class="classes" open><summary>SFT on toy</summary>' in text
    assert (
        '<th scope="row" data-value="&lt;b&gt;"><span>&lt;b&gt;</span></th><td class="number" data-value="3">3</td>'
        in text
    )
    regions = [box["aria-label"] for box in Tree(text).all("div") if box.get("role") == "region"]
    assert regions[-3:] == ["SFT on toy: each class", "SFT on toy: confusion matrix", "Settings"]
    assert made(by_class=(CLASSES,) * 3).count('<details class="classes"><summary>') == 3
    assert "By class" not in made()


def test_figures_keep_their_ids_apart():
    svg = '<!DOCTYPE svg><svg><g id="a"></g><use href="#a" xlink:href="#a" clip-path="url(#a)"></use></svg>'
    text = made(figures={"One": (svg, "first"), "Two": (svg, "second")})
    ids = re.findall(r'<g id="([^"]+)"', text)
    assert len(ids) == len(set(ids)) == 2
    for number in (0, 1):
        name = f"figure{number}-a"
        assert f'href="#{name}" xlink:href="#{name}" clip-path="url(#{name})"' in text
    assert "DOCTYPE svg" not in text
    assert "<figcaption>second</figcaption>" in text


def test_headings_are_buttons_and_the_scrolling_box_is_named():
    tree = Tree(made())
    headings = [cell for cell in tree.all("th") if cell["scope"] == "col"]
    # the settings' two can't be sorted by
    assert len(headings) - 2 == len(tree.all("button")) == 3
    assert all(button["type"] == "button" for button in tree.all("button"))
    box, _ = [region for region in tree.all("div") if region.get("role") == "region"]
    assert box["tabindex"] == "0"
    assert box["aria-label"] == "small, lora, fine-tuned on ground-truth labels"


def test_a_table_sorts_by_its_values_and_shows_its_texts():
    table = Table.of("A <title>", "How.", (Column("name"), Column("p", ".2g")), (("a & b", 0.000123456), ("c", None)))
    text = made([], [table])
    assert '<h3 id="table-1">A &lt;title&gt;</h3>\n<p>How.</p>' in text
    assert '<th scope="row" data-value="a &amp; b"><span>a &amp; b</span></th>' in text
    assert '</th><td class="number" data-value="0.000123456">0.00012</td>' in text
    assert '<td class="number" data-value="">–</td>' in text
    Tree(text)


def test_methods_stand_below_the_setting_that_they_have_in_common():
    tree = Tree(text := made())
    groups = [cell for cell in tree.all("th") if cell["scope"] == "rowgroup"]
    assert [group["colspan"] for group in groups] == ["3", "3"]
    assert len(tree.all("tbody")) == 2 + 1  # and the settings
    assert text.index("N = 4 · source sst2 · eval finsen*") < text.index("N = 4 · source sst2 · eval sst2")


def test_the_contents_lead_to_every_section_table_and_figure():
    svg = '<svg xmlns="http://www.w3.org/2000/svg"></svg>'
    tree = Tree(text := made(figures={"One": (svg, "a"), "Two": (svg, "b")}, by_class=(CLASSES,), first="It came."))
    ids = [attributes["id"] for _, attributes in tree.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    linked = [link["href"][1:] for link in tree.all("a") if link["href"].startswith("#")]
    assert linked == [
        "results", "table-1", "reading", "classes", "figures", "figure-1", "figure-2", "failures", "settings",
        "versions",
    ]  # fmt: skip
    assert sorted(ids) == sorted(linked)
    assert text.index("It came.") < text.index("<nav") < text.index('id="table-1"')
    assert not {"figures", "classes"} & {link["href"][1:] for link in Tree(made()).all("a")}


def test_the_pages_own_colours_reach_its_figures():
    svg = '<svg><g id="a"><path style="fill: #ffffff; stroke: #d55e00"></path></g></svg>'
    text = made(figures={"One": (svg, "a")})
    assert "fill: var(--drawn-ffffff, #ffffff); stroke: var(--drawn-d55e00, #d55e00)" in text
    assert re.search(r"@media \(prefers-color-scheme: dark\) { :root {[^}]*--drawn-d55e00: #f0803c;", text)
