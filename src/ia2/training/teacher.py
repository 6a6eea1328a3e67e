"""The teacher: what the model itself does with demonstrations in context, once per (model, set), kept on disk."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, overload

import torch
from jaxtyping import Float, Int
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ia2.cache import cache_folder, folder_written_whole
from ia2.inference.decoding import checked_prompts, continued, end_tokens
from ia2.inference.label_scoring import LabelScoring, LabelTokens, score_labels
from ia2.models.layout import TokenSequence, by_length, lay_out
from ia2.models.load import LanguageModel
from ia2.models.reader import forward, response_logits
from ia2.models.sites import record_attention
from ia2.progress import SILENT, Progress
from ia2.prompting.fewshot import FewShotSet
from ia2.prompting.prompts import PromptTokenizer
from ia2.tasks.task import Example, Task

SCHEMA = 1
TeacherStop = Literal["task", "none"]
"""Whether the teacher's text ends at the task's stop string, or is never stopped by one (the published scripts)."""
INDEX_FILE = "index.json"


@dataclass(frozen=True)
class Target:
    """What the teacher did for one example."""

    tokens: Int[Tensor, " n"]
    """Its response."""
    attention: Float[Tensor, "layers n hidden"]
    """Its attention outputs at the positions that predict each of those tokens."""
    logits: Float[Tensor, "n vocabulary"] | None = None
    """Its next-token logits there; None if they were not asked for."""


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
        return Target(tensors["tokens"], tensors["attention"], tensors.get("logits"))

    def responses(self) -> Iterator[tuple[int, ...]]:
        """The teacher's responses alone; the attention outputs, which are far larger, stay on disk."""
        for file in self.files:
            with safe_open(file, framework="pt") as tensors:
                yield tuple(tensors.get_tensor("tokens").tolist())

    def attention_outputs(self, layer: int) -> Float[Tensor, "n hidden"]:
        """Those of one layer for all examples end to end; the other layers stay on disk."""
        found = []
        for file in self.files:
            with safe_open(file, framework="pt") as tensors:
                found.append(tensors.get_slice("attention")[layer])
        return torch.cat(found)


@dataclass(frozen=True)
class Targets:
    """What the teacher did for every row of a set."""

    folder: Path
    train: TargetFiles
    dev: TargetFiles
    unlabelled: TargetFiles
    """For the set's unlabelled queries, each in every order of the demonstrations."""


def collect_targets(
    model: LanguageModel,
    few_shot_set: FewShotSet,
    *,
    label_scoring: LabelScoring = "token",
    teacher_stop: TeacherStop = "task",
    distributions: bool = False,
    batch_size: int = 4,
    cache_dir: Path | None = None,
    progress: Progress = SILENT,
) -> Targets:
    """Ask the teacher once for a set, or read what it said before (section 4; PROTOCOL, Teacher).

    Each training row's prompt holds the other N-1 rows, each dev row's N-1 of the training rows; the response is the
    likeliest token, or what is decoded greedily. What is kept are the response and the attention outputs, in the
    model's own dtype.

    Args:
        model: the model, which is its own teacher.
        few_shot_set: the rows.
        label_scoring: with "whole" the response is the likeliest label, of any number of tokens.
        teacher_stop: what ends a text of the teacher's, besides its end token and the most tokens.
        distributions: keep the next-token logits as well, which take far more room (soft labels).
        batch_size: prompts a forward pass.
        cache_dir: where targets are kept; by default the project's cache folder.
        progress: told which rows are done.

    Raises:
        InputError: a prompt is longer than the model's context, or labels are not single tokens.
    """
    task = few_shot_set.task
    if teacher_stop == "none":
        task = replace(task, stop=None)
    tokenizer = PromptTokenizer.of(model, task)
    # what an unlabelled query is answered with is for the teacher to say
    unlabelled = tuple(Example(query, "") for query in few_shot_set.unlabelled_queries())
    rows = few_shot_set.train + few_shot_set.dev + unlabelled
    contexts = few_shot_set.training_contexts() + few_shot_set.dev_contexts() + few_shot_set.unlabelled_contexts()
    labels = None
    if task.response_kind == "text":
        prompts = checked_prompts(tokenizer, rows, contexts, task)
        asked: dict[str, Any] = {
            "most_tokens": task.max_new_tokens,
            "stop": task.stop,
            "end_tokens": sorted(end_tokens(model, tokenizer, task.stop)),
            "ending": tokenizer.ending,
        }
    else:
        labels = LabelTokens.of(task, tokenizer, label_scoring)
        prompts = [
            tokenizer.sequence(row.query, task.labels[0], context).prompt
            for row, context in zip(rows, contexts, strict=True)
        ]
        asked = {"labels": labels.tokens if label_scoring == "whole" else None}
    if distributions:
        asked["distributions"] = True
    key = {"schema": SCHEMA, "model": model.identity.as_record(), "prompts": prompts, **asked}
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    folder = (cache_dir or cache_folder()) / "targets" / digest
    files = _kept(folder, len(rows), progress)
    if files is None:
        with progress.phase("teacher", len(prompts)) as advance:
            made = (
                _labelled(model, prompts, labels, batch_size, distributions)
                if labels is not None
                else _written(model, prompts, task, tokenizer, batch_size, distributions)
            )
            _write(made, len(prompts), folder, advance)
        files = [folder / _name(index) for index in range(len(rows))]
    labelled = few_shot_set.n + len(few_shot_set.dev)
    return Targets(
        folder,
        TargetFiles(files[: few_shot_set.n]),
        TargetFiles(files[few_shot_set.n : labelled]),
        TargetFiles(files[labelled:]),
    )


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


