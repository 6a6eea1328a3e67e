from study_records import record

from ia2.reports.aggregate import cells
from ia2.reports.averages import pooled


def test_means_are_over_what_all_methods_have_at_an_n():
    # sft at N = 4: sets of sst2 0.4 and 0.6, finsen 0.9; poems and N = 8's finsen have no icl
    records = [
        *(record("sft", value, seed=seed, ece=0.2) for seed, value in enumerate((0.4, 0.6))),
        record("sft", 0.9, eval="finsen", ece=0.4),
        record("sft", 1.0, eval="poems"),
        *(record("sft", value, n=8, eval=task) for task, value in (("sst2", 0.3), ("finsen", 1.0))),
        *(record("icl", 0.5, eval=task) for task in ("sst2", "finsen")),
        record("icl", 0.5, n=8),
    ]
    found = {(cell.method, cell.setting.n): cell for cell in pooled(cells(records))}
    assert found["sft", 4].accuracy == (0.9, 0.5)
    assert found["sft", 4].ece == (0.4, 0.2)
    assert found["icl", 4].accuracy == (0.5, 0.5)
    assert found["sft", 8].accuracy == (0.3,)
    assert {cell.setting.model for cell in found.values()} == {"small"}


def test_where_methods_share_nothing_there_is_nothing():
    assert pooled(cells([record("sft", 0.5), record("ia2", 0.5, eval="finsen")])) == []
    assert pooled(cells([record("sft", 0.5)])) == []
