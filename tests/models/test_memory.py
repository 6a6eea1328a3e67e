import psutil
import torch

from ia2.models.memory import free_bytes, saved_bytes, steady_bytes


def test_what_is_kept_is_counted_once_and_weights_are_not(tiny_llama):
    value = torch.ones(100, requires_grad=True)

    def work():
        # exp keeps its result, sin its argument, which is that result; the product keeps both factors
        raised = value.exp()
        return (raised * raised.sin()).sum() + tiny_llama.lm_head(torch.ones(1, 32, requires_grad=True)).sum()

    # raised, its sine, and the product; the head keeps its weight alone, since that alone has no gradient
    assert saved_bytes(work, tiny_llama) == 2 * 400


def test_free_memory_is_some_of_what_there_is():
    assert 0 < free_bytes(torch.device("cpu")) <= psutil.virtual_memory().total


def test_a_repeatable_budget_is_what_is_left_of_a_share_of_all_memory(tiny_llama):
    weights = sum(parameter.numel() * 4 for parameter in tiny_llama.parameters())
    assert steady_bytes(tiny_llama) == 0.4 * psutil.virtual_memory().total - weights
