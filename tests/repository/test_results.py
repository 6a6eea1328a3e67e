"""Every published number can be made anew: each report stands beside its records, of which the same is made today."""

import gzip
from pathlib import Path

import pytest

from ia2.reports.contents import KEPT
from ia2.reports.report import StudyReport

RESULTS = Path(__file__).parents[2] / "docs" / "results"
REPORTS = sorted(path.parent for path in RESULTS.glob("*/report.md"))


def test_there_are_results():
    assert "stronger" in [folder.name for folder in REPORTS]


@pytest.mark.parametrize("folder", REPORTS, ids=[folder.name for folder in REPORTS])
def test_the_report_is_that_of_the_records_beside_it(folder, tmp_path):
    report = StudyReport.of(folder, with_paper=False)
    assert (folder / "report.md").read_text(encoding="utf-8").startswith(report.text("markdown"))
    # the bytes of another zlib may be others
    packed_again, packed = report.keep_records(tmp_path), folder / KEPT
    assert gzip.decompress(packed_again.read_bytes()) == gzip.decompress(packed.read_bytes())


def test_nothing_else_lies_among_the_results():
    others = [path for path in RESULTS.iterdir() if path not in REPORTS and path.name != "README.md"]
    assert others == []
