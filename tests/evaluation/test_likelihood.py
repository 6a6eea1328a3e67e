import pytest
import torch

from ia2.adapters.adapter import Adapter, attached, fresh_adapter
from ia2.adapters.lora import LoRA
from ia2.evaluation.likelihood import mean_log_likelihood, windows_of

TEXTS = ["Text:a fine film, warm and funny .", "Question:How many apples are 12 and 30?\nAnswer:There are 42."]


def expected(model, network, window):
    """Of each window in a pass of its own, in float64."""
    chosen = []
    for text in TEXTS:
        ids = model.tokenizer(text)["input_ids"]
        for start in range(0, len(ids) - 1, window - 1):
            part = torch.tensor([ids[start : start + window]])
            with torch.no_grad():
                scores = network(part).logits[0, :-1].double().log_softmax(-1)
            chosen.append(scores.gather(1, part[0, 1:, None])[:, 0])
    assert sum(map(len, chosen)) == sum(len(model.tokenizer(text)["input_ids"]) - 1 for text in TEXTS)
    return torch.cat(chosen).mean().item()


@pytest.mark.parametrize("window", [256, 5])
def test_every_token_but_the_first_is_predicted_once(tiny_model, window):
    windows = windows_of(tiny_model, TEXTS, window)
    assert mean_log_likelihood(tiny_model, windows) == pytest.approx(expected(tiny_model, tiny_model.network, window))


def test_an_adapter_runs_meanwhile(tiny_model):
    fresh = fresh_adapter(tiny_model.network, LoRA().configuration(tiny_model.network), 0)
    adapter = Adapter(fresh.configuration, {name: value + 0.05 for name, value in fresh.weights.items()})
    windows = windows_of(tiny_model, TEXTS)
    with attached(tiny_model.network, adapter) as network:
        theirs = expected(tiny_model, network, 256)
    ours = mean_log_likelihood(tiny_model, windows, adapter)
    assert ours == pytest.approx(theirs, abs=1e-5)
    assert ours != pytest.approx(mean_log_likelihood(tiny_model, windows), abs=1e-3)
    assert mean_log_likelihood(tiny_model, windows, adapter, weights="merged") == pytest.approx(theirs, abs=1e-5)


def test_texts_of_one_token_have_no_likelihood(tiny_model):
    with pytest.raises(ValueError, match="no tokens"):
        mean_log_likelihood(tiny_model, windows_of(tiny_model, ["T", ""]))
