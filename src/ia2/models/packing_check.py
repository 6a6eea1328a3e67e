"""Whether a network reads texts packed behind a shared prefix as it reads each alone: tried once, when it is loaded.

Everything here relies on that, and not every architecture does so: ALiBi takes distances from where keys stand in a
row, encoders look ahead, and layers with a state of their own can't share a row at all.
"""

import random

import torch
from transformers import PreTrainedModel

from ia2.errors import InputError
from ia2.models.layout import lay_out
from ia2.models.prefix import prefill
from ia2.models.reader import Reader
from ia2.models.sequences import TokenSequence
from ia2.models.sites import LOGITS

PREFIX, TEXTS = 6, (5, 9)
"""Tokens of what is tried."""
TOLERANCE = {torch.float32: 0.01, torch.bfloat16: 0.2, torch.float16: 0.2}
"""How far logits may be apart by rounding, as a share of how far they are from their mean."""


@torch.no_grad()
def check_agreement(network: PreTrainedModel, name: str) -> None:
    """Refuse a network whose logits depend on what else stands in its row.

    Args:
        network: a causal language model.
        name: what an error calls it.

    Raises:
        InputError: it gives other logits than for each text alone, or can't run like this.
    """
    numbers = random.Random(0)
    prefix, *texts = (
        tuple(numbers.choices(range(network.get_input_embeddings().weight.shape[0]), k=count))
        for count in (PREFIX, *TEXTS)
    )
    alone = torch.stack(
        [network(input_ids=torch.tensor([prefix + text], device=network.device)).logits[0, -1] for text in texts]
    ).float()
    kind = network.config.model_type
    try:
        batch = lay_out(
            [TokenSequence(prefix + text, (0,)) for text in texts], rows=[[0, 1]], skip=PREFIX, device=network.device
        )
        together = Reader(network, prefix=prefill(network, prefix)).read(batch, {LOGITS: batch.at()})[LOGITS]
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # each architecture has its own way of not taking masks, positions or a cache
        raise InputError(
            f"{name}: models of the kind {kind} can't be run here ({str(error).splitlines()[0]}). Use a causal decoder "
            "with rotary or learned positions, such as Llama, Qwen or Gemma."
        ) from error
    apart = (together - alone).norm(dim=-1) / (alone - alone.mean(-1, keepdim=True)).norm(dim=-1)
    if not bool((apart < TOLERANCE[network.dtype]).all()):
        raise InputError(
            f"{name}: models of the kind {kind} read texts that share a row otherwise than each alone (ALiBi and "
            "encoders do). Use a causal decoder with rotary or learned positions, such as Llama, Qwen or Gemma."
        )
