"""How like in-context learning a model processes queries: asim, layer by layer (section 2, Figure 2)."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ia2.adapters.adapter import Adapter, attached, bank_of
from ia2.evaluation.metrics import bootstrap_interval, cosine_similarity
from ia2.models.layout import lay_out, passes, shared_tokens
from ia2.models.load import LanguageModel
from ia2.models.prefix import NO_PREFILL, prefill
from ia2.models.reader import forward
from ia2.models.sites import record_attention
from ia2.prompting.prompts import PromptTokenizer
from ia2.tasks.task import Example, Shown, Task

ROWS = 100
"""How many evaluation rows similarity is measured on (appendix B)."""


@dataclass(frozen=True)
class Similarity:
    """asim of two ways to process the same queries."""

    by_layer: Float[Tensor, " layers"]
    """The mean over rows, in [-1, 1]; a row counts the mean of its own response tokens."""
    by_row: Float[Tensor, " rows"]
    """The mean over layers."""
    by_layer_and_token: Float[Tensor, "layers tokens"]
    """The mean over those rows whose response has so many tokens."""

    def metrics(self) -> dict[str, Any]:
        """The mean over rows and layers with its 95 % interval over rows, and the means of layers.

        Where responses have several tokens, the means of their tokens as well, over layers and over the rows that have
        so many.
        """
        rows = self.by_row.double().numpy()
        found = {
            "asim": float(rows.mean()),
            "asim_interval": bootstrap_interval(lambda values: float(values.mean()), rows),
            "asim_by_layer": self.by_layer.tolist(),
        }
        if self.by_layer_and_token.shape[1] > 1:
            found["asim_by_token"] = [round(value, 4) for value in self.by_layer_and_token.mean(0).tolist()]
        return found


@torch.no_grad()
def response_attention(
    model: LanguageModel,
    examples: Sequence[Example],
    task: Task,
    *,
    demonstrations: Sequence[Shown] = (),
    adapter: Adapter | None = None,
    batch_size: int | None = None,
) -> list[Float[Tensor, "layers _ hidden"]]:
    """The attention outputs at the positions that predict each row's response, one tensor a row.

    Args:
        model: the model.
        examples: the rows; the positions are those of their own responses.
        task: theirs; a response of free text has its end token.
        demonstrations: shown before every query.
        adapter: runs on the model meanwhile.
        batch_size: rows a forward pass; by default as `passes` says.
    """
    tokenizer = PromptTokenizer.of(model, task)
    sequences = [tokenizer.sequence(row.query, row.response, demonstrations) for row in examples]
    outputs: list[Tensor] = [torch.empty(0)] * len(sequences)
    network = model.network
    bank = bank_of(network, [adapter]) if adapter is not None else None
    with attached(network, adapter if bank is None else None):
        shared = prefill(network, shared_tokens(sequences)) if bank is None else NO_PREFILL
        for indices in passes(sequences, batch_size, network.device, skip=len(shared.tokens)):
            batch = lay_out([sequences[i] for i in indices], skip=len(shared.tokens), device=network.device)
            rows = batch.input_ids.shape[0]
            own = torch.zeros(rows, dtype=torch.long, device=network.device)
            with (
                bank.reading(batch, own) if bank is not None else nullcontext((batch, shared.cache(rows))) as (
                    read,
                    cache,
                ),
                record_attention(network, batch.at, detach=True) as attention,
            ):
                forward(network, read, cache)
            stacked = attention.stacked()
            for place, index in enumerate(indices):
                outputs[index] = stacked[:, batch.example == place].cpu()
    return outputs


def asim(
    ours: Sequence[Float[Tensor, "layers _ hidden"]], theirs: Sequence[Float[Tensor, "layers _ hidden"]]
) -> Similarity:
    """The token-wise cosine similarity of two activations of the same rows (section 2), averaged over tokens.

    Args:
        ours: attention outputs of each row, one way.
        theirs: those of the same rows, the other way: usually the base model's with demonstrations in context.
    """
    cosines = [cosine_similarity(a, b) for a, b in zip(ours, theirs, strict=True)]
    by_row_and_layer = torch.stack([own.mean(-1) for own in cosines])
    longest = max(own.shape[1] for own in cosines)
    padded = [torch.nn.functional.pad(own, (0, longest - own.shape[1]), value=torch.nan) for own in cosines]
    return Similarity(by_row_and_layer.mean(0), by_row_and_layer.mean(1), torch.stack(padded).nanmean(0))
