"""What a study is: the YAML file, validated, every mistake named with its line."""

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from ia2.errors import InputError
from ia2.evaluation.metrics import Binning
from ia2.experiments.schema_parts import (
    Adapters,
    AdapterSettings,
    Betas,
    Count,
    Models,
    Rates,
    Source,
    Strict,
    TrainingRows,
    TrainingSettings,
)
from ia2.inference.label_scoring import Confidence, LabelScoring
from ia2.tasks.benchmark import DEFAULTS, BenchmarkOptions
from ia2.tasks.benchmarks import BENCHMARKS
from ia2.tasks.load import load_task
from ia2.tasks.task import Task
from ia2.training.method_files import method_of, problem
from ia2.training.methods import METHODS, LabelSource, Method
from ia2.training.teacher import TeacherStop

BASELINES = ("zero-shot", "icl")
NAMED_BY_PLAN = re.compile(r"_(icl-response|(lr|beta)[0-9.e+-]+)$")
"""How names of an adapter's files end; a method whose own name did could be taken for another one."""


def _impossible(key: str, why: str) -> PydanticCustomError:
    """A combination of keys that can't be, to be shown with the line of one of them."""
    return PydanticCustomError("impossible", "{why}", {"key": key, "why": why})


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
    """How many sets of each N; their seeds count from 0."""
    methods: Annotated[tuple[str | dict[str, Any], ...], Field(min_length=1)]
    """Names, `zero-shot` and `icl` among them, or descriptions as in a method's own file."""
    adapters: Adapters = (AdapterSettings(kind="lora"),)
    learning_rates: Rates = ()
    """By default each adapter's own three."""
    betas: Betas = ()
    """Weights of the token loss in ia2+sft; by default four that suit the model's family."""
    label_sources: Annotated[tuple[LabelSource, ...], Field(min_length=1)] = ("ground-truth",)
    """What fine-tuning fits."""
    rows: Count | None = None
    """The most evaluation rows of each task."""
    asim_rows: Annotated[int, Field(ge=0)] = 100
    """Of how many of them similarity to in-context learning is measured."""
    training: TrainingSettings = TrainingSettings()
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    label_scoring: LabelScoring = "token"
    ece: Binning = "equal-width"
    confidence: Confidence = "vocabulary"
    demonstrations: Literal["shared", "resampled"] = "shared"
    """Whether all queries of a set meet its training rows, or each N-1 rows drawn afresh (the published scripts)."""
    teacher_stop: TeacherStop = "task"
    benchmark_options: BenchmarkOptions = DEFAULTS
    """How rows of the tasks that have these options become queries."""
    select: Literal["accuracy", "dev"] = "accuracy"
    """How reports choose the learning rate and β: by mean accuracy on the source task, or by dev loss."""

    @field_validator("methods")
    @classmethod
    def _methods(cls, value: tuple[str | dict[str, Any], ...]) -> tuple[str | dict[str, Any], ...]:
        names = []
        for one in value:
            if isinstance(one, dict):
                try:
                    names.append(method_of(one, "").name)
                except InputError as error:
                    raise ValueError(str(error).removeprefix(": ")) from error
                if NAMED_BY_PLAN.search(names[-1]):
                    raise ValueError(
                        f"{names[-1]}: this ending is kept for label sources, rates and β; name it otherwise"
                    )
            elif one in METHODS or one in BASELINES:
                names.append(one)
            else:
                raise ValueError(f"there is no method {one}; there are {', '.join((*BASELINES, *METHODS))}")
        if len(set(names)) < len(names):
            raise ValueError("a method is named twice")
        return value

    @model_validator(mode="after")
    def _possible(self) -> "Experiment":
        if self.betas and not any(method.tries_betas for method in self.trained_methods):
            raise _impossible("betas", "betas are given, and no method tries several; ia2+sft does")
        solving = [method.name for method in self.trained_methods if any(stage.solved for stage in method.stages)]
        asked = [one for source in self.tasks for one in self.adapters_of(source)]
        unfit = [one.kind for one in asked if one.kind != "lora"]
        if solving and unfit:
            raise _impossible(
                "adapters", f"{solving[0]} is solved for LoRA alone, and the adapter {unfit[0]} is asked for as well"
            )
        if self.confidence != "vocabulary" and self.label_scoring == "whole":
            raise _impossible("confidence", "confidence top-10 is of single tokens, and label_scoring is whole")
        used = {name for source in self.tasks for name in (source.train, *source.measured) if name in BENCHMARKS}
        for option in sorted(self.benchmark_options.changed):
            if not any(option in BENCHMARKS[name].options for name in used):
                raise _impossible(
                    "benchmark_options", f"the option {option} is changed, and no task of the study has it"
                )
        seen: set[tuple[str, str, int]] = set()
        for source in self.tasks:
            own = {(model, source.train, n) for model in self.models_of(source) for n in self.n_of(source)}
            for model, train, n in sorted(seen & own):
                raise _impossible(
                    "tasks", f"two entries of tasks train {model} on {n} rows of {train}; say which one is meant"
                )
            seen |= own
        return self

    def models_of(self, source: Source) -> tuple[str, ...]:
        """The models that are trained on a source."""
        return self.models if source.models is None else source.models

    def n_of(self, source: Source) -> tuple[int, ...]:
        """The numbers of its rows that they are trained on."""
        return self.n if source.n is None else source.n

    def task(self, name: str, data_dir: Path | None) -> Task:
        """A task of the study, with the options that it has.

        Args:
            name: its name.
            data_dir: a folder of benchmark files instead of the hub.

        Raises:
            InputError: it can't be loaded.
        """
        options = BENCHMARKS[name].own(self.benchmark_options) if name in BENCHMARKS else DEFAULTS
        return load_task(name, data_dir=data_dir, options=options)

    def adapters_of(self, source: Source) -> tuple[AdapterSettings, ...]:
        """The adapters that are trained on it."""
        return self.adapters if source.adapters is None else source.adapters

    @property
    def all_models(self) -> tuple[str, ...]:
        """Every model that is used, the study's own ones first."""
        used = dict.fromkeys(model for source in self.tasks for model in self.models_of(source))
        return tuple(model for model in dict.fromkeys((*self.models, *used)) if model in used)

    @property
    def baselines(self) -> tuple[str, ...]:
        """The methods that train nothing."""
        return tuple(one for one in self.methods if one in BASELINES)

    @property
    def trained_methods(self) -> tuple[Method, ...]:
        """The methods that train adapters."""
        return tuple(
            method_of(one, "") if isinstance(one, dict) else METHODS[one]
            for one in self.methods
            if one not in BASELINES
        )

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that decides what records hold, whichever units there are."""
        units = {"models", "tasks", "n", "sets", "adapters"}
        return self.model_dump(mode="json", exclude={"name", "description", "select", *units})


def load_experiment(path: Path) -> Experiment:
    """Read a study.

    Raises:
        InputError: the file isn't there, isn't YAML, or describes no study; each problem is named with its line.
    """
    try:
        text = path.read_text(encoding="utf-8")
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except OSError as error:
        raise InputError(f"{path}: this file can't be read ({error.strerror}).") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: this is no YAML ({' '.join(str(error).split())}).") from error
    try:
        return Experiment.model_validate(content)
    except ValidationError as error:
        found = []
        every = error.errors(include_url=False)
        for one in every:
            deeper = [other["loc"] for other in every if len(other["loc"]) > len(one["loc"])]
            if any(place[: len(one["loc"])] == one["loc"] for place in deeper):
                continue  # what is wrong with a part is told; pydantic counts a list without it as too short
            if one["type"] == "extra_forbidden":
                found.append(f"{path}, line {_line(tree, one['loc'])}: {_unknown(one)}")
            elif one["type"] == "impossible":
                found.append(f"{path}, line {_line(tree, (one['ctx']['key'],))}: {one['msg']}")
            else:
                found.append(f"{path}, line {_line(tree, one['loc'])}: {problem(one)}")
        raise InputError("\n".join(found)) from error


def _unknown(one: Mapping[str, Any]) -> str:
    """A key that isn't known, and the one that may be meant."""
    place = ".".join(str(part) for part in one["loc"])
    known = {name: f"tasks.{name}" for name in Source.model_fields}
    known |= {name: f"training.{name}" for name in TrainingSettings.model_fields}
    known |= {name: name for name in Experiment.model_fields}
    close = difflib.get_close_matches(str(one["loc"][-1]), known, n=1)
    return f"{place}: there is no such key." + (f" Did you mean {known[close[0]]}?" if close else "")


def _line(node: Any, place: tuple[str | int, ...]) -> int:
    """The line on which the innermost part of a place stands that is in the file."""
    line = 1 if node is None else node.start_mark.line + 1
    for part in place:
        if isinstance(node, yaml.MappingNode):
            pairs = [(key, value) for key, value in node.value if key.value == part]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            pairs = [(node.value[part], node.value[part])]
        else:
            pairs = []
        if not pairs:
            break
        (key, node), *_ = pairs
        line = key.start_mark.line + 1
    return int(line)
