import pytest

from ia2.models.sequences import TokenSequence
from ia2.training.methods import FINE_TUNE
from ia2.training.shares import WHOLE, PassSize, in_passes
from ia2.training.student import Part, StudentRows


def part(length, rows):
    """A part of so many rows, all of one length."""
    sequences = [TokenSequence(tuple(range(length)), (0,))] * rows
    return Part(FINE_TUNE, StudentRows(sequences, None), range(rows))


def laid_out(parts, size, **more):
    """Which rows of which parts each pass has."""
    passes = [
        [(share.number, tuple(share.part.indices)) for share in shares]
        for shares in in_passes(parts, size, 400, **more)
    ]
    taken = sorted((number, index) for shares in passes for number, indices in shares for index in indices)
    assert taken == sorted((number, index) for number, of_adapter in enumerate(parts) for index in of_adapter.indices)
    return passes


PARTS = [part(10, 3), part(12, 1), part(11, 3)]


def test_all_parts_share_a_pass():
    assert laid_out(PARTS, WHOLE) == [[(0, (0, 1, 2)), (1, (0,)), (2, (0, 1, 2))]]


def test_a_pass_has_at_most_so_many_parts_and_rows():
    # those with fewest tokens first
    assert laid_out(PARTS, PassSize(2)) == [[(0, (0, 1, 2)), (1, (0,))], [(2, (0, 1, 2))]]
    assert laid_out(PARTS, PassSize(1, 2)) == [[(1, (0,))], [(0, (0, 1))], [(0, (2,))], [(2, (0, 1))], [(2, (2,))]]
    assert laid_out(PARTS, PassSize(None, 2)) == [[(0, (0, 1)), (1, (0,)), (2, (0, 1))], [(0, (2,)), (2, (2,))]]


def test_each_row_counts_in_the_mean_of_its_whole_part():
    assert [share.rows for shares in in_passes(PARTS, PassSize(1, 1), 400) for share in shares] == [1, 3, 3, 3, 3, 3, 3]


@pytest.mark.parametrize(
    ("size", "parts", "rows", "expected"),
    [
        (WHOLE, 5, 4, PassSize(3)),
        (PassSize(3), 5, 4, PassSize(2)),
        (PassSize(2), 5, 4, PassSize(1)),
        (PassSize(1), 5, 4, PassSize(1, 2)),
        (PassSize(1, 2), 5, 4, PassSize(1, 1)),
        (PassSize(1, 1), 5, 4, None),
        (PassSize(None, 2), 4, 4, PassSize(2, 2)),
        # an adapter that is alone by now, and its dev rows, of which there are more
        (PassSize(3), 1, 7, PassSize(1, 4)),
        (WHOLE, 1, 1, None),
    ],
)
def test_passes_are_halved_until_one_row_of_one_part_is_left(size, parts, rows, expected):
    assert size.halved(parts, rows) == expected
