from small_study import study_of_two_tasks as study

from ia2.experiments.plan import planned, units
from ia2.experiments.plan_totals import counts, described, unit_stages


def test_what_is_shared_is_counted_once():
    # per unit: 3 methods at 3 rates; an IA2 stage serves two methods, so that 9 stages are trained for 9 adapters
    found = counts(study())
    assert (found.units, found.adapters, found.stages) == (24, 24 * 9, 24 * 9)
    assert found.teacher_passes == 12 * (4 + 2) + 12 * (8 + 4)
    assert found.evaluations == 12 * 11 + 12 * 11 * 2
    text = " ".join(described(study()))
    assert "24 units: 2 models x 2 tasks x 2 values of N x 3 sets" in text
    assert "3 stages per unit are shared by several adapters: ia2, ia2-sft start the same way." in text
    assert "One teacher pass per unit" in text
    assert counts(study(methods=["sft"])).teacher_passes == 0


def test_tasks_with_models_n_and_adapters_of_their_own_are_counted_apart():
    one = study(
        models=["a"],
        tasks=[
            {"train": "reviews"},
            {"train": "sst2", "models": ["b", "a"], "n": [16, 4], "adapters": ["ia3", "lora"]},
        ],
    )
    # six units of reviews with 9 adapters, twelve of sst2 with 18
    assert counts(one).adapters == 6 * 9 + 12 * 18
    text = " ".join(described(one))
    assert "18 units: 6 combinations of model, task and N x 3 sets." in text
    assert "9 or 18 adapters per unit" in text


def test_a_stage_that_no_rate_reaches_is_trained_once_for_all_rates():
    # solved once; then descended at three rates, and fine-tuned at three rates
    one = study(methods=["ia2-solved", "ia2-solved-ia2", "ia2-solved-sft"])
    trained = unit_stages(planned(one, units(one)[0], ()))
    assert sorted(len(node.plans) for node in trained) == [1] * 6 + [7]
    assert counts(one).stages == 24 * 7
    assert "1 stages" not in " ".join(described(one))
    assert "1 stage per unit is shared by several adapters: ia2-solved, ia2-solved-ia2, ia2-solved-sft" in " ".join(
        described(one)
    )


def test_seeds_that_are_apart_are_told():
    one = study(models=["a"], tasks=["reviews"], n=[4], sets=2, seeds={"rows": 2, "start": 3})
    assert "6 units: 1 model x 1 task x 1 value of N x 2 sets of rows x 3 initialisations x 1 order." in " ".join(
        described(one)
    )


def test_the_teacher_answers_the_dev_rows_there_are_and_texts_without_labels():
    # 12 units at N = 4, which have two dev rows by default, and as many at N = 8
    assert counts(study(dev_rows=1)).teacher_passes == 12 * (4 + 1) + 12 * (8 + 1)
    tasks = [{"train": "reviews", "unlabelled_rows": 3, "orders": 2}]
    # six of them are of each N
    assert counts(study(tasks=tasks)).teacher_passes == 6 * (4 + 2 + 6) + 6 * (8 + 4 + 6)
