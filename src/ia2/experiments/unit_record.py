"""The record of each measurement of a unit."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ia2.evaluation.evaluate import Evaluation
from ia2.evaluation.labels import LabelEvaluation
from ia2.experiments.baseline_names import LOGISTIC, RECALIBRATED
from ia2.experiments.candidates import Candidate
from ia2.experiments.loading import teacher_note
from ia2.experiments.plan import Unit
from ia2.experiments.schema import Experiment
from ia2.experiments.store import ADAPTERS
from ia2.experiments.unit_rows import UnitRows
from ia2.experiments.unit_temperature import UnitTemperature
from ia2.inference.label_scoring import label_scoring_of
from ia2.models.architectures import aligned_layers
from ia2.models.load import LanguageModel
from ia2.prompting.prompts import PromptTokenizer
from ia2.records import AdapterRecord, Metrics, ModelRecord, Options, Record, StageRecord, TaskRecord, without_nan
from ia2.tasks.task import ContextItem, Example, Task

UNMEASURED: Mapping[str, Any] = {"n": 0, "accuracy": None, "ece": None, "asim": None}
"""Metrics of an adapter whose training diverged, and of a task without rows to evaluate."""


@dataclass(frozen=True)
class Measurement:
    """A model, with or without an adapter, evaluated on one task."""

    file: str
    """First part of its file names, followed by the task's name."""
    method: str
    task: Task
    evaluation: Evaluation | None
    """None if training diverged or the task has no rows."""
    similarity: Mapping[str, Any]
    seconds: Mapping[str, float]
    contexts: Sequence[Sequence[ContextItem]] = ()
    """Demonstrations or instruction before each query; empty for adapters."""
    candidate: Candidate | None = None
    temperature: float | None = None
    """Temperature fitted on the dev rows; None if none could be."""
    forgetting: Mapping[str, Any] = field(default_factory=dict)
    """Forgetting metrics; only one record of each adapter has them."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Hyperparameters chosen for a baseline."""

    @classmethod
    def of(
        cls,
        candidate: Candidate,
        task: Task,
        evaluation: Evaluation | None,
        similarity: Mapping[str, Any],
        seconds: Mapping[str, float],
        temperature: float | None = None,
    ) -> "Measurement":
        """Return an adapter's measurement, with the seconds of its training added to those of its evaluation."""
        all_seconds = {**candidate.seconds, **seconds}
        planned = candidate.planned
        return cls(
            *(planned.id, planned.method.name, task, evaluation, similarity, all_seconds),
            candidate=candidate,
            temperature=temperature,
        )


def unit_record(
    experiment: Experiment, unit: Unit, model: LanguageModel, rows: UnitRows, measurement: Measurement
) -> Record:
    """Return the record of one measurement.

    Args:
        experiment: the study.
        unit: the computed unit.
        model: the unit's model.
        rows: the unit's rows.
        measurement: the measurement.
    """
    task, evaluation, candidate = measurement.task, measurement.evaluation, measurement.candidate
    trained = candidate.trained if candidate is not None else None
    kind = candidate.planned.kind if candidate is not None else None
    path = f"{ADAPTERS}/{unit.id}/{measurement.file}" if trained is not None and not trained.diverged else None
    metrics = evaluation.metrics(experiment.ece) if evaluation is not None else dict(UNMEASURED)
    if isinstance(evaluation, LabelEvaluation) and measurement.temperature is not None:
        metrics |= evaluation.scaled_metrics(measurement.temperature, experiment.ece)
    metrics |= {**measurement.similarity, **measurement.forgetting}
    if (examples := rows.of(task)) and measurement.method != "logistic-tfidf":
        contexts = measurement.contexts or [()] * len(examples)
        tokens = PromptTokenizer.of(model, task).mean_prompt_tokens(examples, contexts)
        metrics["prompt_tokens"] = tokens + (kind.virtual_tokens if kind is not None else 0)
    first_context = next(iter(measurement.contexts), ())
    return Record(
        method=measurement.method,
        model=ModelRecord(**model.identity.as_record()),
        task=TaskRecord(**task.as_record(trained_on=unit.train)),
        n=unit.n
        if trained is not None or measurement.method in LOGISTIC
        else sum(isinstance(part, Example) for part in first_context),
        seed=unit.seed,
        lr=trained.learning_rate if trained is not None else None,
        adapter=AdapterRecord(**kind.as_record(path)) if kind is not None else None,
        metrics=Metrics(**metrics),
        seconds={phase: round(value, 3) for phase, value in measurement.seconds.items()},
        stages=[StageRecord(**without_nan(asdict(stage))) for stage in (trained.stages if trained is not None else ())],
        options=Options(
            **_study_options(experiment, unit, rows, measurement),
            **_method_options(experiment, measurement, model),
            **measurement.options,
        ),
        notes=[
            *(*model.notes, *task.notes, *_temperature_note(rows, measurement)),
            *filter(None, [teacher_note(experiment, model)]),
        ],
    )


def _temperature_note(rows: UnitRows, measurement: Measurement) -> list[str]:
    """Return why a label evaluation has no temperature-scaled metrics, if so."""
    note = UnitTemperature(rows).note
    return [note] if isinstance(measurement.evaluation, LabelEvaluation) and note is not None else []


def _study_options(experiment: Experiment, unit: Unit, rows: UnitRows, measurement: Measurement) -> dict[str, Any]:
    """Return the study's settings for one measurement."""
    task, evaluation = measurement.task, measurement.evaluation
    label_scoring = evaluation.label_scoring if isinstance(evaluation, LabelEvaluation) else None
    return {
        "experiment": experiment.name,
        "unit": unit.id,
        "set_n": unit.n,
        "label_scoring": label_scoring_of(task, experiment.label_scoring) if label_scoring is None else label_scoring,
        "confidence": experiment.confidence,
        "asim_tokens": experiment.asim_tokens if measurement.task.response_kind == "text" else None,
        "correct": experiment.correct,
        "teacher_stop": experiment.teacher_stop,
        "benchmark_options": {
            name: getattr(experiment.benchmark_options, name) for name in sorted(experiment.benchmark_options.changed)
        },
        **rows.few_shot_set.as_record(),
    }


def _method_options(experiment: Experiment, measurement: Measurement, model: LanguageModel) -> dict[str, Any]:
    """Return the settings of one method; those of training are None for baselines."""
    candidate = measurement.candidate
    is_taught = candidate is not None and candidate.planned.method.needs_targets
    teacher = experiment.teacher_dtype or model.identity.quantisation or model.identity.dtype
    aligns = candidate is not None and candidate.planned.method.aligns_mixers
    tried = candidate.tried if candidate is not None else ()
    return {
        "demonstrations": experiment.demonstrations if measurement.method in ("icl", *RECALIBRATED) else None,
        "evaluate": experiment.evaluate if candidate is not None else None,
        "label_source": candidate.planned.label_source if candidate is not None else None,
        "label_sources": [stage.labels for stage in candidate.planned.method.stages] if candidate is not None else None,
        "aligned": aligned_layers(model.network, experiment.align) if aligns else None,
        "teacher_dtype": teacher if is_taught else None,
        "beta": candidate.planned.method.beta if candidate is not None else None,
        "dev_loss": candidate.dev_loss if candidate is not None else None,
        "training": asdict(experiment.training) if candidate is not None else None,
        "tried": [attempt.as_record() for attempt in tried],
        "selected_by": "dev" if tried else None,
    }
