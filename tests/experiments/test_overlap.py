from pathlib import Path

import pytest
from small_study import study

from ia2.experiments.overlap import adapters_in_common
from ia2.experiments.study_file import load_experiment


def test_the_papers_studies_train_5340_adapters():
    files = Path(__file__).parents[2].glob("experiments/paper/*.yaml")
    assert adapters_in_common(map(load_experiment, files)) == (16410, 5340)


@pytest.mark.parametrize(
    ("changes", "more"),
    [
        ({"name": "other", "description": "another", "select": "dev", "rows": 3, "ece": "equal-mass"}, 0),
        ({"methods": ["sft", "ia2-sft"]}, 0),
        # labels have no end that the teacher could write beyond
        ({"teacher_stop": "none"}, 0),
        ({"sets": 3}, 6),
        ({"learning_rates": [1e-3, 1e-1]}, 6),
        ({"training": {"epochs": 3}}, 12),
        ({"label_scoring": "token"}, 12),
    ],
)
def test_adapters_differ_where_what_they_depend_on_does(changes, more):
    # two sets, three methods, two rates
    assert adapters_in_common([study(), study(**changes)])[1] == 12 + more
