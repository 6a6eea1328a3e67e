from pathlib import Path

import pytest

from ia2.cli.study_options import Report, Run
from ia2.errors import InputError


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"experiment": (Path("a.yaml"),)}, "--out: this is required"),
        ({"experiment": (Path("a.yaml"),), "dry_run": True, "limit": 0}, "limit 0: this must be 1 or more"),
    ],
)
def test_a_study_that_can_not_be_is_refused_by_name(options, said):
    with pytest.raises(InputError, match=said):
        Run(**options)


def test_a_report_is_markdown_by_default():
    assert Report(folder=Path("a")).format == "markdown"


def test_records_are_kept_in_a_folder_that_is_named():
    with pytest.raises(InputError, match="--keep-records: the records are written beside the report"):
        Report(folder=Path("a"), keep_records=True)
    assert Report(folder=Path("a"), out=Path("b"), keep_records=True).keep_records
