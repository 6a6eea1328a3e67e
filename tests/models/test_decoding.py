import pytest
import torch
from conftest import ARCHITECTURES, tiny_network

from benchmarks.dispatched import dispatched
from ia2.adapters.adapter import Adapter, bank_of, fresh_adapter
from ia2.adapters.full import FullFineTuning
from ia2.adapters.ia3 import IA3
from ia2.adapters.lora import LoRA
from ia2.adapters.prefix import PrefixTuning
from ia2.adapters.prompt import PromptTuning
from ia2.errors import InputError
from ia2.models.architectures import attention_blocks
from ia2.models.decoding import STEPS_UNREAD, decode
from ia2.models.layout import lay_out
from ia2.models.prefix import prefill
from ia2.models.reader import Reader
from ia2.models.responses import Limits
from ia2.models.sequences import TokenSequence, shared_tokens
from ia2.models.sites import ATTENTION_OUTPUT, LOGITS, Site

SITE = ATTENTION_OUTPUT


def prompts(count, shared=(), seed=0):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 12, (count,), generator=generator).tolist()
    return [(*shared, *torch.randint(1, 399, (length,), generator=generator).tolist()) for length in lengths]


def slowly(network, prompt, max_tokens, end_tokens=frozenset()):
    """A full forward pass for each token, and the attention output at its last position."""
    tokens, attention = list(prompt), []
    while len(tokens) < len(prompt) + max_tokens:
        seen = []
        handles = [
            block.register_forward_hook(lambda _m, _a, output: seen.append(output[0][0, -1]))
            for block in attention_blocks(network)
        ]
        with torch.no_grad():
            token = network(torch.tensor([tokens])).logits[0, -1].argmax().item()
        for handle in handles:
            handle.remove()
        attention.append(torch.stack(seen))
        if token in end_tokens:
            break
        tokens.append(token)
    return tuple(tokens[len(prompt) :]), torch.stack(attention)


