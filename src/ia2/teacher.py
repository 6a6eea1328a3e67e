"""The teacher: what the model itself does with demonstrations in context, once per (model, set), kept on disk."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor

from ia2.cache import cache_folder, folder_written_whole
from ia2.fewshot import FewShotSet, PromptTokenizer
from ia2.labels import LabelScoring, LabelTokens, score_labels
from ia2.models.attention import record_attention
from ia2.models.batch import TokenSequence, by_length, lay_out, response_logits
from ia2.models.load import LanguageModel
from ia2.progress import SILENT, Progress

SCHEMA = 1
INDEX_FILE = "index.json"


@dataclass(frozen=True)
class Target:
    """What the teacher did for one example."""

    tokens: Int[Tensor, " n"]
    """Its response."""
    attention: Float[Tensor, "layers n hidden"]
    """Its attention outputs at the positions that predict each of those tokens."""


class TargetFiles(Sequence[Target]):
    """The targets of one part of a set, read from disk one at a time."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = tuple(files)

    def __len__(self) -> int:
        """How many examples there are."""
        return len(self.files)

    @overload
    def __getitem__(self, index: int) -> Target: ...
    @overload
    def __getitem__(self, index: slice) -> "TargetFiles": ...
    def __getitem__(self, index: int | slice) -> "Target | TargetFiles":
        """The target of one example; a slice is another lazy sequence."""
        if isinstance(index, slice):
            return TargetFiles(self.files[index])
        tensors = load_file(self.files[index])
        return Target(tensors["tokens"], tensors["attention"])


@dataclass(frozen=True)
class Targets:
    """What the teacher did for every training and dev row of a set."""

    folder: Path
    train: TargetFiles
    dev: TargetFiles


def collect_targets(
    model: LanguageModel,
    few_shot_set: FewShotSet,
    *,
    label_scoring: LabelScoring = "token",
    batch_size: int = 4,
    cache_dir: Path | None = None,
    progress: Progress = SILENT,
) -> Targets:
    """Ask the teacher once for a set, or read what it said before (section 4; PROTOCOL, Teacher).

    Each training row's prompt holds the other N-1 rows, each dev row's N-1 of the training rows; the response is the
    likeliest token. What is kept are the response and the attention outputs, in the model's own dtype.

    Args:
        model: the model, which is its own teacher.
        few_shot_set: the rows.
        label_scoring: with "whole" the response is the likeliest label, of any number of tokens.
        batch_size: prompts a forward pass.
        cache_dir: where targets are kept; by default the project's cache folder.
        progress: told which rows are done.

    Raises:
        InputError: a prompt is longer than the model's context, or labels are not single tokens.
    """
    tokenizer = PromptTokenizer(model.tokenizer, model.context_length)
    labels = LabelTokens.of(few_shot_set.task, tokenizer, label_scoring)
    rows = few_shot_set.train + few_shot_set.dev
    contexts = few_shot_set.training_contexts() + few_shot_set.dev_contexts()
    prompts = [
        tokenizer.sequence(row.query, few_shot_set.task.labels[0], context).prompt
        for row, context in zip(rows, contexts, strict=True)
    ]
    key = {
        "schema": SCHEMA,
        "model": model.identity.as_record(),
        "prompts": prompts,
        "labels": labels.tokens if label_scoring == "whole" else None,
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    folder = (cache_dir or cache_folder()) / "targets" / digest
    files = _kept(folder, len(rows), progress)
    if files is None:
        _ask(model, prompts, labels, folder, batch_size, progress)
        files = [folder / _name(index) for index in range(len(rows))]
    return Targets(folder, TargetFiles(files[: few_shot_set.n]), TargetFiles(files[few_shot_set.n :]))


def _name(index: int) -> str:
    return f"{index:05}.safetensors"


def _kept(folder: Path, count: int, progress: Progress) -> list[Path] | None:
    """The files of an earlier pass, if all of them are as they were written."""
    if not folder.exists():
        return None
    files = [folder / _name(index) for index in range(count)]
    try:
        written = json.loads((folder / INDEX_FILE).read_text())["sha256"]
        whole = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files] == written
    except (OSError, ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        progress.say(
            f"{folder}: cached targets were cut short or changed since they were written; computing them anew."
        )
        return None
    return files


@torch.no_grad()
def _ask(
    model: LanguageModel,
    prompts: Sequence[tuple[int, ...]],
    labels: LabelTokens,
    folder: Path,
    batch_size: int,
    progress: Progress,
) -> None:
    responses: Sequence[tuple[int, ...]] | None = None
    if labels.scoring == "whole":
        best = score_labels(model.network, prompts, labels, batch_size=batch_size, layout="right").label
        responses = [labels.tokens[index] for index in best.tolist()]
    # a response that isn't known yet has one token, and is read off the same pass that records the attention
    sequences = [TokenSequence(prompt, responses[index] if responses else (0,)) for index, prompt in enumerate(prompts)]
    with progress.phase("teacher", len(prompts)) as advance, folder_written_whole(folder, replace=True) as partial:
        for indices in by_length(sequences, batch_size):
            batch = lay_out([sequences[index] for index in indices], layout="right", device=model.network.device)
            with record_attention(model.network, batch.at, detach=True) as attention:
                logits = response_logits(model.network, batch)
            tokens = batch.response if responses else logits.argmax(-1)
            outputs = attention.stacked()
            for place, index in enumerate(indices):
                own = batch.example == place
                target = {"tokens": tokens[own].cpu(), "attention": outputs[:, own].cpu().contiguous()}
                save_file(target, partial / _name(index))
            advance(len(indices))
        written = [hashlib.sha256((partial / _name(index)).read_bytes()).hexdigest() for index in range(len(prompts))]
        (partial / INDEX_FILE).write_text(json.dumps({"sha256": written}))
