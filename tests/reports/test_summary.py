import numpy as np
import pytest
from scipy import stats
from study_records import LORA, record

from ia2.reports.aggregate import cells
from ia2.reports.summary import summary

SETTLED = {"ia2-sft": (0.72, 0.81, 0.69, 0.80, 0.78), "sft": (0.6, 0.7, 0.6, 0.7, 0.7)}


def records(accuracies, ece=None, **more):
    errors = ece or {}
    return [
        record(method, value, seed=seed, ece=errors.get(method), **more)
        for method, values in accuracies.items()
        for seed, value in enumerate(values)
    ]


def test_the_difference_has_an_interval_and_a_share_of_the_sets():
    # differences of 12, 11, 9, 10 and 8 points: a mean of 10, an error of √(2.5/5) = 0.707; Student's 97.5 % point of
    # 4 degrees is 2.776, so from 10 - 1.963 to 10 + 1.963
    text = summary(cells([*records(SETTLED), *records({"icl": (0.9,) * 5})]), "dev")
    assert text == (
        "This study compared ICL, SFT and IA2→SFT on sst2 with small, N = 4, over five sets of demonstrations. "
        "IA2→SFT's accuracy is 10.0 points above SFT's (95 % CI +8.0 to +12.0), and higher in 5 of 5 sets: "
        "over five sets, IA2→SFT is significantly more accurate."
    )


def test_what_the_interval_does_not_exclude_is_not_settled():
    # differences of 10, -10, 10, -10 and 5: a mean of 1 point
    accuracies = {"ia2-sft": (0.6, 0.4, 0.6, 0.4, 0.55), "sft": (0.5,) * 5}
    text = summary(cells(records(accuracies, {"ia2-sft": 0.2, "sft": 0.3})), "dev")
    interval = stats.ttest_rel(*(100 * value for value in map(np.array, accuracies.values()))).confidence_interval()
    assert (
        f"is 1.0 points above SFT's (95 % CI {interval.low:+.1f} to {interval.high:+.1f}), and higher in 3 of 5" in text
    )
    assert "over five sets, neither is significantly more accurate" in text
    # all differ alike, so that there is no interval
    assert "Its ECE is 0.100 below SFT's, and lower in 5 of 5 sets: all sets differ alike, so there is no int" in text


def test_three_sets_can_not_tell_whatever_the_interval():
    # differences of 20.0, 20.1 and 19.9 points, whose interval is far from zero
    text = summary(cells(records({"ia2-sft": (0.8, 0.801, 0.799), "sft": (0.6,) * 3})), "dev")
    assert "(95 % CI +19.8 to +20.2), and higher in 3 of 3 sets: three sets are too few to tell which is more" in text
    alone = summary(cells(records({"ia2-sft": (0.8,), "sft": (0.6,)})), "dev")
    assert "is 20.0 points above SFT's, and higher in the only pair: one set is too few to tell which is more" in alone
    worse = summary(cells(records({"ia2-sft": (0.5,), "sft": (0.6,)})), "dev")
    assert "is 10.0 points below SFT's, and higher in 0 of 1 pairs" in worse


def test_pairs_of_several_models_and_tasks_are_called_so():
    made = [*records(SETTLED), *records(SETTLED, model="large"), *records(SETTLED, eval="finsen")]
    text = summary(cells(made), "dev")
    assert "on finsen and sst2 with" in text or "on sst2 and finsen with" in text
    # two models and two tasks on the rows of five sets are five independent differences
    assert "higher in 15 of 15 (model, task, set) pairs: over five sets, IA2→SFT is significantly more" in text
    assert "in 10 of 10 (model, set) pairs" in summary(cells(made[:20]), "dev")


