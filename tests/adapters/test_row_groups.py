import torch
from hypothesis import given
from hypothesis import strategies as st

from ia2.adapters.row_groups import RowGroups

CPU = torch.device("cpu")


@given(st.lists(st.integers(0, 3), min_size=1, max_size=8), st.integers(1, 3), st.booleans())
def test_a_group_has_the_rows_of_one_adapter_and_every_row_finds_its_place_again(adapter_of_row, width, gather):
    groups = RowGroups.of(adapter_of_row, gather=gather, device=CPU)
    # each token says its row and its adapter
    tokens = torch.tensor([[row, adapter] for row, adapter in enumerate(adapter_of_row)], dtype=torch.float32)
    rows = tokens[:, None].expand(-1, width, -1)
    gathered = groups.gathered(rows)
    assert [set(group[:, 1].tolist()) for group in gathered] == [{adapter} for adapter in groups.adapters]
    assert set(gathered[..., 0].flatten().tolist()) == set(range(len(adapter_of_row)))
    assert torch.equal(groups.scattered(gathered, width), rows)


def test_rows_that_lie_together_form_a_group_without_being_moved():
    groups = RowGroups.of([1, 1, 0, 0], gather=False, device=CPU)
    assert (groups.adapters, groups.rows) == ([1, 0], None)
    assert RowGroups.of([1, 0, 1], gather=False, device=CPU).adapters == [1, 0, 1]
    moved = RowGroups.of([1, 0, 1], gather=True, device=CPU)
    assert (moved.adapters, moved.rows.tolist()) == ([1, 0], [0, 2, 1, 1])
