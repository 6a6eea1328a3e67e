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
