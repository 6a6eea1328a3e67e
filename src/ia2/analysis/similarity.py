"""Similarity to in-context learning: asim by layer (section 2, Figure 2)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ia2.adapters.adapter import Adapter
from ia2.adapters.merging import Weights, read_with
from ia2.evaluation.metrics import bootstrap_interval, cosine_similarity
from ia2.inference.decoding import checked_prompts, continued
from ia2.models.load import LanguageModel
from ia2.models.sequences import TokenSequence
from ia2.models.sites import ATTENTION_OUTPUT, Site
from ia2.prompting.prompts import PromptTokenizer
from ia2.tasks.task import ContextItem, Example, Task

ROWS = 100
"""Number of evaluation rows for similarity (appendix B)."""


@dataclass(frozen=True)
class Similarity:
    """asim between two ways of processing the same queries."""

    by_layer: Float[Tensor, " layers"]
    """Mean over rows of each row's mean over response tokens, in [-1, 1]."""
    by_row: Float[Tensor, " rows"]
    """Mean over layers."""
    by_layer_and_token: Float[Tensor, "layers tokens"]
    """Mean over the rows whose response has that token."""

    def metrics(self) -> dict[str, Any]:
        """Return the mean over rows and layers with its 95 % interval over rows, and the mean of each layer.

        If responses have several tokens, also return the mean of each token position over layers and over the rows that
        have it.
        """
        rows = self.by_row.double().numpy()
        values = {
            "asim": float(rows.mean()),
            "asim_interval": bootstrap_interval(lambda values: float(values.mean()), rows),
            "asim_by_layer": self.by_layer.tolist(),
        }
        if self.by_layer_and_token.shape[1] > 1:
            values["asim_by_token"] = [round(value, 4) for value in self.by_layer_and_token.mean(0).tolist()]
        return values


def response_activations(
    model: LanguageModel,
    examples: Sequence[Example],
    task: Task,
    *,
    demonstrations: Sequence[ContextItem] = (),
    adapter: Adapter | None = None,
    site: Site = ATTENTION_OUTPUT,
    weights: Weights = "adapters",
) -> list[Float[Tensor, "_ layers width"]]:
    """Return the activations at the positions of each row's response, one tensor per row, on the CPU.

    Args:
        model: the model.
        examples: the rows; activations are read at the positions of their responses.
        task: the task of the rows; a free-text response includes its end token.
        demonstrations: the demonstrations before every query.
        adapter: the adapter to run with the model, if any.
        site: the site to read.
        weights: whether the adapter runs beside the network's weights or is merged into them.

    Example:
        >>> first, *_ = response_activations(model, task.evaluation[:2], task)
        >>> first.shape  # response tokens, layers, width
        torch.Size([1, 3, 32])
    """
    tokenizer = PromptTokenizer.of(model, task)
    sequences = [tokenizer.sequence(row.query, row.response, demonstrations) for row in examples]
    with read_with(model, adapter, weights=weights) as reader:
        read = reader.with_common_prefix(sequences).activations(sequences, [site])
    return [activations[site].cpu() for activations in read]


def greedy_activations(
    model: LanguageModel,
    examples: Sequence[Example],
    task: Task,
    *,
    demonstrations: Sequence[ContextItem] = (),
    adapter: Adapter | None = None,
    site: Site = ATTENTION_OUTPUT,
    weights: Weights = "adapters",
) -> list[Float[Tensor, "_ layers width"]]:
    """Return the activations at the positions that predict greedily generated tokens, as the paper compares texts.

    Args:
        model: the model.
        examples: the rows; their responses are not read.
        task: the task of the rows, with the maximum length and stop string of a response. The positions cover all
            generated tokens, including the end token.
        demonstrations: the demonstrations before every query.
        adapter: the adapter to run with the model, if any.
        site: the site to read, at the positions of a response.
        weights: whether the adapter runs beside the network's weights or is merged into them.

    Returns:
        A tensor of (generated tokens, layers, width) for each row.

    Raises:
        InputError: a prompt and the longest response exceed the model's context length.
    """
    activations: dict[int, Tensor] = {}
    with read_with(model, adapter, weights=weights) as reader:
        tokenizer = PromptTokenizer.of(model.beside(reader.adapters.virtual_tokens), task)
        prompts = checked_prompts(tokenizer, examples, [demonstrations] * len(examples), task)
        reader = reader.with_common_prefix([TokenSequence(prompt, (0,)) for prompt in prompts])
        for index, decoded in continued(reader, model, prompts, task, sites=[site]):
            activations[index] = decoded.activations[site].cpu()
    return [activations[index] for index in range(len(examples))]


def asim(
    ours: Sequence[Float[Tensor, "_ layers width"]], theirs: Sequence[Float[Tensor, "_ layers width"]]
) -> Similarity:
    """Return the token-wise cosine similarity of two sets of activations of the same rows (section 2).

    Similarities are averaged over tokens. If a row has different numbers of tokens in the two, only the tokens that
    both have are compared.

    Args:
        ours: activations of each row, processed in one way: (response tokens, layers, width).
        theirs: activations of the same rows, processed in the other way, usually by the base model with demonstrations.

    Example:
        >>> one_row = torch.tensor([[[1.0, 0.0], [3.0, 4.0]]])  # one response token, two layers, a width of 2
        >>> other = torch.tensor([[[2.0, 0.0], [4.0, -3.0]]])
        >>> asim([one_row], [other]).by_layer.tolist()
        [1.0, 0.0]
    """
    # (layers, tokens)
    cosines = [
        cosine_similarity(first[: len(second)], second[: len(first)]).T
        for first, second in zip(ours, theirs, strict=True)
    ]
    by_row_and_layer = torch.stack([cosine.mean(-1) for cosine in cosines])
    longest = max(cosine.shape[1] for cosine in cosines)
    padded = [torch.nn.functional.pad(cosine, (0, longest - cosine.shape[1]), value=torch.nan) for cosine in cosines]
    return Similarity(by_row_and_layer.mean(0), by_row_and_layer.mean(1), torch.stack(padded).nanmean(0))
