import sys
from datetime import datetime

import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from table_files import check_refusal, write

from ia2.errors import InputError
from ia2.tasks.files import load_file
from ia2.tasks.files.excel import read_excel


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
    assert task.notes[0] == "rows.xlsx: the first sheet, 'Rows', is read; not 'Other'."
    assert "rows.xlsx: 2 rows without a text or a label were left out." in task.notes


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
    check_refusal(
        tmp_path, "rows.xlsx", content, "no Excel workbook that can be read .* Save it as .xlsx without a pass"
    )


def test_a_workbook_cut_short_and_one_without_rows_are_refused(tmp_path):
    path = write(tmp_path / "whole.xlsx", [("a", "x")])
    check_refusal(tmp_path, "rows.xlsx", path.read_bytes()[:-100], "no Excel workbook that can be read")
    openpyxl.Workbook().save(tmp_path / "empty.xlsx")
    with pytest.raises(InputError, match="empty.xlsx: this file has no rows"):
        load_file(tmp_path / "empty.xlsx")
    workbook = openpyxl.Workbook()
    workbook.create_chartsheet("Chart").add_chart(openpyxl.chart.BarChart())
    workbook.remove(workbook.active)
    workbook.save(tmp_path / "chart.xlsx")
    with pytest.raises(
        InputError, match="chart.xlsx: this workbook has no sheet of cells. Put the rows into its first"
    ):
        load_file(tmp_path / "chart.xlsx")


def test_without_openpyxl_the_extra_is_named(tmp_path, monkeypatch):
    path = write(tmp_path / "rows.xlsx", [("a", "x")])
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(InputError, match=r"rows.xlsx: this needs openpyxl. Install it: pip install 'ia2\[excel\]'.$"):
        load_file(path)
