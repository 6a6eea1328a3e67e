import torch
from pytest import approx

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
