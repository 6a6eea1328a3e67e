import re
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ia2.errors import InputError
from ia2.prompting.fewshot import FewShotSet
from ia2.prompting.prompts import prompt_text
from ia2.randomness import generator
from ia2.tasks.task import Instruction


@pytest.mark.parametrize("n", [2, 3, 8, 16])
@pytest.mark.parametrize("seed", range(5))
def test_a_set_holds_n_and_half_n_different_rows_and_none_that_is_evaluated(toy_task, n, seed):
    drawn = FewShotSet.draw(toy_task, n, seed)
    assert (len(drawn.train), len(drawn.dev)) == (n, n // 2)
    assert len({*drawn.train, *drawn.dev}) == n + n // 2
    assert not {*drawn.train, *drawn.dev} & set(drawn.evaluation)
    assert drawn.evaluation == toy_task.evaluation


def test_a_set_is_determined_by_task_n_and_seed(toy_task):
    assert FewShotSet.draw(toy_task, 4, 1) == FewShotSet.draw(toy_task, 4, 1)
    assert FewShotSet.draw(toy_task, 4, 1).train != FewShotSet.draw(toy_task, 4, 2).train
    assert FewShotSet.draw(toy_task, 4, 1).train != FewShotSet.draw(replace(toy_task, name="other"), 4, 1).train


def test_without_evaluation_rows_what_is_left_over_is_evaluated(toy_task):
    # a file of 36 rows: 12 train, 6 dev, and every other row is measured
    drawn = FewShotSet.draw(replace(toy_task, evaluation=()), 12)
    assert len(drawn.evaluation) == 18
    assert {*drawn.train, *drawn.dev, *drawn.evaluation} == set(toy_task.pool)


def test_built_in_tasks_draw_the_rows_that_they_always_drew(toy_task):
    # the published numbers are of these: a sample of the pool's indices, the first N of which teach
    sample = generator(3, "set of 8 from toy").sample(range(36), 12)
    drawn = FewShotSet.draw(toy_task, 8, 3)
    assert (*drawn.train, *drawn.dev) == tuple(toy_task.pool[index] for index in sample)
    assert drawn.as_record()["draw"] == "random"


def test_nested_sets_of_a_seed_lie_in_each_other_and_say_so(toy_task):
    for task in (toy_task, replace(toy_task, as_written=True)):
        small, large, other = (FewShotSet.draw(task, n, seed, nested=True) for n, seed in ((4, 1), (8, 1), (4, 2)))
        assert {*small.train} < {*large.train}
        assert {*small.dev} < {*large.dev}
        assert {*small.train} != {*other.train}
        assert small.as_record()["nested"] is True
    # one shuffle of all rows: the first ones teach, the last ones check
    order = list(range(36))
    generator(1, "nested sets from toy").shuffle(order)
    drawn = FewShotSet.draw(toy_task, 4, 1, nested=True)
    assert drawn.train == tuple(toy_task.pool[index] for index in order[:4])
    assert {*drawn.dev} == {toy_task.pool[index] for index in order[-2:]}
    assert FewShotSet.draw(toy_task, 4, 1).as_record()["nested"] is False


def test_rows_of_a_file_are_drawn_by_class(toy_task):
    # 4 rows of one label and 18 of the other, which stand first in the file
    pool = (*toy_task.pool[18:], *toy_task.pool[:4])
    rare = tuple(replace(row, response="01"[index >= 18]) for index, row in enumerate(pool))
    task = replace(toy_task, pool=rare, evaluation=(), as_written=True)
    for seed in range(5):
        drawn = FewShotSet.draw(task, 4, seed)
        # 4 of 22 rows: shares 3.27 and 0.73
        assert sorted(row.response for row in drawn.train) == ["0", "0", "0", "1"]
        assert {*drawn.train, *drawn.dev, *drawn.evaluation} == set(rare)
        assert len(drawn.evaluation) == 22 - 6
        assert drawn.as_record()["draw"] == "class"
    by_chance = [FewShotSet.draw(task, 4, seed, "random") for seed in range(20)]
    assert {sum(row.response == "1" for row in drawn.train) for drawn in by_chance} > {0, 1}


def test_a_class_that_does_not_teach_is_said(toy_task):
    assert FewShotSet.draw(replace(toy_task, as_written=True), 4).notes == ()
    labels = ("0", "1", *(f" {letter}" for letter in "abcdef"))
    drawn = FewShotSet.draw(replace(toy_task, labels=labels, as_written=True), 4)
    assert drawn.notes == ("toy: none of the 4 training rows has the label 'a', 'b', 'c', 'd', 'e' and 1 more.",)


def test_dev_rows_of_one_label_are_said(toy_task):
    drawn = FewShotSet.draw(replace(toy_task, as_written=True), 4)
    assert {row.response for row in drawn.dev} == {"0", "1"}
    assert drawn.notes == ()
    favoured = (
        " the label '1', so that early stopping and the choice of a learning rate favour adapters that always answer "
        "with it."
    )
    ones = tuple(replace(row, response="1") for row in drawn.dev)
    assert replace(drawn, dev=ones).notes == (f"toy: all 2 dev rows have{favoured}",)
    assert replace(drawn, dev=ones[:1]).notes == (f"toy: the dev row has{favoured}",)
    assert replace(drawn, dev=()).notes == ()
    # with texts as responses, there are others to answer
    assert replace(drawn, task=replace(toy_task, labels=()), dev=ones).notes == ()


def test_each_training_row_learns_from_all_others_and_never_from_itself(toy_task):
    drawn = FewShotSet.draw(toy_task, 6)
    for row, context in zip(drawn.train, drawn.training_contexts(), strict=True):
        assert sorted(context, key=str) == sorted(set(drawn.train) - {row}, key=str)
    orders = {tuple(row for row in context if row in drawn.train[4:]) for context in drawn.training_contexts()[:4]}
    assert len(orders) > 1, "contexts should have orders of their own"


def test_each_dev_row_learns_from_all_training_rows_but_one(toy_task):
    drawn = FewShotSet.draw(toy_task, 6)
    contexts = drawn.dev_contexts()
    assert len(contexts) == len(drawn.dev) == 3
    for context in contexts:
        assert len(set(context)) == 5
        assert set(context) < set(drawn.train)


def test_demonstrations_are_all_training_rows_in_one_order(toy_task):
    drawn = FewShotSet.draw(toy_task, 6)
    assert sorted(drawn.demonstrations(), key=str) == sorted(drawn.train, key=str)
    assert drawn.demonstrations() == drawn.demonstrations()


def test_what_cannot_be_drawn_is_refused(toy_task):
    with pytest.raises(InputError, match="at least 2"):
        FewShotSet.draw(toy_task, 1)
    with pytest.raises(InputError, match=r"30 training rows and 15 dev rows.*36.*Use n = 24 or fewer"):
        FewShotSet.draw(toy_task, 30)
    FewShotSet.draw(toy_task, 24)
    with pytest.raises(InputError, match="for evaluation only"):
        FewShotSet.draw(replace(toy_task, evaluation_only=True), 4)


@given(st.integers(3, 36))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_the_largest_set_that_a_refusal_names_can_be_drawn_and_no_larger_one(toy_task, count):
    few = replace(toy_task, pool=toy_task.pool[:count])
    with pytest.raises(InputError) as refusal:
        FewShotSet.draw(few, 40)
    named = int(re.search(r"Use n = (\d+) or fewer", str(refusal.value))[1])
    assert len(FewShotSet.draw(few, named).train) == named
    with pytest.raises(InputError):
        FewShotSet.draw(few, named + 1)


def test_where_no_set_can_be_drawn_at_all_only_more_rows_help(toy_task):
    with pytest.raises(
        InputError, match=r"there are 2 different rows to draw from\. Add rows: at least 3 are needed\.$"
    ):
        FewShotSet.draw(replace(toy_task, pool=toy_task.pool[:2]), 2)


def test_a_context_stands_instead_of_all_demonstrations(toy_task):
    few = replace(FewShotSet.draw(toy_task, 4), context=Instruction("Say 1 for praise."))
    assert few.demonstrations() == (few.context,)
    assert few.training_contexts() == ((few.context,),) * 4
    assert few.dev_contexts() == ((few.context,),) * 2
    assert prompt_text("Text:c\nLabel:", few.demonstrations()) == "Say 1 for praise.\n\nText:c\nLabel:"


def test_unlabelled_queries_meet_all_demonstrations_in_several_orders(toy_task):
    few = replace(FewShotSet.draw(toy_task, 6), unlabelled=("a", "b"), orders=3)
    assert few.unlabelled_queries() == ("a", "a", "a", "b", "b", "b")
    contexts = few.unlabelled_contexts()
    assert len(contexts) == 6
    assert all(set(shown) == set(few.train) for shown in contexts)
    assert len(set(contexts)) > 3


def test_a_chosen_order_is_that_of_every_prompt(toy_task):
    few = FewShotSet.draw(toy_task, 6)
    orders = [replace(few, order=number).demonstrations() for number in range(5)]
    assert len(set(orders)) == 5
    assert all(set(shown) == set(few.train) for shown in orders)
    chosen = replace(few, order=3)
    for index, shown in enumerate(chosen.training_contexts()):
        assert shown == tuple(row for row in orders[3] if row != few.train[index])
    assert all(shown == orders[3][:5] for shown in chosen.dev_contexts())


def test_resampled_demonstrations_are_drawn_afresh_from_rows_that_serve_for_nothing_else(toy_task):
    few = FewShotSet.draw(toy_task, 4)
    contexts = few.resampled_contexts(20)
    assert contexts == few.resampled_contexts(20)
    assert {len(context) for context in contexts} == {3}
    assert len(set(contexts)) > 10
    shown = {row for context in contexts for row in context}
    assert shown <= set(toy_task.pool)
    assert not shown & {*few.train, *few.dev, *few.evaluation}
    assert FewShotSet.draw(toy_task, 4, seed=1).resampled_contexts(20) != contexts


def test_resampled_demonstrations_need_rows_that_are_left(toy_task):
    few = FewShotSet.draw(replace(toy_task, pool=toy_task.pool[:8]), 4)
    with pytest.raises(InputError, match="3 demonstrations are drawn anew for each query, but only 2 rows are left"):
        few.resampled_contexts(1)


def test_rows_of_the_pool_can_serve_without_their_labels(toy_task):
    few = FewShotSet.draw(toy_task, 4, seed=1)
    texts = few.unlabelled_of_pool(20)
    assert len(set(texts)) == 20
    assert set(texts) <= {row.query for row in toy_task.pool}
    assert not set(texts) & {row.query for row in (*few.train, *few.dev, *few.evaluation)}
    # more of them are those and others
    assert few.unlabelled_of_pool(30)[:20] == texts
    assert FewShotSet.draw(toy_task, 4, seed=2).unlabelled_of_pool(20) != texts
    with pytest.raises(
        InputError, match="unlabelled_rows 31: only 30 rows of toy are neither trained on nor evaluated"
    ):
        few.unlabelled_of_pool(31)


def test_dev_rows_may_be_fewer_than_half_as_many(toy_task):
    for nested in (False, True):
        for task in (toy_task, replace(toy_task, as_written=True)):
            drawn = FewShotSet.draw(task, 8, 1, nested=nested, dev_rows=3)
            assert (len(drawn.train), len(drawn.dev), drawn.as_record()["dev_rows"]) == (8, 3, 3)
            assert len(FewShotSet.draw(task, 4, 1, nested=nested, dev_rows=3).dev) == 2
            assert not {*drawn.train} & {*drawn.dev}
    # 36 rows: 33 teach where 3 check, and only 24 where half as many do
    assert len(FewShotSet.draw(toy_task, 33, dev_rows=3).train) == 33
    # some row must tell when training is to stop
    with pytest.raises(InputError, match="dev_rows 0: this must be 1 or more"):
        FewShotSet.draw(toy_task, 8, dev_rows=0)
    with pytest.raises(InputError, match="34 training rows and 3 dev rows .* Use n = 33 or fewer"):
        FewShotSet.draw(toy_task, 34, dev_rows=3)


def test_prompts_hold_no_more_demonstrations_than_they_may(toy_task):
    drawn = FewShotSet.draw(toy_task, 6)
    few = replace(drawn, most_demonstrations=2)
    for contexts, whole in (
        (few.training_contexts(), drawn.training_contexts()),
        (few.dev_contexts(), drawn.dev_contexts()),
        ((few.demonstrations(),), (drawn.demonstrations(),)),
    ):
        # the first ones of the order that all of them stand in
        assert contexts == tuple(context[:2] for context in whole)
    assert all(len(context) == 2 for context in few.resampled_contexts(5))
    assert replace(drawn, most_demonstrations=9).demonstrations() == drawn.demonstrations()
    assert few.as_record()["most_demonstrations"] == 2


def test_demonstrations_can_stand_in_a_new_order_for_each_query(toy_task):
    contexts = FewShotSet.draw(toy_task, 6).reshuffled_contexts(10)
    assert {frozenset(context) for context in contexts} == {frozenset(FewShotSet.draw(toy_task, 6).train)}
    assert len(set(contexts)) == 10


def test_that_no_row_is_left_to_measure_is_said(toy_task):
    every = FewShotSet.draw(replace(toy_task, pool=toy_task.pool[:6], evaluation=()), 4)
    assert every.notes[-1] == (
        "toy: 4 training rows and 2 dev rows leave none to evaluate, so nothing will be measured. Use a smaller n, "
        "add rows, or name a file to evaluate."
    )
    left = FewShotSet.draw(replace(toy_task, pool=toy_task.pool[:7], evaluation=()), 4)
    assert not any("none to evaluate" in sentence for sentence in left.notes)
