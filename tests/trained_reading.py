"""A reader whose LoRA factors have gradients, with a batch and a loss for it."""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ia2.adapters.adapter import fresh_adapter
from ia2.adapters.bank import Bank
from ia2.adapters.lora import LoRA
from ia2.adapters.registry import effect_of
from ia2.models.layout import lay_out
from ia2.models.reader import Reader
from ia2.models.sequences import TokenSequence
from ia2.models.sites import ATTENTION_OUTPUT, LOGITS

BATCH = lay_out([TokenSequence(tuple(range(5, 25)), (7, 3)), TokenSequence((4, 8), (6,))])


def reader_of(network: PreTrainedModel) -> Reader:
    """Return a reader with one adapter of random factors, the same for equal networks."""
    configuration = LoRA(rank=2).configuration(network)
    fresh = fresh_adapter(network, configuration, 0)
    generator = torch.Generator().manual_seed(0)
    weights = {name: torch.randn(tensor.shape, generator=generator) * 0.2 for name, tensor in fresh.weights.items()}
    bank = Bank(network, [weights], effect_of(configuration))
    bank.values.requires_grad_(True)
    return Reader(network, bank)


def loss_of(reader: Reader) -> Tensor:
    """Return the mean square of attention outputs and logits of the batch."""
    read = reader.read(BATCH, {site: BATCH.at() for site in (ATTENTION_OUTPUT, LOGITS)})
    return sum((values.square().mean() for values in read.values()), torch.zeros(()))
