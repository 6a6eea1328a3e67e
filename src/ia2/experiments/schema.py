"""The schema of a study: every setting that decides what is computed, validated."""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from ia2.adapters.merging import Weights
from ia2.errors import FieldError
from ia2.evaluation.evaluate import Correct
from ia2.evaluation.metrics import Binning
from ia2.experiments.baseline_names import BASELINES
from ia2.experiments.contradictions import check_consistent
from ia2.experiments.questions import Claim, Equivalence, Pair
from ia2.experiments.rows import load_rows
from ia2.experiments.schema_parts import (
    TASKS,
    Adapters,
    AdapterSettings,
    Betas,
    Count,
    Draw,
    File,
    Measure,
    MethodSettings,
    Models,
    Rates,
    Rows,
    Seeds,
    Select,
    Source,
    Strict,
    TrainingRows,
    best_of,
    draws_of,
    method_described,
)
from ia2.inference.label_scoring import Confidence, LabelScoringChoice
from ia2.prompting.drawing import DrawingChoice, checked_seed
from ia2.tasks.benchmark import DEFAULTS, BenchmarkOptions
from ia2.tasks.benchmarks import BENCHMARKS
from ia2.tasks.task import Task
from ia2.training.early_stopping import Training
from ia2.training.methods import METHODS, LabelSource, Method
from ia2.training.objectives import MatchTokens
from ia2.training.teacher import TeacherStop

NAMED_BY_PLAN = re.compile(r"_(icl-response|(lr|beta)[0-9.e+-]+)$")
"""Suffixes of adapter file names; a method with such a name could be mistaken for another."""


def _checked_memory(value: float) -> float:
    if not value > 0:
        raise FieldError("memory", value, "this must be a positive number of GiB.")
    return value


def _checked_order(order: str) -> str:
    best_of(order)
    return order


