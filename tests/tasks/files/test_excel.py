import re
import sys
import time
from datetime import UTC, datetime
from zipfile import ZipFile

import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from table_files import check_refusal, write

from ia2.errors import InputError
from ia2.tasks.files import load_file
from ia2.tasks.files.excel import read_excel, write_excel


def test_the_first_sheet_is_read_past_blank_rows_and_columns_and_others_are_said(tmp_path):
    workbook = openpyxl.Workbook()
    sheet = workbook.active
    sheet.title = "Rows"
    for row in ([], ["text", "label", None], ["a", 1.0, None], [], ["b", 0.5], [None, True], ["c", "", None]):
        sheet.append(row)
    sheet["E3"].font = openpyxl.styles.Font(bold=True)
    workbook.create_sheet("Other").append(["x"])
    workbook.save(tmp_path / "rows.xlsx")
    table = read_excel(tmp_path / "rows.xlsx")
    assert table.columns == ("text", "label")
    assert [position.rpartition(", ")[2] for position, _ in table.rows] == ["row 3", "row 5", "row 6", "row 7"]
    task = load_file(tmp_path / "rows.xlsx")
    assert [(row.query, row.response) for row in task.pool] == [("Text:a\nLabel:", " 1"), ("Text:b\nLabel:", " 0.5")]
    assert task.notes[0] == "rows.xlsx: the first sheet, 'Rows', is read, but not 'Other'."
    assert "rows.xlsx: 2 rows without a text or a label were left out." in task.notes


@pytest.mark.parametrize(("numbers", "shown"), [((1e10,), "B2"), ((1e10, 5, 2e10), "B2 and 1 more")])
def test_a_number_that_is_read_as_an_error_since_it_is_no_date_is_said(tmp_path, numbers, shown):
    workbook = openpyxl.Workbook()
    workbook.active.append(["text", "id"])
    for row, number in enumerate(numbers, start=2):
        workbook.active.append(["a", number])
        workbook.active.cell(row, 2).number_format = "yyyy-mm-dd"
    workbook.save(tmp_path / "rows.xlsx")
    table = read_excel(tmp_path / "rows.xlsx")
    assert table.rows[0][1]["id"] == "#VALUE!"
    assert table.notes == (
        f"rows.xlsx: {shown} is formatted as a date but its number is not one, so '#VALUE!' is read. Format it as a "
        "number.",
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=20)
@given(st.lists(st.text(st.characters(categories=["L", "N", "P", "Zs"]), min_size=1).map("t".__add__), min_size=2))
def test_any_texts_come_back(tmp_path, texts):
    path = write(tmp_path / "rows.xlsx", [(text, f"l{at}") for at, text in enumerate(texts)])
    assert [row["text"] for _, row in read_excel(path).rows] == texts


def test_cells_that_are_no_plain_values_are_refused_by_their_row(tmp_path):
    path = write(tmp_path / "rows.xlsx", [("a", datetime(2024, 7, 26)), ("b", "x")])
    with pytest.raises(InputError, match="rows.xlsx, row 2: 'label' holds a datetime; texts and labels must be plain"):
        load_file(path)


@pytest.mark.parametrize("content", [b"text,label\na,x\n", b"PK\x03\x04 cut short"])
def test_what_is_no_workbook_is_refused(tmp_path, content):
    check_refusal(tmp_path, "rows.xlsx", content, "not a readable Excel workbook .* Save it as .xlsx without a pass")


def test_a_workbook_cut_short_and_one_without_rows_are_refused(tmp_path):
    path = write(tmp_path / "whole.xlsx", [("a", "x")])
    check_refusal(tmp_path, "rows.xlsx", path.read_bytes()[:-100], "not a readable Excel workbook")
    openpyxl.Workbook().save(tmp_path / "empty.xlsx")
    with pytest.raises(InputError, match="empty.xlsx: this file has no rows"):
        load_file(tmp_path / "empty.xlsx")
    workbook = openpyxl.Workbook()
    workbook.create_chartsheet("Chart").add_chart(openpyxl.chart.BarChart())
    workbook.remove(workbook.active)
    workbook.save(tmp_path / "chart.xlsx")
    with pytest.raises(InputError, match="chart.xlsx: this workbook has no worksheet. Put the rows into its first"):
        load_file(tmp_path / "chart.xlsx")