def _write(made: Iterator[tuple[int, Target]], count: int, folder: Path, advance: Callable[[int], None]) -> None:
    """Write each target as soon as it is made, so that memory holds one batch of them."""
    with folder_written_whole(folder, replace=True) as partial:
        for index, target in made:
            tensors = {"tokens": target.tokens.cpu(), "attention": target.attention.cpu().contiguous()}
            if target.logits is not None:
                tensors["logits"] = target.logits.cpu().contiguous()
            save_file(tensors, partial / _name(index))
            advance(1)
        written = [hashlib.sha256((partial / _name(index)).read_bytes()).hexdigest() for index in range(count)]
        (partial / INDEX_FILE).write_text(json.dumps({"sha256": written}))


def _labelled(
    model: LanguageModel,
    prompts: Sequence[tuple[int, ...]],
    labels: LabelTokens,
    batch_size: int,
    distributions: bool,
) -> Iterator[tuple[int, Target]]:
    """The likeliest token, or the likeliest whole label, of each prompt."""
    if labels.scoring == "whole":
        (scores,) = score_labels(model.network, prompts, labels, batch_size=batch_size, layout="right")
        best = scores.label
        sequences = [
            TokenSequence(prompt, labels.tokens[index]) for prompt, index in zip(prompts, best.tolist(), strict=True)
        ]
        yield from _read(model, sequences, batch_size, distributions)
        return
    # a response that isn't known yet is read off the same pass that records the attention
    sequences = [TokenSequence(prompt, (0,)) for prompt in prompts]
    for indices in by_length(sequences, batch_size):
        batch = lay_out([sequences[index] for index in indices], layout="right", device=model.network.device)
        with torch.no_grad(), record_attention(model.network, batch.at, detach=True) as attention:
            logits = response_logits(model.network, batch)
        outputs, tokens = attention.stacked(), logits.argmax(-1)
        for place, index in enumerate(indices):
            own = slice(place, place + 1)
            yield index, Target(tokens[own], outputs[:, own], logits[own] if distributions else None)


def _written(
    model: LanguageModel,
    prompts: Sequence[tuple[int, ...]],
    task: Task,
    tokenizer: PromptTokenizer,
    batch_size: int,
    distributions: bool,
) -> Iterator[tuple[int, Target]]:
    """What the teacher writes after each prompt, up to the stop string, the end token behind it.

    Where cutting the text makes other tokens of it than were decoded, and where distributions are asked for, it is read
    once more.
    """
    again: dict[int, TokenSequence] = {}
    for index, decoded in continued(model, prompts, task, batch_size=batch_size, record=True):
        kept = decoded.tokens
        if decoded.ending == "stop" and task.stop is not None:
            text = tokenizer.continuation(prompts[index], kept).partition(task.stop)[0]
            kept = tokenizer.response(tokenizer.text(prompts[index]), text) if text else ()
        response = kept if decoded.ending == "length" else (*kept, *tokenizer.ending)
        assert decoded.attention is not None, "it was asked for"
        as_decoded = kept == decoded.tokens[: len(kept)] and decoded.attention.shape[1] >= len(response)
        if as_decoded and not distributions:
            yield index, Target(torch.tensor(response), decoded.attention[:, : len(response)])
        else:
            again[index] = TokenSequence(prompts[index], response)
    for place, target in _read(model, list(again.values()), batch_size, distributions):
        yield list(again)[place], target


def _read(
    model: LanguageModel, sequences: Sequence[TokenSequence], batch_size: int, distributions: bool
) -> Iterator[tuple[int, Target]]:
    """The attention outputs with which the model reads responses that are known, batch by batch."""
    for indices in by_length(sequences, batch_size):
        batch = lay_out([sequences[index] for index in indices], layout="right", device=model.network.device)
        with torch.no_grad(), record_attention(model.network, batch.at, detach=True) as attention:
            logits = response_logits(model.network, batch) if distributions else None
            if logits is None:
                forward(model.network, batch)
        outputs = attention.stacked()
        for place, index in enumerate(indices):
            own = batch.example == place
            yield index, Target(batch.response[own], outputs[:, own], logits[own] if logits is not None else None)
