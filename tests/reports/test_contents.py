import errno
import gzip
import json
import shutil

import pytest
from study_records import changed, record, with_adapter, write_study

from ia2.errors import InputError
from ia2.records import MOST_BYTES
from ia2.reports.contents import KEPT, StudyContents
from ia2.reports.known_overlaps import FILE, KnownOverlap, write_overlaps
from ia2.reports.report import StudyReport

METHODS = ["icl", "sft", "ia2-sft"]


def folder_of_study(folder):
    """Two sets with adapters, of which the second unit of four failed."""
    records = [record("icl", 0.6, seed=seed) for seed in (0, 1)]
    records += [
        with_adapter(record(method, value + 0.1 * seed, seed=seed), folder, axes)
        for method, value, axes in (("sft", 0.5, [[0, 1], [0, 1]]), ("ia2-sft", 0.7, [[0, 2], [0, 1]]))
        for seed in (0, 1)
    ]
    write_study(folder, records, methods=METHODS, sets=3)
    (folder / "failures").mkdir()
    (folder / "failures" / "small-sst2-n4-set2.json").write_text('{"error": "MemoryError: too little"}')
    return folder


def without_figures_and_files(report):
    """A report's text but for the note on files that aren't there."""
    return "\n".join(line for line in report.text("markdown").split("\n") if "are missing from the folder" not in line)


def test_of_the_compressed_file_alone_the_same_report_is_made(tmp_path):
    report = StudyReport.of(folder_of_study(tmp_path / "study"), with_paper=False)
    path = report.keep_records(tmp_path / "out")
    assert path == tmp_path / "out" / KEPT
    shutil.rmtree(tmp_path / "study")
    again = StudyReport.of(tmp_path / "out", with_paper=False)
    assert without_figures_and_files(again) == without_figures_and_files(report)
    assert again.text("csv") == report.text("csv")
    assert "sft and ia2-sft,overlap,0.75," in again.text("csv")
    assert again.failures == {"small-sst2-n4-set2": "MemoryError: too little"}
    # nothing leads to files that aren't there
    page = again.page(tmp_path / "out")
    assert "href" in page
    assert "records/small" not in page
    assert not any("adapters are missing from the folder" in note for note in again.notes)


def test_the_same_records_have_the_same_bytes_wherever_they_lie(tmp_path):
    first = StudyReport.of(folder_of_study(tmp_path / "a"), with_paper=False).keep_records(tmp_path / "out-a")
    second = StudyReport.of(folder_of_study(tmp_path / "b"), with_paper=False).keep_records(tmp_path / "out-b")
    once_more = StudyReport.of(tmp_path / "out-b", with_paper=False).keep_records(tmp_path / "out-c")
    assert first.read_bytes() == second.read_bytes() == once_more.read_bytes()


def test_the_first_report_keeps_the_overlaps_for_later_ones_wherever_the_folder_is(tmp_path):
    folder = folder_of_study(tmp_path / "study")
    report = StudyReport.of(folder, with_paper=False)
    assert [overlap.shared.mean for overlap in report.overlaps] == pytest.approx([0.75, 0.75])
    assert report.keep_overlaps() is None
    shutil.rmtree(folder / "adapters")
    # wherever the folder is by then
    shutil.move(folder, tmp_path / "moved")
    again = StudyReport.of(tmp_path / "moved", with_paper=False)
    assert again.overlaps == report.overlaps
    assert not any("adapters are missing from the folder" in note for note in again.notes)
    before = (tmp_path / "moved" / FILE).read_bytes()
    assert again.keep_overlaps() is None
    assert (tmp_path / "moved" / FILE).read_bytes() == before


def test_where_overlaps_can_not_be_kept_it_is_said_and_the_report_is_the_same(tmp_path, monkeypatch):
    folder = folder_of_study(tmp_path / "study")
    expected = StudyReport.of(folder, with_paper=False).text("csv")

    def refuse(*_arguments):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("ia2.reports.report.write_overlaps", refuse)
    report = StudyReport.of(folder, with_paper=False)
    assert report.keep_overlaps() == (
        "The overlaps of adapters aren't kept, so that the next report computes them again. "
        "[Errno 30] Read-only file system"
    )
    assert report.text("csv") == expected
    assert not (folder / FILE).exists()


