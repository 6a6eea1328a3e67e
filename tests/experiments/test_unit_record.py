import pytest
from small_study import study

from ia2.experiments.plan import units
from ia2.experiments.unit_record import Measurement, unit_record
from ia2.experiments.unit_rows import unit_rows


def test_a_record_says_what_was_chosen_and_counts_what_was_shown(tiny_model):
    experiment = study(name="mine", teacher_stop="none")
    unit = units(experiment)[1]
    rows = unit_rows(experiment, unit, tiny_model)
    (task,) = rows.measured
    shown = rows.few_shot_set.demonstrations()
    metrics = []
    for contexts in ([()] * len(rows.of(task)), [shown] * len(rows.of(task))):
        measurement = Measurement("icl", "icl", task, None, {"asim": None}, {"evaluate": 1.23456}, contexts)
        record = unit_record(experiment, unit, tiny_model, rows, measurement)
        assert record.n == len(contexts[0])
        assert (record.method, record.seed, record.lr, record.adapter) == ("icl", 1, None, None)
        assert record.seconds == {"evaluate": 1.235}
        assert record.options.get("experiment") == "mine"
        assert record.options.unit == unit.id
        assert record.options.get("teacher_stop") == "none"
        assert record.options.get("order") is None
        assert record.options.get("draw") == "random"
        assert record.options.get("tried") == []
        metrics.append(record.metrics)
    assert metrics[0].n == 0
    assert metrics[0].accuracy is None
    assert metrics[1].prompt_tokens == pytest.approx(metrics[0].prompt_tokens * 5, rel=0.5)
