from dataclasses import replace

from ia2.reports.table import Cell, Column, Table

COLUMNS = (Column("name"), Column("kind"), Column("value", ".1f"), Column("none", "d"))
TABLE = Table.of("A title", "How to read.", COLUMNS, (("a", "x", 1.25, None), ("b", "x", None, None)))


def test_values_are_printed_as_their_column_says():
    assert TABLE.texts == [["a", "x", "1.2", "–"], ["b", "x", "–", "–"]]


def test_columns_may_go_that_hold_nothing_or_one_text():
    shorter = TABLE.without_empty_columns(["name", "kind", "value", "none"])
    assert shorter.headings == ["name", "value"]
    assert [[cell.value for cell in row] for row in shorter.rows] == [["a", 1.25], ["b", None]]
    assert TABLE.without_empty_columns(["kind"]).headings == ["name", "value", "none"]
    # one number in every row still says something
    alike = Table.of("", "", (Column("n", "d"),), ((4,), (4,)))
    assert alike.without_empty_columns(["n"]) == alike


def test_a_heading_in_one_line_names_what_it_shares_with_those_beside_it():
    column = Column("acc", ".1f", over="SFT")
    assert (column.whole_heading, column.numeric) == ("SFT acc", True)
    assert (Column("eval").whole_heading, Column("eval").numeric) == ("eval", False)


def test_a_cell_keeps_the_value_that_its_text_rounds():
    assert Column("p", ".2g").cell(0.000123456) == Cell("0.00012", 0.000123456)
    assert Column("p", ".2g").cell(None) == Cell("–", None)


def test_rows_are_grouped_by_what_their_first_cells_have_in_common():
    columns = (Column("N", "d"), Column("eval"), Column("method"), Column("acc", ".1f"))
    rows = [(4, "a", "x", 1.0), (4, "a", "y", 2.0), (4, "b", "x", 3.0)]
    table = replace(Table.of("", "", columns, rows), grouped=2)
    assert [(group.heading, [[cell.value for cell in row] for row in group.rows]) for group in table.groups] == [
        ("N = 4 · eval a", [["x", 1.0], ["y", 2.0]]),
        ("N = 4 · eval b", [["x", 3.0]]),
    ]
    # without the column of tasks, N alone is what they have in common
    assert [(group.heading, len(group.rows)) for group in table.without_column(1).groups] == [("N = 4", 3)]
    assert (table.without_column(3).grouped, table.grouped) == (2, 2)
    (whole,) = replace(table, grouped=0).groups
    assert (whole.heading, whole.rows) == ("", table.rows)


def test_a_caption_explains_the_columns_that_are_shown_and_each_explanation_once():
    scores = "b and c of the labels"
    columns = (Column("a"), Column("b", ".1f", explained=scores), Column("c", ".1f", explained=scores))
    table = Table.of("scores", "means", (*columns, Column("d", ".1f", explained="d: seconds")), [["x", 1.0, 2.0, 3.0]])
    assert table.whole_caption == "means; b and c of the labels; d: seconds"
    assert table.without_column(3).whole_caption == "means; b and c of the labels"
    assert table.without_column(3).without_column(2).without_column(1).whole_caption == "means"
    assert Table.of("scores", "", columns, []).whole_caption == "b and c of the labels"
