import copy
import hashlib
import pickle
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ia2.errors import InputError
from ia2.tasks.task import (
    EVALUATION_ROWS,
    POOL_ROWS,
    Dialogue,
    Example,
    Task,
    Turn,
    rows_digest,
    shuffled_pools,
    turns_of,
    without_repeats,
)


def rows(names):
    return [Example(f"Text:{name}\nLabel:", "1") for name in names]


def test_a_task_that_evaluates_what_it_trains_on_cannot_be_made(toy_task):
    with pytest.raises(ValueError, match="1 evaluation rows are also in the training pool"):
        replace(toy_task, evaluation=(*toy_task.evaluation, toy_task.pool[0]))


def test_responses_must_be_labels(toy_task):
    with pytest.raises(ValueError, match=r"responses \['2'\] are not among the labels"):
        replace(toy_task, evaluation=(Example("Text:x\nLabel:", "2"),))
    assert replace(toy_task, labels=()).response_kind == "text"


def test_labels_lose_their_space_in_every_row(toy_task):
    spaced = replace(
        toy_task,
        labels=(" 0", " 1"),
        pool=tuple(replace(row, response=f" {row.response}") for row in toy_task.pool),
        evaluation=(),
    )
    assert spaced.with_spaceless_labels().pool == toy_task.pool
    with pytest.raises(ValueError, match="can't do without"):
        replace(spaced, labels=(" 0", "0", " 1")).with_spaceless_labels()


def test_a_task_that_only_evaluates_refuses_to_train(toy_task):
    with pytest.raises(InputError, match="toy: this task is for evaluation only"):
        replace(toy_task, evaluation_only=True).trainable()
    assert toy_task.trainable() is toy_task


def test_the_first_row_of_each_query_is_kept():
    first, second = Example("a", "1"), Example("a", "0")
    assert without_repeats([first, second, Example("b", "1")]) == (first, Example("b", "1"))


@given(st.lists(st.integers(0, 60)), st.lists(st.integers(0, 60)))
def test_no_evaluated_row_is_ever_in_the_pool(train, evaluation):
    pool, measured = shuffled_pools(rows(train), rows(evaluation), "x")
    assert not {row.query for row in pool} & {row.query for row in measured}
    assert {row.query for row in pool} == {row.query for row in rows(set(train) - set(evaluation))}
    assert len(measured) == len(set(evaluation))


def test_pools_are_shuffled_and_no_larger_than_the_papers():
    pool, measured = shuffled_pools(rows(range(3000)), rows(range(3000, 4000)), "x")
    assert (len(pool), len(measured)) == (POOL_ROWS, EVALUATION_ROWS) == (2000, 500)
    assert list(pool) != sorted(pool, key=lambda row: row.query)
    assert shuffled_pools(rows(range(3000)), rows(range(3000, 4000)), "x") == (pool, measured)


def test_a_dialogue_is_told_apart_by_its_turns_and_keeps_its_turns_wherever_it_goes():
    turns = (Turn("user", "One?"), Turn("assistant", "1."), Turn("user", "Two?"))
    query = Dialogue(turns)
    text = "user: One?\n\nassistant: 1.\n\nuser: Two?"
    assert str(query) == text
    assert query != text
    assert text != query
    assert query != Dialogue((Turn("system", "Count."), *turns))
    for twin in (
        copy.deepcopy(query),
        pickle.loads(pickle.dumps(query)),
        replace(Example(query, "2"), response="3").query,
    ):
        assert (twin, turns_of(twin)) == (query, turns)


def test_rows_of_other_turns_are_other_rows_though_their_texts_are_the_same():
    said_by_one = Dialogue((Turn("system", "Be brief."), Turn("user", "One?\n\nassistant: 1.\n\nuser: Two?")))
    said_by_two = Dialogue(
        (Turn("system", "Be brief."), Turn("user", "One?"), Turn("assistant", "1."), Turn("user", "Two?"))
    )
    assert str(said_by_one) == str(said_by_two)
    # what is kept for others is found again by how it is written
    assert len({*map(repr, (said_by_one, said_by_two, str(said_by_one)))}) == 3
    assert repr(copy.copy(said_by_one)) == repr(said_by_one)
    rows = [Example(query, "2") for query in (said_by_one, said_by_two, str(said_by_one), copy.copy(said_by_one))]
    assert without_repeats(rows) == tuple(rows[:3])
    pool, measured = shuffled_pools(rows[:1], rows[1:2], "x")
    assert (pool, measured) == ((rows[0],), (rows[1],))
    task = Task(name="x", description="", source="", pool=pool, evaluation=measured)
    with pytest.raises(ValueError, match="1 evaluation rows are also in the training pool"):
        replace(task, evaluation=(rows[3],))
    assert turns_of("Two?") == (Turn("user", "Two?"),)


def test_conversations_that_read_alike_have_other_digests():
    by_one = Dialogue((Turn("user", "One?\n\nassistant: 1.\n\nuser: Two?"),))
    by_two = Dialogue((Turn("user", "One?"), Turn("assistant", "1."), Turn("user", "Two?")))
    assert str(by_one) == str(by_two)
    queries = (by_one, by_two, str(by_one))
    assert len({rows_digest([Example(query, "2.")]) for query in queries}) == 3
    # of texts it is what it was in the first version
    assert rows_digest([Example("a", "1")]) == hashlib.sha256(b'[[["a", "1"]]]').hexdigest()
