import torch

from ia2.models.attachment import UNADAPTED
from ia2.models.layout import lay_out
from ia2.models.sequences import TokenSequence


def test_the_network_as_it_is_counts_as_one_adapter_that_does_nothing(tiny_llama):
    batch, rows = lay_out([TokenSequence((5, 9, 13), (7,))]), [0]
    before = tiny_llama(batch.input_ids).logits
    assert (len(UNADAPTED), UNADAPTED.virtual_tokens, UNADAPTED.shares_prefill) == (1, 0, True)
    with UNADAPTED.reading(batch, rows, [3]) as (read, cache):
        assert torch.equal(tiny_llama(read.input_ids).logits, before)
        assert cache is None
        assert torch.equal(read.position_ids, batch.position_ids)
    assert UNADAPTED.shares_tokens([3])
    assert not any(module._forward_hooks for module in tiny_llama.modules())
