import pytest
import torch
from conftest import tiny_network
from torch.testing import assert_close

from ia2.adapters.adapter import Adapter, bank_of, fresh_adapter
from ia2.adapters.lora import LoRA
from ia2.models.prefix import prefill
from ia2.models.reader import Reader
from ia2.models.sequences import TokenSequence
from ia2.models.sites import ATTENTION_OUTPUT, LOGITS, Site

SEQUENCES = [
    TokenSequence((5, 9, 13, 2, 8), (7, 3)),
    TokenSequence((5, 9, 4), (6,)),
    TokenSequence((5, 9, 13, 1), (2, 2, 4)),
    TokenSequence((5, 9, 7, 7, 7, 7), (1,)),
]


def random_bank(network, count):
    fresh = fresh_adapter(network, LoRA().configuration(network), 0)
    generator = torch.Generator().manual_seed(0)
    return bank_of(
        network,
        [
            Adapter(
                fresh.configuration,
                {name: torch.randn(t.shape, generator=generator) * 0.2 for name, t in fresh.weights.items()},
            )
            for _ in range(count)
        ],
    )


def plainly(network, sequence):
    """Logits that predict the response, from a forward pass of this sequence and nothing else."""
    with torch.no_grad():
        return network(torch.tensor([sequence.inputs])).logits[0, len(sequence.prompt) - 1 :]


def test_logits_are_those_of_each_sequence_alone_one_after_another(network):
    expected = torch.cat([plainly(network, sequence) for sequence in SEQUENCES])
    for size in (None, 1, 3):
        assert_close(Reader(network).logits(SEQUENCES, batch_size=size), expected, atol=1e-4, rtol=1e-4)
    behind = Reader(network).with_common_prefix(SEQUENCES)
    assert behind.prefix.tokens == (5, 9)
    assert_close(behind.logits(SEQUENCES), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("layout", ["packed", "right", "left"])
def test_a_pass_reads_every_sequence_with_every_adapter(tiny_llama, layout):
    bank = random_bank(tiny_llama, 3)
    reader = Reader(tiny_llama, bank, layout=layout)
    read = {}
    with torch.no_grad():
        for one_pass in reader.passes(SEQUENCES, [LOGITS, ATTENTION_OUTPUT], batch_size=3):
            each = len(one_pass.indices) // 3
            assert list(one_pass.indices) == list(one_pass.indices[:each]) * 3
            for number, index in enumerate(one_pass.indices):
                read[number // each, index] = one_pass.of_sequence(number, [LOGITS, ATTENTION_OUTPUT])
    assert read.keys() == {(adapter, index) for adapter in range(3) for index in range(4)}
    for (adapter, index), activations in read.items():
        with bank.attached([adapter]):
            expected = plainly(tiny_llama, SEQUENCES[index])
        assert_close(activations[LOGITS], expected, atol=1e-4, rtol=1e-4)
        assert activations[ATTENTION_OUTPUT].shape == (len(SEQUENCES[index].response), 3, 32)


def test_sequences_of_a_group_stay_together(tiny_llama):
    # three labels for each of two prompts
    sequences = [TokenSequence(prompt, (label,)) for prompt in ((5, 9, 1), (4,)) for label in (1, 2, 3)]
    reader = Reader(tiny_llama)
    with torch.no_grad():
        groups = [list(read.indices) for read in reader.passes(sequences, [LOGITS], batch_size=1, group=3)]
    assert groups == [[3, 4, 5], [0, 1, 2]]


def test_no_head_is_run_where_nobody_asks_for_logits(tiny_llama, monkeypatch):
    monkeypatch.setattr(tiny_llama.lm_head, "forward", lambda *_: pytest.fail("the head was run"))
    for site in (ATTENTION_OUTPUT, Site("residual", "all"), Site("heads")):
        Reader(tiny_llama).activations(SEQUENCES, [site])
    with pytest.raises(pytest.fail.Exception, match="the head was run"):
        Reader(tiny_llama).logits(SEQUENCES)


def test_a_bank_reads_whole_prompts(tiny_llama):
    bank = random_bank(tiny_llama, 2)
    with pytest.raises(ValueError, match="no prefill can be shared with a bank"):
        Reader(tiny_llama, bank, prefill(tiny_llama, (5, 9)))
    reader = Reader(tiny_llama, bank)
    assert reader.with_common_prefix(SEQUENCES) is reader


def test_a_single_sequence_has_nothing_in_common_with_others():
    reader = Reader(tiny_network("llama"))
    assert reader.with_common_prefix(SEQUENCES[:1]) is reader
