import pytest
from pytest import approx
from study_records import LORA, record

from ia2.adapters.registry import label
from ia2.reports.aggregate import cells, deviation, mean


def only(found, **wanted):
    own = [
        cell
        for cell in found
        if all((cell.method if name == "method" else getattr(cell.setting, name)) == wanted[name] for name in wanted)
    ]
    assert len(own) == 1
    return own[0]


def of_two_rates():
    """Two sets at two learning rates, of which one is the better on sst2 and the other on finsen."""
    tried = {1e-4: ((0.9, 0.5), (0.9, 0.9)), 1e-3: ((0.7, 0.8), (0.2, 0.4))}
    return [
        record("sft", accuracy, lr=rate, seed=seed, eval=task)
        for rate, (home, away) in tried.items()
        for task, values in (("sst2", home), ("finsen", away))
        for seed, accuracy in enumerate(values)
    ]


def test_the_best_rate_has_the_highest_mean_accuracy_on_the_source_task():
    # 1e-4: 0.9 and 0.5, so 0.7; 1e-3: 0.7 and 0.8, so 0.75. On finsen the other one is better, which must not count
    found = cells(of_two_rates())
    assert len(found) == 2
    at_home, away = only(found, eval="sst2"), only(found, eval="finsen")
    assert (at_home.lr, at_home.accuracy) == (1e-3, (0.7, 0.8))
    assert (away.lr, away.accuracy) == (1e-3, (0.2, 0.4))
    assert not at_home.setting.out_of_distribution
    assert away.setting.out_of_distribution
    assert [one.seed for one in at_home.records] == [0, 1]


def test_by_the_evaluated_task_each_has_a_rate_of_its_own():
    # sst2: 0.7 at 1e-4 and 0.75 at 1e-3; finsen: 0.9 and 0.3
    found = cells(of_two_rates(), "evaluated")
    at_home, away = only(found, eval="sst2"), only(found, eval="finsen")
    assert (at_home.lr, at_home.accuracy) == (1e-3, (0.7, 0.8))
    assert (away.lr, away.accuracy) == (1e-4, (0.9, 0.9))
    # a rate without a set on a task isn't chosen for it, whatever it has on others
    fewer = [one for one in of_two_rates() if (one.task.eval, one.lr, one.seed) != ("finsen", 1e-4, 1)]
    assert only(cells(fewer, "evaluated"), eval="finsen").lr == 1e-3


def test_by_dev_loss_accuracy_does_not_count():
    # 1e-4: losses 0.5 and 0.3, so 0.4; 1e-3: 0.1 and 0.8, so 0.45
    records = [
        record("sft", accuracy, lr=rate, seed=seed, dev_loss=loss)
        for rate, losses, accuracy in ((1e-3, (0.1, 0.8), 0.9), (1e-4, (0.5, 0.3), 0.2))
        for seed, loss in enumerate(losses)
    ]
    assert [cell.lr for cell in cells(records, "dev")] == [1e-4]
    assert [cell.lr for cell in cells(records, "accuracy")] == [1e-3]


def test_rate_and_beta_are_chosen_together_and_of_equals_the_lowest_are_taken():
    tried = [(1e-3, 0.1, 0.5), (1e-3, 0.5, 0.8), (3e-4, 0.5, 0.8), (3e-4, 0.9, 0.8), (1e-5, 0.1, 0.6)]
    (cell,) = cells([record("ia2+sft", accuracy, lr=rate, beta=beta) for rate, beta, accuracy in tried])
    assert (cell.lr, cell.beta) == (3e-4, 0.5)
    # as text 1e-05 comes after 0.001
    (cell,) = cells([record("sft", 0.5, lr=rate) for rate in (1e-3, 1e-5)])
    assert cell.lr == 1e-5
    # (0.1 + 0.2) / 2 and (0.15 + 0.15) / 2 differ in their last digit alone
    tried = [(1e-3, 0, 0.1), (1e-3, 1, 0.2), (1e-4, 0, 0.15), (1e-4, 1, 0.15)]
    (cell,) = cells([record("sft", accuracy, lr=rate, seed=seed) for rate, seed, accuracy in tried])
    assert cell.lr == 1e-4


