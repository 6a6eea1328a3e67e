import re
from html.parser import HTMLParser

from conftest import study_record as record

from ia2.reports.aggregate import cells
from ia2.reports.figures import svg_of
from ia2.reports.page import page
from ia2.reports.study import study_tables
from ia2.reports.study_figures import study_figures


def made():
    found = cells([record("icl", 0, 0.5, adapter=None), record("sft", 0, 0.6)])
    return page(
        "a < b",
        "what for",
        "Read so.",
        study_tables(found),
        figures={caption: svg_of(figure) for caption, figure in study_figures(found).items()},
        failures={"unit-1": "MemoryError: <none>"},
        settings="name: x",
        records="..",
    )


class Places(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in ("src", "href", "xlink:href") and value]


def test_a_page_needs_nothing_from_elsewhere():
    places = Places()
    places.feed(made())
    assert places.found
    assert all(place.startswith(("#", "data:", "../records/")) for place in places.found)
    assert not re.search(r"@import|url\((?!#)", made())


def test_everything_is_escaped_and_said():
    text = made()
    assert "<h1>a &lt; b</h1>" in text
    assert "unit-1: MemoryError: &lt;none&gt;" in text
    assert text.count("<svg") == text.count("</svg>") == 3
    assert 'href="../records/sft-0-0.001-a.json"' in text