def test_what_is_known_is_not_computed_again(tmp_path):
    folder = folder_of_study(tmp_path)
    paths = tuple(f"adapters/small-sst2-n4-set0/{method}_lr0.001" for method in ("sft", "ia2-sft"))
    write_overlaps(folder, {paths: KnownOverlap({0: 0.125, 1: 0.125}, 0.125, 0.1)})
    report = StudyReport.of(folder, with_paper=False)
    assert [overlap.shared.mean for overlap in report.overlaps] == pytest.approx([0.125, 0.75])


def test_a_line_that_ends_otherwise_within_a_text_is_one_line(tmp_path):
    contents = StudyContents.of(folder_of_study(tmp_path / "a"))
    noted = contents.records[0].model_copy(update={"notes": ["first\u2028second\x0b"]})
    (tmp_path / "b").mkdir()
    StudyContents(**{**vars(contents), "records": (noted,)}).keep(tmp_path / "b" / KEPT)
    assert StudyContents.of(tmp_path / "b").records == (noted,)


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        (None, "Not a gzipped file"),
        ([], "it holds 0 plans"),
        ([""], "Expecting value"),
        (["[]"], "line 1 is not a JSON object"),
        (['{"note": 1}'], "line 1 is neither a plan nor a record"),
        (['{"failed": "u", "error": "e"}'], "it holds 0 plans"),
        (['{"plan": {}}', '{"overlap": {}}'], "an overlap: KeyError"),
        (['{"plan": {}}'], "experiment is missing"),
        (['{"plan": {}}', '{"record": {"method": "sft"}}'], "model is missing"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, lines, what):
    text = "" if lines is None else "".join(line + "\n" for line in lines)
    (tmp_path / KEPT).write_bytes(b"plain" if lines is None else gzip.compress(text.encode()))
    with pytest.raises(InputError, match=rf"{KEPT}: (this|these) .*can't be read .*{what}"):
        StudyContents.of(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"predictions": "../../../secret.jsonl"},
        {"adapter": {"path": "../secret"}},
        {"file": "../records/unit/record.json"},
    ],
)
def test_a_record_that_leads_out_of_the_folder_is_refused(tmp_path, changes):
    contents = StudyContents.of(folder_of_study(tmp_path / "a"))
    leading = changed(next(record for record in contents.records if record.adapter), **changes)
    (tmp_path / "b").mkdir()
    StudyContents(**{**vars(contents), "records": (leading,)}).keep(tmp_path / "b" / KEPT)
    with pytest.raises(InputError, match="lies outside"):
        StudyContents.of(tmp_path / "b")


def test_a_cut_file_is_named(tmp_path):
    StudyContents.of(folder_of_study(tmp_path / "a")).keep(tmp_path / KEPT)
    (tmp_path / KEPT).write_bytes((tmp_path / KEPT).read_bytes()[:-20])
    with pytest.raises(InputError, match=r"these records can't be read \(Compressed file ended"):
        StudyContents.of(tmp_path)


def test_a_file_with_a_wrong_byte_is_named(tmp_path):
    StudyContents.of(folder_of_study(tmp_path / "a")).keep(tmp_path / KEPT)
    whole = bytearray((tmp_path / KEPT).read_bytes())
    for position in range(10, len(whole) - 8, 40):
        (tmp_path / KEPT).write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        with pytest.raises(InputError, match=r"these records can't be read"):
            StudyContents.of(tmp_path)


def test_a_folder_with_both_is_read_as_a_study(tmp_path):
    folder = folder_of_study(tmp_path)
    (folder / KEPT).write_bytes(b"")
    assert StudyContents.of(folder).in_files
    assert json.loads((folder / "plan.json").read_text()) == StudyContents.of(folder).plan


def test_a_file_that_unpacks_to_more_than_any_record_is_refused(tmp_path):
    (tmp_path / KEPT).write_bytes(gzip.compress(b" " * (MOST_BYTES + 2)))
    with pytest.raises(InputError, match="line 1 is longer than any record"):
        StudyContents.of(tmp_path)
