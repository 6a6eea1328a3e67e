"""Log-likelihood of unrelated text, which measures how much an adapter damages the model outside its task."""

from collections.abc import Iterable

import torch

from ia2.adapters.adapter import Adapter
from ia2.adapters.merging import Weights, read_with
from ia2.models.load import LanguageModel
from ia2.models.reader import Pass
from ia2.models.sequences import TokenSequence
from ia2.models.sites import LOGITS
from ia2.prompting.prompts import PromptTokenizer

WINDOW = 256
"""Window length in tokens; a longer text is split into windows that don't see the tokens before them."""


def windows_of(model: LanguageModel, texts: Iterable[str], window: int = WINDOW) -> list[TokenSequence]:
    """Split texts into windows in which every token but a text's first is predicted once.

    Args:
        model: the model, whose tokenizer encodes the texts as plain text.
        texts: the texts; each starts a new window.
        window: maximum number of tokens in a window.

    Example:
        >>> [len(sequence.response) for sequence in windows_of(model, ["Text:a fine film, warm and funny ."], window=8)]
        [7, 2]
    """
    tokenizer = PromptTokenizer(model.tokenizer)
    sequences = []
    for text in texts:
        tokens = tokenizer.prompt(text)
        for start in range(0, len(tokens) - 1, window - 1):
            sequences.append(TokenSequence(tokens[start : start + 1], tokens[start + 1 : start + window]))
    return sequences


@torch.no_grad()
def mean_log_likelihood(
    model: LanguageModel,
    windows: Iterable[TokenSequence],
    adapter: Adapter | None = None,
    *,
    weights: Weights = "adapters",
) -> float:
    """Return the mean log-probability of tokens given the earlier tokens of their window, in nats; at most 0.

    Args:
        model: the model.
        windows: the windows of the texts; at least one.
        adapter: the adapter to run with the model, if any.
        weights: whether the adapter runs beside the network's weights or is merged into them.

    Raises:
        ValueError: there is no token to predict.
    """
    sequences = list(windows)
    tokens = sum(len(sequence.response) for sequence in sequences)
    if tokens == 0:
        raise ValueError("the log-likelihood of no tokens is not defined")
    with read_with(model, adapter, weights=weights) as reader:
        return sum(reader.map_passes(_log_likelihood, sequences, [LOGITS])) / tokens


def _log_likelihood(one_pass: Pass) -> float:
    log_probabilities = one_pass.activations[LOGITS].log_softmax(-1)
    return float(log_probabilities.gather(1, one_pass.batch.responses()[:, None]).double().sum())
