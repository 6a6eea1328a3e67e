import pytest
from study_records import changed, record, write_study

from ia2.reports.aggregate import cells
from ia2.reports.renderings import rendered
from ia2.reports.report import StudyReport
from ia2.reports.variance_table import variance_tables

ACCURACY = {(0, 0): 0.1, (0, 1): 0.3, (0, 2): 0.2, (1, 0): 0.5, (1, 1): 0.5, (1, 2): 0.8}
"""Of two sets of rows and three starting values."""


def apart(method, accuracy, seed, start, order=0):
    made = changed(record(method, accuracy, seed=seed), options={"start_seed": start, "order_seed": order})
    unit = f"{made.options.unit}-start{start}-order{order}"
    file = str(made.file).replace(str(made.options.unit), unit)
    predictions = str(made.predictions).replace(str(made.options.unit), unit)
    return changed(made, options={"unit": unit}, file=file, predictions=predictions)


def measured(method="sft"):
    return [apart(method, accuracy, *seeds) for seeds, accuracy in ACCURACY.items()]


def test_shares_of_two_rows_and_three_starts_worked_by_hand():
    (table,) = variance_tables(cells(measured()))
    accuracy, ece = (dict(zip(table.headings, row, strict=True)) for row in table.rows)
    # as worked out for the analysis, with values ten times in size: parts 22/3, 0 and 2 of 28/3
    assert accuracy["deviation"].value == pytest.approx((28 / 3) ** 0.5 * 10)
    assert [accuracy[name].value for name in ("rows %", "start %", "rest %")] == pytest.approx(
        [100 * 22 / 28, 0.0, 100 * 6 / 28]
    )
    # every record has the same ECE, of which there are no shares; one order is no factor
    assert (ece["deviation"].value, ece["rows %"].value) == (0.0, None)
    assert "order %" not in table.headings
    assert "sft,accuracy_variance_rows,78.5714," in rendered("a", [table], "csv", [])


def test_a_study_of_sets_alone_has_no_table():
    assert variance_tables(cells([record("sft", 0.5 + seed / 10, seed=seed) for seed in range(3)])) == []


@pytest.mark.parametrize("left", [5, 1])
def test_a_method_that_was_not_measured_with_all_seeds_has_no_row(left):
    tables = variance_tables(cells([*measured(), *measured("ia2-sft")[:left]]))
    (table,) = tables
    assert {row[table.headings.index("method")].text for row in table.rows} == {"SFT"}


def test_numbers_over_seeds_are_means_of_all_and_tests_are_over_rows(tmp_path):
    records = measured() + [
        apart("ia2-sft", accuracy + 0.1 + seeds[0] / 10, *seeds) for seeds, accuracy in ACCURACY.items()
    ]
    folder = write_study(tmp_path, records, methods=["sft", "ia2-sft"], seeds={"rows": 2, "start": 3}, tasks=["sst2"])
    report = StudyReport.of(folder, with_paper=False)
    entry = report.tables[0].lines[0].entries[0]
    assert entry.center == pytest.approx(100 * sum(ACCURACY.values()) / 6)
    assert len(entry.records) == 6
    assert "over two sets of demonstrations" in report.first
    (accuracy, _) = next(table for table in report.below if table.title == "IA2→SFT minus SFT").rows
    texts = [cell.text for cell in accuracy]
    # six pairs, of two sets of rows, whose means differ by 10 and by 20 points
    assert texts[1] == "6"
    assert "+15.000" in texts
    assert any("one of 3 initialisations and one of 1 orders" in note for note in report.notes)
    assert any(table.title == "small: sources of variance" for table in report.below)
    assert "set 1, start 2, order 0: 80.0" in report.page(tmp_path)
