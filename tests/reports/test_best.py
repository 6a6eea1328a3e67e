import pytest
from study_records import record

from ia2.reports.aggregate import cells
from ia2.reports.best import as_accurate


def methods_as_accurate(**accuracies):
    records = [
        record(method, value, seed=seed)
        for method, values in accuracies.items()
        for seed, value in enumerate(values)
        if value is not None
    ]
    return [cell.method for cell in as_accurate(cells(records))]


@pytest.mark.parametrize(
    ("other", "no_worse"),
    [
        # differences 0, 0.2 and 0.1 have a mean of 0.1 and a standard error of 0.1/√3 = 0.058
        ((0.8, 0.6, 0.7), False),
        # 0.02, 0.3 and 0 have a mean of 0.107 and a standard error of 0.097
        ((0.78, 0.5, 0.8), False),
        # 0, 0.28 and -0.01 have a mean of 0.090 and a standard error of 0.095
        ((0.8, 0.52, 0.81), True),
        # the same as printed, though each set has the same difference and the error is 0
        ((0.7999, 0.7999, 0.7999), True),
        ((0.79, 0.79, 0.79), False),
    ],
)
def test_a_method_is_as_accurate_within_one_standard_error_of_the_paired_difference(other, no_worse):
    expected = ["sft", "ia2"] if no_worse else ["sft"]
    assert methods_as_accurate(sft=(0.8, 0.8, 0.8), ia2=other) == expected


def test_the_difference_is_of_the_same_sets():
    # over sets 0 and 1 the difference is 0.1 in both, whose error is nothing: unpaired it would be 0.2
    assert methods_as_accurate(sft=(0.9, 0.5), ia2=(0.8, 0.4)) == ["sft"]


def test_one_set_says_nothing_of_an_error():
    assert methods_as_accurate(sft=(0.8,), ia2=(0.79,), icl=(0.8,)) == ["sft", "icl"]


def test_a_difference_of_exactly_one_standard_error_is_within_it():
    # 0 and d have a mean of d/2 and a standard error of (d/√2)/√2 = d/2
    for highest, other in ((0.7, 0.69), (0.9, 0.83), (0.31, 0.1)):
        assert methods_as_accurate(sft=(0.7, highest), ia2=(0.7, other)) == ["sft", "ia2"]


def test_nothing_measured_is_nothing_accurate():
    assert as_accurate([]) == []
