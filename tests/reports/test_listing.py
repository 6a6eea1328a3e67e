from ia2.reports.listing import Column, Listing, without_empty_columns

COLUMNS = (Column("name"), Column("kind"), Column("value", ".1f"), Column("none", "d"))
LISTING = Listing("A title", "How to read.", COLUMNS, (("a", "x", 1.25, None), ("b", "x", None, None)))


def test_values_are_printed_as_their_column_says():
    assert LISTING.texts == [["a", "x", "1.2", "–"], ["b", "x", "–", "–"]]


def test_columns_may_go_that_hold_nothing_or_one_text():
    def headings(listing):
        return [column.heading for column in listing.columns]

    shorter = without_empty_columns(LISTING, ["name", "kind", "value", "none"])
    assert headings(shorter) == ["name", "value"]
    assert shorter.rows == (("a", 1.25), ("b", None))
    assert headings(without_empty_columns(LISTING, ["kind"])) == ["name", "value", "none"]
    # one number in every row still says something
    alike = Listing("", "", (Column("n", "d"),), ((4,), (4,)))
    assert without_empty_columns(alike, ["n"]) == alike
