import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ia2.errors import InputError
from ia2.training.early_stopping import Course, Training


def run(course, dev_losses):
    """Follow a course with these dev losses (the last one repeated), as the training loop does."""
    remaining, evaluated = list(dev_losses), []
    while not course.over:
        course.next_batch()
        course.note_step(0.5)
        if course.dev_due:
            loss = remaining.pop(0) if len(remaining) > 1 else remaining[0]
            evaluated.append((course.step, course.note_dev_loss(loss)))
    return evaluated


def test_dev_loss_is_due_every_two_steps_and_after_each_epochs_last():
    # 10 rows in batches of 4: epochs of 3 steps; 2, 3, 4, 6, 8, 9, ...
    course = Course(10, 0, Training(epochs=3))
    assert [step for step, _ in run(course, [5.0, 4.0, 3.0, 2.0, 1.0, 0.5])] == [2, 3, 4, 6, 8, 9]
    assert course.history("x").stopped_by == "epochs"


def test_training_stops_after_five_evaluations_without_a_new_best():
    course = Course(8, 0, Training())
    assert [best for _, best in run(course, [3.0, 1.0, 2.0, 2.0, 1.0, 1.5, 3.0, 0.1])] == [True, True] + 5 * [False]
    history = course.history("x")
    assert (history.best_step, history.steps, history.stopped_by) == (4, 14, "patience")
    assert (history.kept_step, history.dev_loss) == (4, 1.0)


@given(st.integers(1, 30), st.integers(1, 8), st.integers(0, 9))
def test_every_epoch_takes_every_row_once_in_an_order_of_its_own(rows, batch_size, seed):
    course = Course(rows, seed, Training(batch_size=batch_size))
    epochs = []
    for _ in range(3):
        taken = []
        for _ in range(course.steps_per_epoch):
            taken += course.next_batch()
            course.note_step(0.0)
        assert sorted(taken) == list(range(rows))
        epochs.append(tuple(taken))
    assert rows < 6 or len(set(epochs)) > 1


def test_a_loss_that_is_no_number_is_never_the_best():
    course = Course(4, 0, Training())
    assert [best for _, best in run(course, [math.nan, 2.0, math.nan, math.inf, 3.0])][:2] == [False, True]
    assert course.history("x").dev_loss == 2.0


def test_training_without_a_finite_dev_loss_diverged():
    course = Course(4, 0, Training())
    run(course, [math.nan])
    history = course.history("align")
    assert (history.stopped_by, history.best_step, history.dev_loss) == ("diverged", 0, math.inf)


def test_where_the_last_is_kept_its_own_dev_loss_counts_and_one_before_it_saves_nothing():
    last = Training(epochs=4, keep="last")
    course = Course(4, 0, last)
    # as the loop keeps what it is told to, a later one takes the place of the best
    assert [keep for _, keep in run(course, [3.0, 1.0, math.nan, 2.0])] == [True, True, False, True]
    history = course.history("align")
    assert (history.best_step, history.kept_step, history.dev_loss, history.stopped_by) == (2, 4, 2.0, "epochs")
    course = Course(4, 0, last)
    run(course, [3.0, 1.0, 2.0, math.inf])
    history = course.history("align")
    assert (history.best_step, history.kept_step, history.dev_loss, history.stopped_by) == (2, 0, math.inf, "diverged")


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"batch_size": -1}, {"rows_per_pass": 0}])
def test_settings_that_make_no_sense_are_refused_by_name(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Training(**wrong)
