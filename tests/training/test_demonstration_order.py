import math

import pytest
import torch
from pytest import approx

from ia2.errors import InputError
from ia2.prompting.fewshot import FewShotSet
from ia2.prompting.prompts import prompt_text
from ia2.training.demonstration_order import best_ordered, in_context_loss


def test_the_order_with_the_lowest_loss_in_context_is_chosen(tiny_model, toy_task):
    few = FewShotSet.draw(toy_task, 6)
    chosen = best_ordered(tiny_model, few, 4)
    losses = []
    for order in range(4):
        shown = FewShotSet(**{**vars(few), "order": order}).demonstrations()
        each = []
        for row in few.dev:
            ids = tiny_model.tokenizer(prompt_text(row.query, shown))["input_ids"]
            (label,) = tiny_model.tokenizer(row.response)["input_ids"]
            logits = tiny_model.network(torch.tensor([ids])).logits[0, -1]
            each.append(-logits.log_softmax(-1)[label].item())
        losses.append(sum(each) / len(each))
    assert len({round(loss, 4) for loss in losses}) == 4
    assert chosen.order == min(range(4), key=losses.__getitem__)
    assert in_context_loss(tiny_model, chosen, batch_size=2) == approx(min(losses), rel=1e-4)


def test_an_order_whose_loss_is_no_number_is_never_chosen(tiny_model, toy_task, monkeypatch):
    few, losses = FewShotSet.draw(toy_task, 4), {0: math.nan, 1: 0.9, 2: 0.4, 3: math.inf}
    monkeypatch.setattr(
        "ia2.training.demonstration_order.in_context_loss", lambda _model, ordered: losses[ordered.order]
    )
    assert best_ordered(tiny_model, few, 4).order == 2
    losses |= dict.fromkeys((1, 2), math.nan)
    with pytest.raises(InputError, match="order best-of-4: the dev loss is not finite with any order"):
        best_ordered(tiny_model, few, 4)
