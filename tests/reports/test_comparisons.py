import pytest
from study_records import LORA, changed, record

from ia2.analysis.significance import detectable_difference
from ia2.reports.aggregate import cells
from ia2.reports.comparisons import compared


def scored(method, seed, **metrics):
    return changed(record(method, 0.5, seed=seed), metrics=metrics)


def test_methods_are_compared_in_any_measure_that_both_have():
    made = [scored("ia2-sft", seed, asim=0.9 + 0.01 * seed, scaled_ece=0.1) for seed in range(5)]
    made += [scored("sft", seed, asim=0.5) for seed in range(5)]
    (row,) = compared(cells(made), measures=("asim", "scaled_ece"))
    assert (row.measure, row.by_set.pairs) == ("asim", 5)
    assert row.by_set.difference == pytest.approx(0.42)
    assert (row.better, row.equal) == ("holds", None)
    # all five differences have one sign, which two of 2⁵ assignments have
    assert row.sign_flip_p == 2 / 32


def test_rows_are_in_the_order_in_which_measures_were_asked_for():
    made = [scored(method, seed, asim=0.5) for method in ("ia2-sft", "sft") for seed in range(2)]
    assert [row.measure for row in compared(cells(made), measures=("ece", "asim", "accuracy"))] == [
        *("ece", "asim", "accuracy")
    ]


def test_two_models_on_a_set_are_one_cluster_and_two_tasks_are_two():
    values = {"small": (0.7, 0.5), "large": (0.9, 0.5)}
    made = [
        record(method, value, model=model, train=task, eval=task)
        for model, both in values.items()
        for task in ("sst2", "finsen")
        for method, value in zip(("ia2-sft", "sft"), both, strict=True)
    ]
    row, _ = compared(cells(made))
    assert (row.test.pairs, row.by_set.pairs) == (4, 2)
    # the mean over both models, of each task
    assert row.by_set.difference == pytest.approx(30.0)


def test_methods_that_no_adapter_or_label_source_changes_are_compared_once():
    q = {**LORA, "modules": ["query"]}
    made = [record("icl", 0.6 + 0.01 * seed, seed=seed) for seed in range(5)]
    made += [record("zero-shot", 0.5, seed=seed) for seed in range(5)]
    made += [
        record("sft", 0.4 + 0.02 * seed, seed=seed, adapter=adapter, labels=labels)
        for seed in range(5)
        for adapter in (LORA, q)
        for labels in ("ground-truth", "icl-response")
    ]
    made += [record("ia2", 0.7, seed=seed, adapter=adapter, labels=None) for seed in range(5) for adapter in (LORA, q)]

    def told(*methods):
        rows = compared(cells(made), methods=methods, measures=["accuracy"])
        return [(row.adapter, row.label_source, row.test.pairs) for row in rows]

    assert told("icl", "zero-shot") == [("–", "–", 5)]
    assert told("ia2", "icl") == [("lora", "–", 5), ("lora q", "–", 5)]
    assert len(told("ia2", "sft")) == len(told("sft", "icl")) == 4


def test_what_sets_would_find_is_told_where_their_differences_cancel_out():
    # +1, -1, +1, -1 and 0 points: a mean of 0, whose deviation is 1
    made = [record("sft", 0.5, seed=seed) for seed in range(5)]
    made += [record("ia2-sft", 0.5 + step, seed=seed) for seed, step in enumerate((0.01, -0.01, 0.01, -0.01, 0.0))]
    (row,) = compared(cells(made), measures=["accuracy"])
    assert row.by_set.difference == pytest.approx(0, abs=1e-12)
    assert row.detectable == pytest.approx(detectable_difference(1.0, 5))
