"""How likely a model finds a text that it has nothing to learn from: what an adapter costs beside its own task."""

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
"""Tokens that are read at once; a longer text is cut into windows, each of which begins without what was before it."""


def windows_of(model: LanguageModel, texts: Iterable[str], window: int = WINDOW) -> list[TokenSequence]:
    """Texts as windows in which every token but a text's first one is predicted once.

    Args:
        model: whose tokenizer reads them, as plain text.
        texts: each begins a window of its own.
        window: the most tokens of one.

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
    """The mean of ln p over tokens, each behind those before it in its window, in nats; 0 is certain.

    Args:
        model: the model.
        windows: of the texts; at least one.
        adapter: runs on the model meanwhile.
        weights: whether it runs beside the network's weights or merged into them.

    Raises:
        ValueError: there is no token to predict.
    """
    sequences = list(windows)
    tokens = sum(len(sequence.response) for sequence in sequences)
    if tokens == 0:
        raise ValueError("the log-likelihood of no tokens is not defined")
    with read_with(model, adapter, weights=weights) as reader:
        return sum(reader.taken(_log_likelihood, sequences, [LOGITS])) / tokens


def _log_likelihood(one_pass: Pass) -> float:
    log_probabilities = one_pass.activations[LOGITS].log_softmax(-1)
    return float(log_probabilities.gather(1, one_pass.batch.responses()[:, None]).double().sum())