def test_pairs_of_two_models_on_a_set_are_one_difference():
    # sets differ by 20, 0, 0, 0 and 0 points with one model and by 10, 0, 0, 0 and 0 with the other
    small = {"ia2-sft": (0.9, 0.7, 0.7, 0.7, 0.7), "sft": (0.7,) * 5}
    large = {"ia2-sft": (0.8, 0.7, 0.7, 0.7, 0.7), "sft": (0.7,) * 5}
    text = summary(cells([*records(small), *records(large, model="large")]), "dev")
    interval = stats.ttest_1samp([15, 0, 0, 0, 0], 0).confidence_interval()
    assert f"3.0 points above SFT's (95 % CI {interval.low:+.1f} to {interval.high:+.1f})" in text
    assert "higher in 2 of 10 (model, set) pairs: over five sets, neither is significantly more accurate" in text


def test_without_the_two_the_most_accurate_are_compared_and_that_is_said():
    accuracies = {"icl": (0.6,) * 5, "ia2": (0.5, 0.5, 0.5, 0.5, 0.4), "sft": (0.7, 0.7, 0.7, 0.7, 0.6)}
    text = summary(cells(records(accuracies)), "accuracy")
    assert "SFT's accuracy is 8.0 points above ICL's" in text
    assert "higher in 4 of 5 sets" in text
    assert "selected for being the most accurate, which favours SFT." in text
    assert text.endswith("selected by accuracy on the evaluation rows, which favours every trained method.")


def test_two_numbers_of_rows_are_told_apart_and_more_are_counted():
    worse = {"ia2-sft": SETTLED["sft"], "sft": SETTLED["ia2-sft"]}
    two = [*records(SETTLED), *records(worse, n=8)]
    text = summary(cells(two), "dev")
    assert "N = 4: IA2→SFT's accuracy is 10.0 points above" in text
    assert "N = 8: IA2→SFT's accuracy is 10.0 points below" in text
    assert "over five sets, SFT is significantly more accurate" in text
    few = records({"ia2-sft": (0.9,), "sft": (0.1,)}, n=16)
    counted = summary(cells([*two, *few]), "dev")
    assert (
        "IA2→SFT is significantly more accurate than SFT in 1 of 3 comparisons (one per N, adapter and kind of label), "
        "SFT in 1, and 1 are inconclusive; the difference in accuracy ranges from -10.0 to +80.0 points."
    ) in counted
    assert "ECE" not in counted


def test_adapters_are_named_where_there_are_two():
    q = {**LORA, "modules": ["query"]}
    text = summary(cells([*records(SETTLED), *records(SETTLED, adapter=q)]), "dev")
    assert "lora, N = 4: IA2→SFT's" in text
    assert "lora q, N = 4: IA2→SFT's" in text


def test_one_method_alone_is_told_with_its_spread():
    assert summary(cells(records({"sft": (0.6, 0.7)})), "dev") == (
        "This study measured SFT on sst2 with small, N = 4, over two sets of demonstrations. "
        "Its accuracy is 65.0 % (standard deviation 7.1)."
    )
    two = [*records({"sft": (0.6, 0.7)}), *records({"sft": (0.9,)}, n=8)]
    assert "Its accuracy, averaged over sets, ranges from 65.0 to 90.0 % across settings." in summary(cells(two), "dev")


@pytest.mark.parametrize("made", [[], [*records({"ia2-sft": (0.5,)}), record("sft", 0.5, seed=7)]])
def test_what_can_not_be_compared_is_not(made):
    text = summary(cells(made), "dev")
    assert text is None if not made else "No set was evaluated with both IA2→SFT and SFT" in text


def test_a_set_measured_on_many_tasks_is_still_one_set():
    few = {method: values[:3] for method, values in SETTLED.items()}
    made = [each for task in ("sst2", "finsen", "bbcnews") for each in records(few, eval=task)]
    assert "in 9 of 9 (task, set) pairs: three sets are too few to tell which is more accurate." in summary(
        cells(made), "dev"
    )
    counted = summary(cells([*made, *records(SETTLED, n=8), *records(SETTLED, n=16)]), "dev")
    assert "than SFT in 2 of 3 comparisons" in counted
    assert "and 1 are inconclusive" in counted
