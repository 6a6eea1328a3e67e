import pytest
import torch

from benchmarks.dispatched import dispatched


@pytest.mark.parametrize(
    ("work", "waits"),
    [
        (lambda values: values.sum().item(), {"_local_scalar_dense": 1}),
        (lambda values: values.tolist(), {"tolist": 1}),
        (lambda values: values[values > 0], {"index": 1, "nonzero": 0}),
        (lambda values: (values > 0).nonzero(), {"nonzero": 1}),
        (lambda values: values.cpu(), {"cpu": 1}),
        (lambda values: bool((values > 0).any()), {"_local_scalar_dense": 1}),
        (lambda values: torch.equal(values, values + 1), {"equal": 1}),
        (lambda values: values.unique(), {"_unique2": 1}),
        (lambda values: values[torch.tensor([1, 0])] @ values, {}),
    ],
)
def test_what_waits_for_an_answer_is_counted_by_its_name(work, waits):
    counted = dispatched(lambda: work(torch.arange(2.0)))
    assert counted.waits == {name: count for name, count in waits.items() if count}


def test_operations_of_the_backward_pass_count_and_views_do_not():
    weight = torch.randn(3, 3, requires_grad=True)

    def work():
        (torch.ones(2, 3) @ weight.T).exp().view(6).sum().backward()

    counted = dispatched(work).operations
    # forward and backward: the gradient of a sum expands a one, that of exp multiplies by what it gave
    assert (counted["mm"], counted["exp"], counted["mul"], counted["sum"]) == (2, 1, 1, 1)
    assert not {"view", "t", "transpose"} & set(counted)
