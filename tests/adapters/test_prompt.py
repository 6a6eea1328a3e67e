import torch

from ia2.adapters.adapter import fresh_adapter
from ia2.adapters.prompt import LearnedPrompt, PromptTuning


def test_virtual_tokens_begin_as_words_and_are_read_like_them(tiny_llama):
    kind = PromptTuning(tokens=3)
    learned = fresh_adapter(tiny_llama, kind.configuration(tiny_llama), 1).weights["prompt_embeddings"]
    table = tiny_llama.get_input_embeddings().weight
    words = [int((table == row).all(-1).nonzero()) for row in learned]
    cache = LearnedPrompt(3).cache(tiny_llama, {"prompt_embeddings": learned[None]})
    with torch.no_grad():
        expected = tiny_llama.base_model(torch.tensor([words]), use_cache=True).cache
    for ours, theirs in zip(cache.layers, expected.layers, strict=True):
        assert torch.equal(ours.keys, theirs.keys)
        assert torch.equal(ours.values, theirs.values)
    assert kind.virtual_tokens == LearnedPrompt(3).virtual_tokens == 3
