import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ia2.errors import InputError
from ia2.training.early_stopping import EarlyStopping, Training


def run(stopping, dev_losses):
    """Follow early stopping with these dev losses (the last one repeated), as the training loop does."""
    remaining, evaluated = list(dev_losses), []
    while not stopping.finished:
        stopping.next_batch()
        stopping.note_step()
        stopping.note_train_loss(0.5)
        if stopping.dev_due:
            loss = remaining.pop(0) if len(remaining) > 1 else remaining[0]
            evaluated.append((stopping.step, stopping.note_dev_loss(loss)))
    return evaluated


def test_dev_loss_is_due_every_two_steps_and_after_each_epochs_last():
    # 10 rows in batches of 4: epochs of 3 steps; 2, 3, 4, 6, 8, 9, ...
    stopping = EarlyStopping(10, 0, Training(epochs=3))
    assert [step for step, _ in run(stopping, [5.0, 4.0, 3.0, 2.0, 1.0, 0.5])] == [2, 3, 4, 6, 8, 9]
    assert stopping.history("x").stopped_by == "epochs"


def test_training_stops_after_five_evaluations_without_a_new_best():
    stopping = EarlyStopping(8, 0, Training())
    assert [best for _, best in run(stopping, [3.0, 1.0, 2.0, 2.0, 1.0, 1.5, 3.0, 0.1])] == [True, True] + 5 * [False]
    history = stopping.history("x")
    assert (history.best_step, history.steps, history.stopped_by) == (4, 14, "patience")
    assert (history.kept_step, history.dev_loss) == (4, 1.0)


def test_training_until_it_has_converged_has_no_limit_but_a_stated_one():
    falling = [10.0 - step / 100 for step in range(500)]
    for training, steps, ending in (
        (Training(), 50, "epochs"),
        (Training(until="converged"), 505, "patience"),
        (Training(until="converged").for_epochs(3), 3, "epochs"),
    ):
        stopping = EarlyStopping(4, 0, training)
        run(stopping, falling)
        # five evaluations follow the last new best, one an epoch
        history = stopping.history("align")
        assert (history.steps, history.stopped_by) == (steps, ending)
    never = EarlyStopping(4, 0, Training(until="converged", patience=2000))
    assert never.max_steps == 1000


def test_epochs_beside_convergence_are_refused():
    with pytest.raises(InputError, match="until converged: this stands in place of epochs"):
        Training(until="converged", epochs=10)


@given(st.integers(1, 30), st.integers(1, 8), st.integers(0, 9))
def test_every_epoch_takes_every_row_once(rows, batch_size, seed):
    stopping = EarlyStopping(rows, seed, Training(batch_size=batch_size))
    for _ in range(3):
        taken = []
        for _ in range(stopping.steps_per_epoch):
            taken += stopping.next_batch()
            stopping.note_step()
        assert sorted(taken) == list(range(rows))


def test_every_epoch_of_every_seed_has_an_order_of_its_own():
    orders = set()
    for seed in (0, 1):
        stopping = EarlyStopping(12, seed, Training(batch_size=12))
        for _ in range(3):
            orders.add(tuple(stopping.next_batch()))
            stopping.note_step()
    assert len(orders) == 6


def test_a_loss_that_is_no_number_is_never_the_best():
    stopping = EarlyStopping(4, 0, Training())
    assert [best for _, best in run(stopping, [math.nan, 2.0, math.nan, math.inf, 3.0])][:2] == [False, True]
    assert stopping.history("x").dev_loss == 2.0


def test_training_without_a_finite_dev_loss_diverged():
    stopping = EarlyStopping(4, 0, Training())
    run(stopping, [math.nan])
    history = stopping.history("align")
    assert (history.stopped_by, history.best_step, history.dev_loss) == ("diverged", 0, math.inf)


def test_where_the_last_is_kept_its_own_dev_loss_counts_and_one_before_it_saves_nothing():
    last = Training(epochs=4, keep="last")
    stopping = EarlyStopping(4, 0, last)
    # as the loop keeps what it is told to, a later one takes the place of the best
    assert [keep for _, keep in run(stopping, [3.0, 1.0, math.nan, 2.0])] == [True, True, False, True]
    history = stopping.history("align")
    assert (history.best_step, history.kept_step, history.dev_loss, history.stopped_by) == (2, 4, 2.0, "epochs")
    stopping = EarlyStopping(4, 0, last)
    run(stopping, [3.0, 1.0, 2.0, math.inf])
    history = stopping.history("align")
    assert (history.best_step, history.kept_step, history.dev_loss, history.stopped_by) == (2, 0, math.inf, "diverged")


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"batch_size": -1}, {"rows_per_pass": 0}])
def test_settings_that_make_no_sense_are_refused_by_name(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Training(**wrong)


def test_a_stage_of_so_many_steps_takes_them_whatever_the_dev_loss_does():
    # 8 rows in batches of 4: the dev loss is due at even steps, and at the last one
    stopping = EarlyStopping(8, 0, Training(epochs=1, patience=1), exact_steps=7)
    assert [step for step, _ in run(stopping, [1.0, 0.5, 2.0, 3.0])] == [2, 4, 6, 7]
    history = stopping.history("x")
    assert (history.steps, history.best_step, history.kept_step, history.stopped_by) == (7, 4, 4, "steps")