def decoded(reader, asked, *, record=False, end_tokens=frozenset(), stops=lambda tokens: False, **keywords):
    reader = reader if isinstance(reader, Reader) else Reader(reader)
    sites = [ATTENTION_OUTPUT] if record else []
    found = dict(decode(reader, asked, Limits(12, end_tokens, stops), sites=sites, **keywords))
    assert sorted(found) == list(range(len(asked)))
    return [found[index] for index in range(len(asked))]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_cached_decoding_and_its_attention_equal_a_forward_pass_for_each_token(architecture):
    network = tiny_network(architecture)
    asked = prompts(5)
    for prompt, ours in zip(asked, decoded(network, asked, batch_size=4, record=True), strict=True):
        tokens, attention = slowly(network, prompt, 12)
        assert ours.tokens == tokens
        assert ours.ending == "length"
        torch.testing.assert_close(ours.activations[SITE], attention, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("architecture", ["llama", "mistral", "gemma3"])
def test_batch_size_and_prefill_change_nothing(architecture):
    network = tiny_network(architecture)
    shared = prompts(1, seed=3)[0] * 3
    asked = prompts(17, shared)
    plain = decoded(network, asked, batch_size=1, record=True)
    start = prefill(network, shared_tokens([TokenSequence(prompt, (0,)) for prompt in asked]))
    assert len(start.tokens) >= len(shared)
    for size in (1, 4, 16):
        for reader in (Reader(network), Reader(network, prefix=start)):
            for one, other in zip(plain, decoded(reader, asked, batch_size=size, record=True), strict=True):
                assert one.tokens == other.tokens
                torch.testing.assert_close(one.activations[SITE], other.activations[SITE], atol=1e-4, rtol=1e-4)


def test_an_end_token_ends_a_response_and_is_no_part_of_it(tiny_llama):
    asked = prompts(6)
    free = decoded(tiny_llama, asked, record=True)
    ending = free[0].tokens[3]
    for before, row in zip(free, decoded(tiny_llama, asked, end_tokens=frozenset({ending}), record=True), strict=True):
        where = before.tokens.index(ending) if ending in before.tokens else None
        assert row.tokens == before.tokens[:where]
        assert row.ending == ("length" if where is None else "end")
        # the position that predicted the end token is among the recorded ones
        count = len(row.tokens) + (where is not None)
        torch.testing.assert_close(row.activations[SITE], before.activations[SITE][:count], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("unread", "batch_size"), [(1, 1), (1, 3), (5, 3), (5, 40), (30, 8)])
def test_a_prompt_that_waits_gets_the_slot_of_a_response_that_has_ended(tiny_llama, monkeypatch, batch_size, unread):
    monkeypatch.setitem(STEPS_UNREAD, "cpu", unread)
    asked = prompts(20, seed=5)
    free = [decoded(tiny_llama, [prompt], record=True)[0] for prompt in asked]
    # some end with their first token, others in the middle, others not at all
    ending = frozenset({*(row.tokens[0] for row in free[:6]), free[12].tokens[7]})
    rows = decoded(tiny_llama, asked, end_tokens=ending, batch_size=batch_size, record=True)
    counts = []
    for before, row in zip(free, rows, strict=True):
        count = next((at for at, token in enumerate(before.tokens) if token in ending), None)
        assert (row.tokens, row.ending) == (before.tokens[:count], "length" if count is None else "end")
        read = len(row.tokens) + (count is not None)
        torch.testing.assert_close(row.activations[SITE], before.activations[SITE][:read], atol=1e-4, rtol=1e-4)
        counts.append(len(row.tokens))
    assert counts.count(0) >= 6
    assert len(set(counts)) > 2


@pytest.mark.parametrize("sites", [[], [SITE]], ids=["tokens", "attention"])
def test_tokens_are_read_back_some_at_a_time(tiny_llama, monkeypatch, sites):
    monkeypatch.setitem(STEPS_UNREAD, "cpu", 5)
    reader = Reader(tiny_llama, bank_of(tiny_llama, [fresh_adapter(tiny_llama, LoRA().configuration(tiny_llama), 0)]))
    asked = prompts(4)
    # the first token of all prompts, then three times five and the last one
    counted = dispatched(lambda: list(decode(reader, asked, Limits(17), sites=sites)))
    assert counted.waits == {"tolist": 1 + 4}


def test_what_stops_is_asked_with_all_tokens_so_far(tiny_llama):
    asked = prompts(6)
    free = decoded(tiny_llama, asked)
    pair = free[2].tokens[4:6]
    for before, row in zip(
        free, decoded(tiny_llama, asked, stops=lambda tokens: tuple(tokens[-2:]) == pair), strict=True
    ):
        places = [at for at in range(2, 13) if before.tokens[at - 2 : at] == pair]
        assert row.tokens == before.tokens[: places[0] if places else 12]
        assert row.ending == ("stop" if places else "length")


def test_a_row_that_has_finished_costs_nothing_more(tiny_llama):
    asked = prompts(8)
    free = decoded(tiny_llama, asked)
    read = []
    handle = tiny_llama.model.embed_tokens.register_forward_hook(lambda _m, given, _o: read.append(given[0].shape))
    ending = free[0].tokens[1]
    rows = decoded(tiny_llama, asked, end_tokens=frozenset({ending}), batch_size=8)
    handle.remove()
    # the prompts once; then one token for each row and step that is still to be continued
    assert sum(rows * width for rows, width in read[1:]) == sum(
        len(row.tokens) - (row.ending == "length") for row in rows
    )


def test_nothing_is_recorded_unless_asked(tiny_llama):
    assert all(not row.activations for row in decoded(tiny_llama, prompts(2)))


KINDS = [LoRA(), LoRA(dora=True), IA3(), PromptTuning(tokens=3), PrefixTuning(tokens=3), FullFineTuning()]


@pytest.mark.parametrize("kind", KINDS, ids=repr)
@pytest.mark.parametrize("architecture", ["llama", "mistral", "gpt2", "opt"])
def test_prompts_are_continued_each_by_its_own_adapter_as_forward_passes_say(architecture, kind):
    network = tiny_network(architecture)
    fresh = fresh_adapter(network, kind.configuration(network), 0)
    generator = torch.Generator().manual_seed(4)
    noise = [
        {name: tensor + torch.randn(tensor.shape, generator=generator) * 0.3 for name, tensor in fresh.weights.items()}
        for _ in range(3)
    ]
    bank = bank_of(network, [Adapter(fresh.configuration, weights) for weights in noise])
    asked, own = prompts(5), [2, 0, 1, 2, 0]
    reader = Reader(network, bank)
    free = decoded(reader, asked, adapters=own, record=True)
    ending = free[1].tokens[2]  # one leaves the batch before the others
    stopped = decoded(reader, asked, adapters=own, end_tokens=frozenset({ending}))
    for prompt, adapter, ours, short in zip(asked, own, free, stopped, strict=True):
        tokens = list(prompt)
        for step in range(12):
            batch, at = lay_out([TokenSequence(tuple(tokens), (0,))]), [ATTENTION_OUTPUT, LOGITS]
            with torch.no_grad():
                read = reader.read(batch, {site: batch.at() for site in at}, [adapter])
            recorded = ours.activations[SITE][step : step + 1]
            torch.testing.assert_close(recorded, read[ATTENTION_OUTPUT], atol=2e-4, rtol=2e-4)
            tokens.append(read[LOGITS].argmax().item())
        assert list(ours.tokens) == tokens[len(prompt) :]
        where = ours.tokens.index(ending) if ending in ours.tokens else None
        assert short.tokens == ours.tokens[:where]


@pytest.mark.parametrize("site", [Site("residual", "prompt"), LOGITS], ids=str)
def test_what_is_not_recorded_while_a_response_is_decoded_is_refused(tiny_llama, site):
    with pytest.raises(InputError, match="isn't recorded while a response is decoded"):
        list(decode(Reader(tiny_llama), prompts(1), Limits(2), sites=[site]))


def test_a_long_prompt_whose_response_has_ended_stands_still_while_others_go_on(tiny_llama):
    # more prompts than slots, and too few have ended for another to be read: the longest one's slot waits
    asked = [tuple(range(1, 41)), *prompts(19, seed=5)]
    alone = [slowly(tiny_llama, prompt, 80)[0] for prompt in asked[:4]]
    first = alone[0][:3]
    found = dict(
        decode(Reader(tiny_llama), asked, Limits(80, stops=lambda tokens: tuple(tokens) == first), batch_size=16)
    )
    assert found[0].tokens == first
    assert [found[index].tokens for index in (1, 2, 3)] == alone[1:]


def test_an_adapter_that_is_no_number_spoils_no_response_of_another(tiny_llama):
    fresh = fresh_adapter(tiny_llama, LoRA().configuration(tiny_llama), 0)
    spoiled = Adapter(fresh.configuration, {name: tensor + torch.nan for name, tensor in fresh.weights.items()})
    reader = Reader(tiny_llama, bank_of(tiny_llama, [spoiled, fresh]))
    # the first one's slot is given to the last, whose prompt is shorter, while the one between goes on
    asked = [tuple(range(1, 21)), tuple(range(30, 55)), (5, 9, 13)]
    rows = decoded(reader, asked, adapters=[0, 1, 1], batch_size=2, stops=lambda tokens: list(tokens[:2]) == [0, 0])
    assert rows[0].tokens == (0, 0)
    assert [row.tokens for row in rows[1:]] == [slowly(tiny_llama, prompt, 12)[0] for prompt in asked[1:]]
