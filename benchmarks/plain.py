"""The plain way: the paper's description with transformers and PEFT, one thing after another, and nothing clever.

Whole prompts for each query, a full forward pass for each generated token, one example at a time with accumulated
gradients, one adapter at a time, the language-model head over all positions. No work is done beyond that description.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel, set_peft_model_state_dict
from torch import Tensor

from ia2.adapters.adapter import Adapter
from ia2.adapters.injection import peft_model
from ia2.models.sequences import TokenSequence
from ia2.models.sites import ATTENTION_OUTPUT
from ia2.training.early_stopping import EarlyStopping, Training
from ia2.training.student import StudentRows

BATCH = 20


@torch.no_grad()
def last_logits(network: Any, prompts: Sequence[tuple[int, ...]], *, by_length: bool) -> Tensor:
    """The next-token logits after each whole prompt, in batches of 20, padded on the left."""
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index])) if by_length else range(len(prompts))
    found: dict[int, Tensor] = {}
    for start in range(0, len(prompts), BATCH):
        indices = list(order)[start : start + BATCH]
        width = max(len(prompts[index]) for index in indices)
        ids = torch.zeros(len(indices), width, dtype=torch.long)
        mask = torch.zeros(len(indices), width, dtype=torch.long)
        for row, index in enumerate(indices):
            ids[row, width - len(prompts[index]) :] = torch.tensor(prompts[index])
            mask[row, width - len(prompts[index]) :] = 1
        logits = network(input_ids=ids, attention_mask=mask, use_cache=False).logits
        for row, index in enumerate(indices):
            found[index] = logits[row, -1].clone()
    return torch.stack([found[index] for index in range(len(prompts))])


class Recorder:
    """Keeps every attention block's output of a forward pass."""

    def __init__(self, network: Any) -> None:
        self.outputs: list[Tensor] = []
        blocks = [module for name, module in network.named_modules() if name.endswith(".self_attn")]
        self.handles = [
            block.register_forward_hook(lambda _m, _a, output: self.outputs.append(output[0])) for block in blocks
        ]

    def take(self) -> Tensor:
        """The outputs of the last pass: (layers, rows, positions, hidden)."""
        outputs, self.outputs = torch.stack(self.outputs), []
        return outputs

    def remove(self) -> None:
        """Take the hooks away."""
        for handle in self.handles:
            handle.remove()


@torch.no_grad()
def teacher(network: Any, prompts: Sequence[tuple[int, ...]], count: int) -> list[tuple[list[int], Tensor]]:
    """For each prompt `count` tokens, each by a full forward pass, and the attention outputs that predicted them."""
    recorder = Recorder(network)
    found = []
    for prompt in prompts:
        tokens, kept = list(prompt), []
        for _ in range(count):
            logits = network(input_ids=torch.tensor([tokens]), use_cache=False).logits
            kept.append(recorder.take()[:, 0, -1])
            tokens.append(int(logits[0, -1].argmax()))
        found.append((tokens[len(prompt) :], torch.stack(kept, dim=1)))
    recorder.remove()
    return found


@torch.no_grad()
def greedy(network: Any, prompt: tuple[int, ...], count: int) -> list[int]:
    """A plain cached generation of exactly `count` tokens by transformers, for comparison with the teacher's pass."""
    made = network.generate(
        input_ids=torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        max_new_tokens=count,
        min_new_tokens=count,
        do_sample=False,
        pad_token_id=0,
    )
    return made[0, len(prompt) :].tolist()


@dataclass
class Student:
    """One adapter in PEFT's hands, and its rows."""

    network: Any
    rows: StudentRows
    dev: StudentRows
    aligned: bool

    def loss(self, rows: StudentRows, index: int, recorder: Recorder | None) -> Tensor:
        """One example's loss, with the head run over all positions."""
        sequence: TokenSequence = rows.sequences[index]
        ids = torch.tensor([sequence.prompt + sequence.response])
        start = len(sequence.prompt) - 1
        logits = self.network(input_ids=ids, use_cache=False).logits[0]
        if recorder is None:
            return torch.nn.functional.cross_entropy(logits[start:-1], ids[0, start + 1 :])
        assert rows.targets is not None
        ours = recorder.take()[:, 0, start:-1].transpose(0, 1)
        return (ours - rows.targets[index].activations[ATTENTION_OUTPUT]).square().mean((0, 2)).sum()

    def train(self, rate: float, seed: int, training: Training) -> None:
        """Adam over batches whose gradients are accumulated one example at a time; dev loss as the protocol says."""
        stopping = EarlyStopping(len(self.rows.sequences), seed, training)
        optimiser = torch.optim.Adam([p for p in self.network.parameters() if p.requires_grad], lr=rate)
        recorder = Recorder(self.network) if self.aligned else None
        while not stopping.finished:
            indices = stopping.next_batch()
            optimiser.zero_grad()
            total = 0.0
            for index in indices:
                loss = self.loss(self.rows, index, recorder) / len(indices)
                loss.backward()
                total += loss.item()
            optimiser.step()
            stopping.note_step()
            stopping.note_train_loss(total)
            if stopping.dev_due:
                with torch.no_grad():
                    losses = [self.loss(self.dev, i, recorder).item() for i in range(len(self.dev.sequences))]
                stopping.note_dev_loss(sum(losses) / len(losses))
        if recorder is not None:
            recorder.remove()


def as_loaded(network: Any) -> Any:
    """A copy of a network as transformers loads it, which attends by `sdpa`."""
    copied = copy.deepcopy(network)
    copied.set_attn_implementation("sdpa")
    return copied


def with_adapter(network: Any, adapter: Adapter) -> PeftModel:
    """PEFT's model with an adapter that can be trained."""
    model = peft_model(network, adapter.configuration)
    set_peft_model_state_dict(model, dict(adapter.weights))
    return model.eval()