@pytest.mark.parametrize("select", ["accuracy", "evaluated", "dev"])
def test_a_rate_that_has_fewer_sets_is_not_compared(select):
    tried = [(1e-3, 0, 0.9), (1e-4, 0, 0.5), (1e-4, 1, 0.6)]
    (cell,) = cells(
        [record("sft", value, lr=rate, seed=seed, dev_loss=1 - value) for rate, seed, value in tried], select
    )
    assert (cell.lr, cell.accuracy) == (1e-4, (0.5, 0.6))


def test_where_the_source_was_not_measured_the_other_tasks_decide():
    found = cells([record("sft", value, lr=rate, eval="finsen") for rate, value in ((1e-4, 0.4), (1e-3, 0.6))])
    assert [(cell.lr, cell.accuracy) for cell in found] == [(1e-3, (0.6,))]


def test_what_fits_no_labels_stands_beside_each_label_source():
    records = [
        record("sft", 0.5, labels="ground-truth"),
        record("sft", 0.6, labels="icl-response"),
        record("ia2", 0.7, labels=None),
        record("icl", 0.8),
    ]
    found = cells(records)
    assert {(cell.method, cell.setting.label_source, cell.accuracy) for cell in found} == {
        ("sft", "ground-truth", (0.5,)),
        ("sft", "icl-response", (0.6,)),
        *(("ia2", labels, (0.7,)) for labels in ("ground-truth", "icl-response")),
        *(("icl", labels, (0.8,)) for labels in ("ground-truth", "icl-response")),
    }
    (alone,) = cells([record("ia2", 0.7, labels=None)])
    assert alone.setting.label_source == "–"


def test_a_baseline_stands_beside_adapters_of_its_own_n_and_model_and_alone_where_there_are_none():
    records = [record("sft", 0.5, n=n) for n in (4, 8)] + [record("icl", n / 10, n=n) for n in (4, 8)]
    records += [record("zero-shot", 0.3, n=4, model="other")]
    found = cells(records)
    assert {(cell.setting.n, cell.accuracy) for cell in found if cell.method == "icl"} == {(4, (0.4,)), (8, (0.8,))}
    assert "zero-shot" not in {cell.method for cell in found if cell.setting.model == "small"}
    assert [cell.setting.adapter for cell in cells([record("icl", 0.5)])] == ["–"]


def test_texts_have_no_ece():
    (cell,) = cells([record("sft", 0.5, ece=None)])
    assert cell.ece == ()
    assert mean(cell.ece) is None


def test_mean_and_deviation_worked_by_hand():
    # mean 4, squares 4 + 0 + 4 = 8, over n - 1 = 2
    assert mean([2.0, 4.0, 6.0]) == 4.0
    assert deviation([2.0, 4.0, 6.0]) == approx(2.0)
    assert deviation([3.0]) == 0.0


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "lora"),
        ({"rank": 16}, "lora r16 α8"),
        ({"modules": ["query", "key"]}, "lora q,k"),
        ({"dora": True, "modules": ["query", "key", "value"]}, "lora dora q,k,v"),
        ({"dropout": 0.1}, "lora dropout 0.1"),
        ({"kind": "prefix", "rank": None, "alpha": None, "modules": [], "tokens": 3}, "prefix 3 tokens"),
        ({"kind": "ia3", "rank": None, "alpha": None, "scale": "input"}, "ia3 inputs"),
    ],
)
def test_names_of_adapters_tell_what_is_unusual(changes, name):
    assert label({**LORA, **changes}) == name


def test_baselines_stand_alone_where_no_adapter_came_out():
    """As where all adapters of an N diverged, whose records are left out."""
    records = [record("icl", 0.6, n=4), record("sft", 0.7, n=4), record("icl", 0.8, n=8)]
    found = cells(records)
    assert sorted((cell.method, cell.setting.n, cell.setting.adapter, cell.accuracy) for cell in found) == [
        ("icl", 4, "lora", (0.6,)),
        ("icl", 8, "–", (0.8,)),
        ("sft", 4, "lora", (0.7,)),
    ]
