import pytest
from accelerate.hooks import ModelHook, add_hook_to_module
from conftest import ARCHITECTURES, tiny_network
from torch.testing import assert_close
from trained_reading import BATCH, loss_of, reader_of

from ia2.models.architectures import feed_forward_blocks
from ia2.models.memory import saved_bytes
from ia2.models.recomputation import recomputed_feed_forward


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradients_are_the_same_and_the_network_is_as_it_was(architecture):
    reader = reader_of(tiny_network(architecture))
    gradients = []
    for again in (False, True):
        reader.adapters.values.grad = None
        if again:
            with recomputed_feed_forward(reader.network):
                loss = loss_of(reader)
            # the adapters' hooks are gone by now, as in training
            loss.backward()
        else:
            loss_of(reader).backward()
        gradients.append(reader.adapters.values.grad)
    # but for the order of two sums where a norm follows the block
    assert_close(*gradients, atol=1e-6 * gradients[0].abs().max().item(), rtol=1e-5)
    assert not any("forward" in vars(module) for module in reader.network.modules())


def test_a_block_keeps_its_inputs_and_not_what_is_between_its_products():
    reader = reader_of(tiny_network("llama"))
    plain = saved_bytes(lambda: loss_of(reader), reader.network)
    with recomputed_feed_forward(reader.network):
        less = saved_bytes(lambda: loss_of(reader), reader.network)
    tokens, layers = BATCH.input_ids.numel(), 3
    # the gate, what comes of it, and what it is multiplied by, 48 wide, in all layers but the last, which reads less
    between = 4 * tokens * 3 * 48 * (layers - 1)
    inputs = 4 * tokens * 32 * layers
    assert between - inputs <= plain - less <= between * layers / (layers - 1)


def test_a_block_with_something_attached_inside_keeps_all():
    network = tiny_network("llama")
    reader = reader_of(network)
    expected = saved_bytes(lambda: loss_of(reader), network)
    handles = [block.down_proj.register_forward_hook(lambda *_: None) for block in feed_forward_blocks(network)]
    with recomputed_feed_forward(network):
        # the last layer's block reads whole rows where something is attached
        assert saved_bytes(lambda: loss_of(reader), network) >= expected
    for handle in handles:
        handle.remove()


def test_a_forward_that_moves_weights_stays_in_the_place_of_a_blocks_own():
    # so a model is spread over devices: accelerate puts a function of its own before the block's
    network = tiny_network("llama")
    moved = []
    for block in feed_forward_blocks(network):
        add_hook_to_module(block, Noting(moved))
    before = [vars(block)["forward"] for block in feed_forward_blocks(network)]
    with recomputed_feed_forward(network):
        network(input_ids=BATCH.input_ids)
    assert len(moved) == 3
    assert [vars(block).get("forward") for block in feed_forward_blocks(network)] == before


class Noting(ModelHook):
    def __init__(self, moved):
        self.moved = moved

    def pre_forward(self, module, *arguments, **keywords):
        self.moved.append(module)
        return arguments, keywords
