import pytest
from study_records import record, with_adapter

from ia2.reports.aggregate import cells
from ia2.reports.overlaps import adapters_of, curves_of, group_name, overlap_table, overlaps_of, paths_of
from ia2.reports.renderings import rendered


def test_the_mean_overlap_is_a_number_in_table_and_csv(tmp_path):
    records = [
        with_adapter(record("sft", 0.5, seed=0), tmp_path, [[0, 1], [0, 1]]),
        with_adapter(record("ia2-sft", 0.5, seed=0), tmp_path, [[0, 2], [0, 1]]),
        with_adapter(record("sft", 0.5, seed=1), tmp_path, [[2, 3], [2, 3]]),
        with_adapter(record("ia2-sft", 0.5, seed=1), tmp_path, [[2, 3], [4, 5]]),
    ]
    (table,) = overlap_table(overlaps_of(cells(records), tmp_path))
    # by hand: of set 0 a half and the whole, 0.75 on average; of set 1 the whole and nothing, 0.5; their deviation is
    # 0.25 / √2
    row = dict(zip(table.headings, table.rows[0], strict=True))
    assert (row["first"].text, row["second"].text, row["pairs"].text) == ("SFT", "IA2→SFT", "2")
    assert row["overlap"].value == pytest.approx(0.625)
    assert row["standard deviation"].value == pytest.approx(0.25 / 2**0.5)
    # two directions of six, in two others
    assert row["by chance"].value == pytest.approx(2 / 6)
    assert "sft and ia2-sft,overlap,0.625," in rendered("fake", [table], "csv", [])


def test_without_adapters_there_is_no_table(tmp_path):
    found = cells([record("icl", 0.5)])
    assert adapters_of(found) == {}
    assert overlap_table(overlaps_of(found, tmp_path)) == []


def test_a_group_is_named_by_its_labels_where_it_has_any():
    assert group_name(("m", "lora", "–")) == "m, lora"
    assert group_name(("m", "lora", "ground-truth")) == "m, lora, ground-truth labels"


def test_overlaps_that_are_known_need_no_adapters(tmp_path):
    records = [
        with_adapter(record("sft", 0.5), tmp_path, [[0, 1], [0, 1]]),
        with_adapter(record("ia2-sft", 0.5), tmp_path, [[0, 2], [0, 1]]),
    ]
    (computed,) = overlaps_of(cells(records), tmp_path)
    known = {paths_of(computed.records): computed.shared}
    (again,) = overlaps_of(cells(records), tmp_path / "gone", known)
    assert again == computed
    assert curves_of([again]) == {
        ("small", "lora r2 α8", "ground-truth"): {("sft", "ia2-sft"): [pytest.approx({0: 0.5, 1: 1.0})]}
    }
    assert overlaps_of(cells(records), tmp_path / "gone") == []