class Experiment(Strict):
    """A study: every model, task, N and set with every method, adapter, learning rate and β."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    """What reports call it."""
    description: str = ""
    """What it is for."""
    models: Models
    """Built-in models, Hugging Face ids, folders or GGUF files."""
    tasks: Annotated[tuple[Source, ...], Field(min_length=1)]
    n: TrainingRows
    """Training rows."""
    sets: Count = 5
    """How many sets of each N, whose one seed decides rows, starting values and orders; they count from the first
    one's."""
    seeds: Seeds | None = None
    """Instead of sets, how many there are of rows, starting values and orders, each with a seed of its own."""
    first_seed: Annotated[int, AfterValidator(partial(checked_seed, "first_seed"))] = 0
    """The seed of the first set."""
    draw: DrawingChoice = "auto"
    """Whether training and dev rows are drawn by class or by chance (random); auto is by class for a file's labels."""
    nested: bool = True
    """Whether a set lies in those of the same seed that have more rows, so that trends over N are paired; else each N
    has rows of its own."""
    dev_rows: Count | None = None
    """The most dev rows of a set; by default half as many as it has training rows."""
    methods: Annotated[tuple[str | MethodSettings | dict[str, Any], ...], Field(min_length=1)]
    """Names, `zero-shot` and `icl` among them, descriptions as in a method's own file, or either with a label source
    of its own."""
    adapters: Adapters = (AdapterSettings(kind="lora"),)
    learning_rates: Rates = ()
    """By default each adapter's own three."""
    betas: Betas = ()
    """Weights of the token loss in ia2+sft; by default four that suit the model's family."""
    align: Literal["mixers", "attention"] = "mixers"
    """Whether all layers that mix tokens are aligned, or in hybrids those that attend alone."""
    label_sources: Annotated[tuple[LabelSource, ...], Field(min_length=1)] = ("ground-truth",)
    """What fine-tuning fits."""
    rows: Count | None = None
    """The most evaluation rows of each task."""
    asim_rows: Annotated[int, Field(ge=0)] = 100
    """Of how many of them similarity to in-context learning is measured."""
    asim_tokens: Literal["response", "greedy"] = "response"
    """At which tokens of a text: those of the row's own response, or those that each way writes itself, cut to the
    shorter of the two (the paper)."""
    training: Training = Training()
    memory: Annotated[float, AfterValidator(_checked_memory)] | None = None
    """GiB that training may take beyond the model; by default a share of all that the machine has."""
    chat: bool = False
    """Ask through the model's chat template."""
    context: File | None = None
    """A text file that stands before every query instead of demonstrations, such as a system prompt."""
    order: Annotated[str, AfterValidator(_checked_order)] = "random"
    """Order of the demonstrations: random, or best-of-8 for the best of 8 (or any number) by dev loss."""
    device: str | None = None
    """cpu, cuda, cuda:1, … or mps, instead of what is found: a GPU of CUDA, else the CPU; auto for all of them."""
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    load: Literal["4bit", "8bit"] | None = None
    """Quantise the models' weights, adapters staying as they are."""
    attention: Literal["eager", "sdpa", "flash_attention_2", "flash_attention_3"] | None = None
    """How attention is computed; by default as transformers chooses for each model."""
    teacher_dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """In which the teacher answers, its weights not quantised; by default it is the model as it is loaded."""
    label_scoring: LabelScoringChoice = "auto"
    ece: Binning = "equal-width"
    confidence: Confidence = "vocabulary"
    correct: Correct = "exact"
    demonstrations: Literal["shared", "resampled", "reshuffled"] = "shared"
    """Whether all queries of a set meet its training rows in one order (shared), each in an order of its own
    (reshuffled), or each N-1 rows drawn afresh (resampled, the published scripts)."""
    most_demonstrations: Count | None = None
    """The most demonstrations in a prompt; by default all: N-1 in the teacher's, N in those of ICL."""
    teacher_stop: TeacherStop = "task"
    benchmark_options: BenchmarkOptions = DEFAULTS
    """How rows of the tasks that have these options become queries."""
    select: Select = "accuracy"
    """How reports choose the learning rate and β: by mean accuracy on the source task, on the evaluated task itself (as
    the paper and its scripts), or by dev loss."""
    forgetting: tuple[str, ...] = ()
    """Tasks that adapters have nothing to do with, measured with each adapter and without it."""
    held_text: File | None = None
    """A text whose mean log-likelihood is measured so too; by default the queries of the tasks under forgetting."""
    evaluate: Weights = "adapters"
    """Whether adapters run beside the model's weights, or merged into them, rounded to their dtype (as the published
    scripts do in bfloat16) or to bfloat16 (merged-bfloat16), whatever the dtype."""
    compare: tuple[Pair | Equivalence, ...] = ()
    """Pairs of methods whose difference reports test, the first less the second, and with bounds whether they are
    equal; by default ia2-sft less sft."""
    claims: tuple[Claim, ...] = ()
    """What the study is to find out; reports have a table for each."""
    measure: Measure = "all"
    """Whether every adapter is measured and kept, or of each method the one with the lowest dev loss alone."""

    @field_validator("forgetting")
    @classmethod
    def _tasks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in TASKS:
                raise ValueError(f"there is no task {name}; choose from {', '.join(TASKS)}")
        if len(set(value)) < len(value):
            raise ValueError("a task is named twice")
        return value

    @field_validator("methods", mode="before")
    @classmethod
    def _method_settings(cls, value: Any) -> Any:
        """Parse methods with a label source of their own; descriptions, which have the key `name`, stay as they are."""
        if not isinstance(value, list | tuple):
            return value
        return [
            MethodSettings(**method) if isinstance(method, dict) and "method" in method else method for method in value
        ]

    @field_validator("methods")
    @classmethod
    def _known(
        cls, value: tuple[str | MethodSettings | dict[str, Any], ...]
    ) -> tuple[str | MethodSettings | dict[str, Any], ...]:
        for entry in value:
            described = entry.method if isinstance(entry, MethodSettings) else entry
            if described in BASELINES and entry is described:
                continue
            if isinstance(described, str) and described not in METHODS:
                raise ValueError(f"there is no method {described}; choose from {', '.join((*BASELINES, *METHODS))}")
            name = method_described(described).name
            if isinstance(described, dict) and NAMED_BY_PLAN.search(name):
                raise ValueError(f"{name}: this ending is kept for label sources, rates and β; name it otherwise")
        return value

    @model_validator(mode="before")
    @classmethod
    def _sets_of_rows(cls, value: Any) -> Any:
        """Set `sets` to `seeds.rows`, if there are separate seeds."""
        seeds = value.get("seeds") if isinstance(value, dict) else None
        rows = seeds.get("rows") if isinstance(seeds, dict) else getattr(seeds, "rows", None)
        if not isinstance(rows, int) or rows < 1:  # an invalid value is reported by the field seeds
            return value
        if value.get("sets", rows) != rows:
            raise FieldError("sets", value["sets"], f"seeds already sets {rows} sets of rows. Use one of the two.")
        return {**value, "sets": rows}

    @model_validator(mode="after")
    def _possible(self) -> "Experiment":
        check_consistent(self)
        return self

    @property
    def draws(self) -> tuple[Draw, ...]:
        """Seeds of the units of each model, task and N."""
        return draws_of(range(self.first_seed, self.first_seed + self.sets), self.seeds)

    def models_of(self, source: Source) -> tuple[str, ...]:
        """Return the models trained on a source."""
        return self.models if source.models is None else source.models

    def n_of(self, source: Source) -> tuple[int, ...]:
        """Return the values of N used with a source."""
        return self.n if source.n is None else source.n

    def task(self, name: str, data_dir: Path | None) -> Task:
        """Load a task of the study, with the benchmark options that apply to it.

        Args:
            name: name of the task.
            data_dir: a folder of benchmark files instead of the hub.

        Raises:
            InputError: the task can't be loaded.
        """
        rows = self.rows_of(name)
        benchmark = BENCHMARKS.get(name) if rows.data is None else None
        options = benchmark.relevant(self.benchmark_options) if benchmark is not None else DEFAULTS
        return load_rows(rows, name, data_dir, options)

    def rows_of(self, name: str) -> Rows:
        """Return the row settings of a task."""
        return next((source.rows for source in self.tasks if source.train == name), Rows())

    def adapters_of(self, source: Source) -> tuple[AdapterSettings, ...]:
        """Return the adapters trained on a source."""
        return self.adapters if source.adapters is None else source.adapters

    @property
    def all_models(self) -> tuple[str, ...]:
        """Every model in use, those of the study itself first."""
        used = dict.fromkeys(model for source in self.tasks for model in self.models_of(source))
        return tuple(model for model in dict.fromkeys((*self.models, *used)) if model in used)

    @property
    def baselines(self) -> tuple[str, ...]:
        """Methods that train no adapter."""
        return tuple(method for method in self.methods if isinstance(method, str) and method in BASELINES)

    @property
    def trained_methods(self) -> tuple[Method, ...]:
        """Methods that train adapters."""
        return tuple(method for _, method in self._trained())

    @property
    def fitted_methods(self) -> tuple[tuple[LabelSource | None, Method], ...]:
        """Label sources and methods: a built-in method with each source it depends on, a described one with its own."""
        return tuple(pair for entry, method in self._trained() for pair in self._fitted(entry, method))

    def _trained(self) -> Iterator[tuple[str | MethodSettings | dict[str, Any], Method]]:
        for entry in self.methods:
            if entry not in BASELINES:
                method = method_described(entry.method if isinstance(entry, MethodSettings) else entry)
                yield entry, method.on_attention_alone if self.align == "attention" else method

    def _fitted(
        self, entry: str | MethodSettings | dict[str, Any], method: Method
    ) -> Iterator[tuple[LabelSource | None, Method]]:
        fitted = {stage.labels for stage in method.stages if isinstance(stage.objective, MatchTokens)}
        if isinstance(entry, MethodSettings):
            yield entry.label_source, method.fine_tuned_on(entry.label_source)
        elif isinstance(entry, str) and fitted:
            for source in dict.fromkeys(self.label_sources):
                yield source, method.fine_tuned_on(source)
        else:
            yield fitted.pop() if len(fitted) == 1 else None, method

    @property
    def files(self) -> tuple[Path, ...]:
        """Every user file that decides what is computed."""
        read = [path for source in self.tasks for path in source.files]
        read += [path for path in (self.context, self.held_text) if path is not None]
        return tuple(dict.fromkeys(read))

    @property
    def settings(self) -> dict[str, Any]:
        """Settings that decide what records hold, without those that only select units."""
        units = {"models", "tasks", "n", "sets", "seeds", "first_seed", "adapters"}
        asked = {"name", "description", "select", "compare", "claims"}
        return self.model_dump(mode="json", exclude=asked | units)
