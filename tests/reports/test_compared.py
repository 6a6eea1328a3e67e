import pytest
from scipy import stats
from study_records import record

from ia2.reports.aggregate import cells
from ia2.reports.compared import differences

OURS, THEIRS = (0.7, 0.8, 0.65, 0.9), (0.6, 0.75, 0.65, 0.7)


def both(n=4, ece=(0.1, 0.3), **more):
    return [
        record(method, value, seed=seed, n=n, ece=error, **more)
        for method, values, error in (("ia2-sft", OURS, ece[0]), ("sft", THEIRS, ece[1]))
        for seed, value in enumerate(values)
    ]


def test_pairs_are_of_the_same_set_and_task_and_the_test_is_scipys():
    (said,) = differences(cells([*both(), record("icl", 0.9)]))
    test = stats.ttest_rel(OURS, THEIRS)
    low, high = (100 * bound for bound in test.confidence_interval())
    assert said == (
        "IA2→SFT less SFT at N = 4, 4 pairs of set and task: accuracy +8.8 points "
        f"(95 % interval {low:+.1f} to {high:+.1f}, p = {test.pvalue:.2g}), ECE -0.200 (no interval: all differ alike)."
    )


def test_each_n_and_kind_of_response_has_its_sentence():
    records = [*both(8), *both(4), *both(4, eval="finsen"), *both(4, ece=(None, None), train="gsm8k", eval="gsm8k")]
    said = differences(cells(records))
    assert [sentence.partition(":")[0] for sentence in said] == [
        "IA2→SFT less SFT at N = 4, 8 pairs of set and task",
        "IA2→SFT less SFT at N = 8, 4 pairs of set and task",
        "IA2→SFT less SFT at N = 4, 4 pairs of set and task",
    ]
    assert ["ECE" in sentence for sentence in said] == [True, True, False]


@pytest.mark.parametrize("lacking", ["sft", "ia2-sft"])
def test_what_was_not_trained_by_both_is_not_compared(lacking):
    assert differences(cells([one for one in both() if one["method"] != lacking])) == []
    (said,) = differences(cells([one for one in both() if one["method"] != lacking or one["seed"] == 2]))
    assert "1 pair of set and task: accuracy +0.0 points (no interval: one pair)" in said
