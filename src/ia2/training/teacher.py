"""The teacher: the model's responses and activations with demonstrations, computed once per (model, set)."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch

from ia2.cache import cache_folder, folder_written_whole
from ia2.inference.decoding import checked_prompts, continued, end_tokens
from ia2.inference.label_scoring import LabelScoringChoice, LabelTokens, label_prompts, score_labels
from ia2.models.load import LanguageModel
from ia2.models.reader import Reader
from ia2.models.sequences import TokenSequence
from ia2.models.sites import ATTENTION_OUTPUT, LOGITS, Activations, Site
from ia2.progress import SILENT, Progress
from ia2.prompting.fewshot import FewShotSet
from ia2.prompting.prompts import PromptTokenizer
from ia2.records import versions
from ia2.tasks.task import Example, Task
from ia2.training.targets import Target, TargetRows, Targets

SCHEMA = 2
TeacherStop = Literal["task", "none"]
"""Whether the teacher's text ends at the task's stop string (`task`) or ignores it (`none`: the published scripts)."""
INDEX_FILE = "index.json"


def collect_targets(
    model: LanguageModel,
    few_shot_set: FewShotSet,
    *,
    sites: Iterable[Site] = (ATTENTION_OUTPUT,),
    label_scoring: LabelScoringChoice = "auto",
    teacher_stop: TeacherStop = "task",
    on_responses: bool = False,
    batch_size: int | None = None,
    cache_dir: Path | None = None,
    progress: Progress = SILENT,
) -> Targets:
    """Collect the teacher's responses and activations for a set, or read them from the cache (PROTOCOL, Teacher).

    The prompt of a training row has the other N-1 rows as demonstrations, that of a dev row N-1 of the training rows.
    The response is the most likely token, or a greedily decoded text. Responses and activations are stored; activations
    in the model's dtype, logits in float32.

    Args:
        model: the model, which is its own teacher.
        few_shot_set: the rows.
        sites: the sites to read; next-token logits take far more space than the others.
        label_scoring: if whole labels are scored, the response is the most likely label, of any number of tokens.
        teacher_stop: what ends the teacher's texts, besides the end token and the maximum length.
        on_responses: let the teacher read the training and dev rows' own responses instead of answering.
        batch_size: prompts per forward pass; by default as many as keep the device busy, or, for texts, as fit in
            memory.
        cache_dir: where targets are stored; by default the cache folder.
        progress: where completed rows are shown.

    Raises:
        InputError: a prompt is longer than the model's context, or labels are not single tokens.

    Example:
        >>> targets = collect_targets(model, FewShotSet.draw(task, 2))
        >>> attention = targets.taught.activations(ATTENTION_OUTPUT, [0], torch.device("cpu"))
        >>> attention.shape  # response tokens, layers, width
        torch.Size([1, 3, 32])
    """
    ordered = tuple(sorted(sites, key=str))
    asked = _Asked.of(model, few_shot_set, ordered, label_scoring, teacher_stop)
    if on_responses:
        asked = asked.reading_responses(few_shot_set)
    computed_by = {"model": model.identity.as_record(), "versions": versions()}
    key = {"schema": SCHEMA, **computed_by, "sites": list(map(str, ordered)), **asked.key}
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    folder = (cache_dir or cache_folder()) / "targets" / digest
    files = _kept(folder, len(asked.prompts), progress)
    if files is None:
        with progress.phase("teacher", len(asked.prompts)) as advance:
            _write(asked.answered(batch_size), len(asked.prompts), folder, advance)
        files = [folder / _name(index) for index in range(len(asked.prompts))]
    else:
        progress.say(f"The teacher's answers are read from the cache ({folder}).")
    labelled = few_shot_set.n + len(few_shot_set.dev)
    parts = (files[: few_shot_set.n], files[few_shot_set.n : labelled], files[labelled:])
    train, dev, unlabelled = (TargetRows(part, ordered) for part in parts)
    return Targets(folder, train, dev, unlabelled)


def _name(index: int) -> str:
    return f"{index:05}.safetensors"


def _kept(folder: Path, count: int, progress: Progress) -> list[Path] | None:
    """Return the files of an earlier pass if all of them are intact; else None."""
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
            f"{folder}: cached targets are truncated or were changed after they were written; computing them again."
        )
        return None
    return files


def _write(made: Iterator[tuple[int, Target]], count: int, folder: Path, advance: Callable[[int], None]) -> None:
    """Write each target as soon as it is computed, so that only one batch of them is in memory."""
    with folder_written_whole(folder, replace=True) as partial:
        for index, target in made:
            target.save(partial / _name(index))
            advance(1)
        written = [hashlib.sha256((partial / _name(index)).read_bytes()).hexdigest() for index in range(count)]
        (partial / INDEX_FILE).write_text(json.dumps({"sha256": written}))


@dataclass(frozen=True)
class _Asked:
    """The teacher's inputs for a set."""

    model: LanguageModel
    task: Task
    tokenizer: PromptTokenizer
    sites: Sequence[Site]
    prompts: Sequence[tuple[int, ...]]
    query_tokens: Sequence[int | None]
    """Number of trailing tokens that each prompt shares with the prompt of the bare query; None if only response
    positions are read."""
    labels: LabelTokens | None
    """The candidate labels; None if responses are free text."""
    key: dict[str, Any]
    """Everything that the answers depend on, besides the model and the sites."""
    instructed: bool
    """Whether all prompts begin with the same instruction, instead of each with its own demonstrations."""
    responses: Sequence[tuple[int, ...]] | None = None
    """Responses to read after the prompts (teacher forcing); by default the model answers."""

    @classmethod
    def of(
        cls,
        model: LanguageModel,
        few_shot_set: FewShotSet,
        sites: Sequence[Site],
        label_scoring: LabelScoringChoice,
        teacher_stop: TeacherStop,
    ) -> "_Asked":
        """Tokenise and check the prompts of a set."""
        task = few_shot_set.task.for_teacher
        task = task if teacher_stop == "task" else replace(task, stop=None)
        tokenizer = PromptTokenizer.of(model, task)
        # unlabelled queries have no response; the teacher provides it
        unlabelled = tuple(Example(query, "") for query in few_shot_set.unlabelled_queries())
        rows = few_shot_set.train + few_shot_set.dev + unlabelled
        contexts = few_shot_set.training_contexts() + few_shot_set.dev_contexts() + few_shot_set.unlabelled_contexts()
        labels = None
        if task.response_kind == "text":
            prompts = checked_prompts(tokenizer, rows, contexts, task)
            key: dict[str, Any] = {
                "most_tokens": task.max_new_tokens,
                "stop": task.stop,
                "end_tokens": sorted(end_tokens(model, tokenizer, task.stop)),
                "ending": tokenizer.ending,
            }
        else:
            labels = LabelTokens.of(task, tokenizer, label_scoring)
            prompts = label_prompts(tokenizer, labels, rows, contexts)
            key = {"labels": labels.tokens if labels.scoring != "token" else None}
        shared: list[int | None] = [None] * len(rows)
        if any(site.positions != "response" for site in sites):
            shared = [
                _common_end(tokenizer.asked(row.query), prompt) for row, prompt in zip(rows, prompts, strict=True)
            ]
        key |= {"prompts": prompts, "query_tokens": shared}
        instructed = few_shot_set.context is not None
        return cls(model, task, tokenizer, sites, prompts, shared, labels, key, instructed)

    def reading_responses(self, few_shot_set: FewShotSet) -> "_Asked":
        """Return the inputs for the training and dev rows only, with their own responses to read after the prompts."""
        rows = few_shot_set.train + few_shot_set.dev
        contexts = few_shot_set.training_contexts() + few_shot_set.dev_contexts()
        responses = [
            self.tokenizer.sequence(row.query, row.response, context).response
            for row, context in zip(rows, contexts, strict=True)
        ]
        count = len(rows)
        prompts, shared = self.prompts[:count], self.query_tokens[:count]
        key = self.key | {"prompts": prompts, "query_tokens": shared, "responses": responses}
        return replace(self, prompts=prompts, query_tokens=shared, responses=responses, key=key)

    @cached_property
    def _decoder(self) -> Reader:
        """Return a reader with the instruction cached; without a cached prefix if prompts have demonstrations."""
        reader = Reader(self.model.network)
        # positions to be recorded can't be in a cached prefix
        if not self.instructed or any(site.positions != "response" for site in self.sites):
            return reader
        return reader.with_common_prefix([TokenSequence(prompt, (0,)) for prompt in self.prompts])

    @property
    def _reader(self) -> Reader:
        """Return the reader for whole sequences, which have little in common if prompts have demonstrations."""
        return self._decoder if self._decoder.prefix.tokens else Reader(self.model.network, layout="right")

    def answered(self, batch_size: int | None) -> Iterator[tuple[int, Target]]:
        """Yield each prompt's index and target, in order of completion."""
        if self.responses is not None:
            yield from self._read(dict(enumerate(self.responses)), batch_size)
        elif self.labels is None:
            yield from self._written(batch_size)
        elif self.labels.scoring != "token":
            (scores,) = score_labels(self._reader, self.prompts, self.labels, batch_size=batch_size)
            # the response has no separator or end token, which labels may be scored with
            responses_of_labels = LabelTokens.alone(self.task, self.tokenizer).tokens
            responses = dict(enumerate(responses_of_labels[index] for index in scores.label.tolist()))
            yield from self._read(responses, batch_size)
        else:
            yield from self._first_tokens(batch_size)

    @torch.no_grad()
    def _first_tokens(self, batch_size: int | None) -> Iterator[tuple[int, Target]]:
        """Yield each prompt's most likely token and its activations, from the same pass."""
        sequences = [self._sequence(index, (0,)) for index in range(len(self.prompts))]
        for read in self._reader.passes(sequences, [*self.sites, LOGITS], batch_size=batch_size):
            chosen = read.activations[LOGITS].argmax(-1)
            for number, index in enumerate(read.indices):
                yield index, self._target(index, chosen[number : number + 1], read.of_sequence(number, self.sites))

    @torch.no_grad()
    def _read(self, responses: dict[int, tuple[int, ...]], batch_size: int | None) -> Iterator[tuple[int, Target]]:
        """Yield targets for known responses (teacher forcing); `responses` has them by prompt index."""
        numbers = list(responses)
        sequences = [self._sequence(index, responses[index]) for index in numbers]
        for read in self._reader.passes(sequences, self.sites, batch_size=batch_size):
            for number, position in enumerate(read.indices):
                tokens = torch.tensor(responses[numbers[position]])
                yield numbers[position], self._target(numbers[position], tokens, read.of_sequence(number, self.sites))

    def _written(self, batch_size: int | None) -> Iterator[tuple[int, Target]]:
        """Decode a text after each prompt, and yield it cut at the stop string, with the end token appended.

        A text is read again if cutting it changes its tokenisation, or if some sites can't be recorded while decoding.
        """
        recorded = [site for site in self.sites if site.positions == "response" and site != LOGITS]
        again: dict[int, tuple[int, ...]] = {}
        for index, decoded in continued(
            self._decoder, self.model, self.prompts, self.task, batch_size=batch_size, sites=recorded
        ):
            tokens = decoded.tokens
            if decoded.ending == "stop" and self.task.stop is not None:
                text = self.tokenizer.continuation(self.prompts[index], tokens).partition(self.task.stop)[0]
                tokens = self.tokenizer.following(self.prompts[index], text) if text else ()
            response = tokens if decoded.ending == "length" else (*tokens, *self.tokenizer.ending)
            read = len(decoded.tokens) + (decoded.ending == "end")
            as_decoded = tokens == decoded.tokens[: len(tokens)] and read >= len(response)
            if as_decoded and len(recorded) == len(self.sites):
                activations = {site: values[: len(response)] for site, values in decoded.activations.items()}
                yield index, self._target(index, torch.tensor(response), activations)
            else:
                again[index] = response
        yield from self._read(again, batch_size)

    def _sequence(self, index: int, response: tuple[int, ...]) -> TokenSequence:
        return TokenSequence(self.prompts[index], response, self.query_tokens[index])

    def _target(self, index: int, tokens: torch.Tensor, activations: Activations) -> Target:
        return Target(tokens, activations, self.query_tokens[index])


def _common_end(alone: Sequence[int], in_context: Sequence[int]) -> int:
    """Return how many trailing tokens two prompts share: the query's, however the tokenizer merges its beginning."""
    same = [ours == theirs for ours, theirs in zip(reversed(alone), reversed(in_context), strict=False)]
    return next((number for number, alike in enumerate(same) if not alike), len(same))
