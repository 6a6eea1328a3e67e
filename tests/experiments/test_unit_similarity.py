from dataclasses import replace

import pytest
from small_study import study

from ia2.analysis.similarity import asim, greedy_activations, response_activations
from ia2.experiments.shared_work import SharedWork
from ia2.experiments.unit_rows import UnitRows
from ia2.experiments.unit_similarity import UnitSimilarity
from ia2.prompting.fewshot import FewShotSet


def similarity(model, task, **settings):
    few = FewShotSet.draw(task, 4)
    rows = UnitRows(few, (task,), few.evaluation[:3])
    return UnitSimilarity(study(**settings), model, rows, SharedWork())


@pytest.mark.parametrize("tokens", ["response", "greedy"])
def test_texts_are_compared_at_the_tokens_that_were_asked_for(tiny_model, toy_texts, tokens):
    task = replace(toy_texts, max_new_tokens=5)
    likeness = similarity(tiny_model, task, asim_tokens=tokens)
    read = {"response": response_activations, "greedy": greedy_activations}[tokens]
    few, rows = likeness.rows.few_shot_set, likeness.rows.compared
    shown = read(tiny_model, rows, few.task, demonstrations=few.demonstrations())
    expected = asim(read(tiny_model, rows, few.task), shown).metrics()
    metrics, seconds = likeness.of(None)
    assert metrics["asim"] == pytest.approx(expected["asim"], abs=1e-5)
    assert seconds["asim"] > 0
    assert likeness.of(None, in_context=True)[0]["asim"] == pytest.approx(1.0, abs=1e-5)


def test_what_the_teacher_does_is_read_once(tiny_model, toy_task):
    likeness = similarity(tiny_model, toy_task)
    likeness.of(None)
    before = likeness.in_context
    likeness.of(None)
    assert likeness.in_context is before


def test_without_rows_nothing_is_compared(tiny_model, toy_task):
    likeness = similarity(tiny_model, toy_task)
    empty = replace(likeness, rows=replace(likeness.rows, compared=()))
    assert empty.of(None) == ({"asim": None}, {})


def test_baselines_with_activations_of_their_own_are_compared(tiny_model, toy_task):
    likeness = similarity(tiny_model, toy_task)
    assert likeness.of_baseline("icl-batch") == likeness.of_baseline("logistic-hidden") == ({"asim": None}, {})
    assert likeness.of_baseline("icl")[0]["asim"] == pytest.approx(1.0, abs=1e-5)
    assert likeness.of_baseline("zero-shot")[0] == likeness.of(None)[0]
