import pytest
from conftest import LORA
from conftest import study_record as record

from ia2.reports.aggregate import adapter_name, cells, deviation, mean


def only(found, method, task="a"):
    (cell,) = (cell for cell in found if cell.method == method and cell.setting.eval == task)
    return cell


def test_the_rate_of_the_best_mean_accuracy_on_the_source_task_is_kept_for_all_tasks():
    records = [
        record("sft", 0, 0.9, 1e-4), record("sft", 1, 0.5, 1e-4),
        record("sft", 0, 0.8, 1e-3), record("sft", 1, 0.7, 1e-3),
        record("sft", 0, 1.0, 1e-4, task="b"), record("sft", 0, 0.1, 1e-3, task="b"),
    ]  # fmt: skip
    found = cells(records)
    assert only(found, "sft").lr == 1e-3
    assert only(found, "sft").accuracy == (0.8, 0.7)
    assert only(found, "sft", "b").accuracy == (0.1,)
    assert only(found, "sft", "b").setting.out_of_distribution
    assert not only(found, "sft").setting.out_of_distribution


def test_dev_loss_may_choose_instead_and_beta_is_chosen_with_the_rate():
    records = [record("sft", 0, 0.9, 1e-4, dev=2.0), record("sft", 0, 0.2, 1e-3, dev=1.0)]
    assert only(cells(records, "dev"), "sft").lr == 1e-3
    assert only(cells(records, "accuracy"), "sft").lr == 1e-4
    records = [record("ia2+sft", 0, value, beta=beta) for beta, value in ((0.1, 0.3), (0.5, 0.6))]
    assert only(cells(records), "ia2+sft").beta == 0.5


def test_a_model_without_adapters_stands_beside_every_adapter():
    other = LORA | {"rank": 4}
    records = [record("icl", 0, 0.4, adapter=None), record("sft", 0, 0.5), record("sft", 0, 0.6, adapter=other)]
    found = [cell for cell in cells(records) if cell.method == "icl"]
    assert {cell.setting.adapter for cell in found} == {"lora", "lora r4 α8"}
    assert only(cells(records[:1]), "icl").setting.adapter == "–"
    # of another N it says nothing
    assert not [
        cell for cell in cells([*records[1:], record("icl", 0, 0.4, adapter=None, n=8)]) if cell.method == "icl"
    ]


def test_sets_are_in_the_order_of_their_seeds():
    found = cells([record("sft", 2, 0.2), record("sft", 0, 0.1), record("sft", 1, 0.3)])
    assert only(found, "sft").accuracy == (0.1, 0.3, 0.2)
    assert [one["seed"] for one in only(found, "sft").records] == [0, 1, 2]


def test_mean_and_deviation_are_those_of_a_sample():
    assert mean((0.1, 0.2, 0.6)) == pytest.approx(0.3)
    assert deviation((0.1, 0.2, 0.6)) == pytest.approx((0.14 / 2) ** 0.5)
    assert (mean(()), deviation((0.4,))) == (None, 0.0)


def test_adapters_are_named_by_what_is_unusual_of_them():
    assert adapter_name(LORA | {"dora": True}) == "lora dora"
    assert adapter_name(LORA | {"modules": ["query", "value"]}) == "lora q,v"
    assert adapter_name({"kind": "prefix", "tokens": 3, "modules": []}) == "prefix 3 tokens"