def test_without_openpyxl_the_extra_is_named(tmp_path, monkeypatch):
    path = write(tmp_path / "rows.xlsx", [("a", "x")])
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(InputError, match=r"rows.xlsx: this needs openpyxl. Install it: pip install 'ia2\[excel\]'.$"):
        load_file(path)


def test_a_text_that_looks_like_a_formula_or_an_error_is_written_as_a_text(tmp_path):
    texts = ["=1+1", '=HYPERLINK("http://a.b")', "+1", "-x", "@a", "#N/A", "007"]
    path = tmp_path / "rows.xlsx"
    write_excel(path, path, ["=text"], [{"=text": text} for text in texts])
    sheet = openpyxl.load_workbook(tmp_path / "rows.xlsx").active  # with formulas, had there been some
    assert [(cell.value, cell.data_type) for (cell,) in sheet.iter_rows()] == [
        (text, "s") for text in ["=text", *texts]
    ]


def test_what_a_cell_can_not_hold_is_written_as_text(tmp_path):
    values = [{"b": "ü"}, [1], 1234567890123456789, float("inf"), datetime(2024, 7, 26, tzinfo=UTC), b"a"]
    typed = [12, 0.5, True, datetime(2024, 7, 26), None, float("nan"), "z"]
    rows = [{"x": value} for value in values + typed]
    write_excel(tmp_path / "rows.xlsx", tmp_path / "rows.xlsx", ["x"], rows)
    sheet = openpyxl.load_workbook(tmp_path / "rows.xlsx").active
    cells = [cell.value for (cell,) in sheet.iter_rows(min_row=2)]
    assert cells[:6] == ['{"b": "ü"}', "[1]", "1234567890123456789", "inf", "2024-07-26 00:00:00+00:00", "b'a'"]
    assert cells[6:] == [12, 0.5, True, datetime(2024, 7, 26), None, None, "z"]


def test_what_a_workbook_can_not_hold_is_refused_by_its_row(tmp_path, monkeypatch):
    path = tmp_path / "rows.xlsx"
    with pytest.raises(InputError, match=r"rows.xlsx, row 3: a text of 32768 characters is longer than the 32767"):
        write_excel(path, path, ["x"], [{"x": "a" * 32_767}, {"x": "a" * 32_768}])
    monkeypatch.setattr("ia2.tasks.files.excel.MOST_ROWS", 1)
    with pytest.raises(InputError, match=r"rows.xlsx: 2 rows are more than the 1 that a sheet can hold"):
        write_excel(path, path, ["x"], [{"x": 1}, {"x": 2}])
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(InputError, match=r"rows.xlsx: this needs openpyxl. Install it"):
        write_excel(path, path, ["x"], [])


@pytest.mark.parametrize("text", ["\x00a\x07", "a\r\nb", "_x0007_", "_x005F_x0007_", "_x00", "tab\tand\nline"])
def test_what_xml_can_not_hold_is_written_as_its_code_and_read_again(tmp_path, text):
    path = tmp_path / "rows.xlsx"
    write_excel(path, path, ["text"], [{"text": text}])
    assert read_excel(path).rows[0][1] == {"text": text}


def test_a_code_is_written_as_excel_writes_it(tmp_path):
    path = tmp_path / "rows.xlsx"
    write_excel(path, path, ["text"], [{"text": "a\x07_x0041_"}])
    assert openpyxl.load_workbook(path).active["A2"].value == "a_x0007__x005F_x0041_"
    path = write(tmp_path / "others.xlsx", [("_x0041__xD83D_", "x")])
    assert read_excel(path).rows[0][1]["text"] == "A_xD83D_"


def test_the_same_rows_are_the_same_bytes_whenever_they_are_written(tmp_path, monkeypatch):
    rows = [{"text": "a", "label": index} for index in range(3)]
    write_excel(tmp_path / "a.xlsx", tmp_path / "a.xlsx", ["text", "label"], rows)
    later = time.gmtime(2e9)
    monkeypatch.setattr(time, "localtime", lambda *_: later)
    write_excel(tmp_path / "b.xlsx", tmp_path / "b.xlsx", ["text", "label"], rows)
    assert (tmp_path / "a.xlsx").read_bytes() == (tmp_path / "b.xlsx").read_bytes()
    with ZipFile(tmp_path / "a.xlsx") as workbook:
        assert re.findall(rb">(\d{4})-", workbook.read("docProps/core.xml")) == [b"1980"] * 2
