"""Computation of one unit of a study: the teacher pass, training in banks, evaluation and records."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ia2.adapters.card import Asked, write_card
from ia2.adapters.provenance import Provenance
from ia2.cache import full_disk_named
from ia2.errors import InputError
from ia2.evaluation.evaluate import Evaluation
from ia2.experiments.baseline_names import IN_CONTEXT
from ia2.experiments.candidates import Candidate, chosen
from ia2.experiments.plan import Unit, planned
from ia2.experiments.schema import Experiment
from ia2.experiments.schema_parts import best_of
from ia2.experiments.shared_work import SharedWork
from ia2.experiments.store import ADAPTERS, PREDICTIONS, RECORDS
from ia2.experiments.unit_baselines import UnitBaselines
from ia2.experiments.unit_evaluator import UnitEvaluator
from ia2.experiments.unit_forgetting import UnitForgetting
from ia2.experiments.unit_record import Measurement, unit_record
from ia2.experiments.unit_rows import UnitRows, unit_rows
from ia2.experiments.unit_similarity import UnitSimilarity
from ia2.experiments.unit_temperature import UnitTemperature
from ia2.experiments.unit_training import UnitTraining
from ia2.models.load import LanguageModel
from ia2.progress import Progress
from ia2.records import Record
from ia2.tasks.task import Task
from ia2.training.demonstration_order import best_ordered
from ia2.training.methods import betas_for


def compute(
    experiment: Experiment,
    unit: Unit,
    model: LanguageModel,
    folder: Path,
    *,
    data_dir: Path | None = None,
    limit: int | None = None,
    cache_dir: Path | None = None,
    progress: Progress,
    work: SharedWork | None = None,
) -> None:
    """Compute one unit and write its records, predictions and adapters in the layout of a study's folder.

    Args:
        experiment: the study.
        unit: the unit to compute.
        model: the unit's model.
        folder: output folder.
        data_dir: a folder of benchmark files instead of the hub.
        limit: maximum evaluation rows per task; a smaller maximum in the study takes precedence.
        cache_dir: where teacher targets are cached, and stage checkpoints until the unit is done; by default the
            project's cache folder.
        progress: receives messages and progress.
        work: cache shared with other units and studies, read and extended; by default nothing is shared.

    Raises:
        InputError: a task can't be loaded or has too few rows, the model can't read a prompt, no method can answer the
            evaluated tasks, or a method of which one adapter is chosen diverged at every learning rate.
    """
    rows = unit_rows(experiment, unit, model, data_dir=data_dir, limit=limit)
    if (orders := best_of(experiment.order)) is not None:
        rows = replace(rows, few_shot_set=best_ordered(model, rows.few_shot_set, orders, progress))
    temperature = UnitTemperature(rows)
    if temperature.note is not None:
        progress.say(temperature.note)
    work = SharedWork() if work is None else work
    training = UnitTraining(experiment, unit, model, rows, cache_dir, progress, work)
    evaluator = UnitEvaluator(experiment, model, rows, progress, work)
    baselines, similarity = UnitBaselines(evaluator), UnitSimilarity(experiment, model, rows, work)
    _Computation(
        *(experiment, unit, model, rows, folder, progress, training, evaluator, baselines, similarity, temperature),
        UnitForgetting(evaluator),
    ).run()


@dataclass
class _Computation:
    experiment: Experiment
    unit: Unit
    model: LanguageModel
    rows: UnitRows
    folder: Path
    progress: Progress
    training: UnitTraining
    evaluator: UnitEvaluator
    baselines: UnitBaselines
    similarity: UnitSimilarity
    temperature: UnitTemperature
    forgetting: UnitForgetting

    def run(self) -> None:
        """Evaluate the baselines, then train and evaluate the adapters kind by kind, writing a record for each."""
        adapters = planned(self.experiment, self.unit, betas_for(self.model.network.config.model_type))
        if not adapters:
            self.check_measurable()
        for name in self.experiment.baselines:
            self.measure_baseline(name)
        for candidates in self.training.by_kind(adapters):
            if self.experiment.measure == "chosen":
                candidates = chosen(candidates, self.progress)
            self.measure_adapters([candidate for candidate in candidates if not candidate.trained.diverged])
            self.note_diverged([candidate for candidate in candidates if candidate.trained.diverged])

    def check_measurable(self) -> None:
        """Refuse a unit that would write no record, and so would never count as done. Raises InputError."""
        names, tasks = self.experiment.baselines, self.rows.measured
        if not any(self.baselines.has_labels_of(name, task) for name in names for task in tasks):
            source = self.rows.few_shot_set.task.name
            raise InputError(
                f"{', '.join(names)}: these can only predict the labels of {source}, which differ from those of "
                f"{', '.join(task.name for task in tasks)}. Evaluate on {source} too, or add another method."
            )

    def measure_baseline(self, name: str) -> None:
        """Evaluate a baseline on every task whose labels it can predict, and write the records."""
        answerable = [task for task in self.rows.measured if self.baselines.has_labels_of(name, task)]
        for task in self.rows.measured:
            if task not in answerable:
                self.progress.say(f"{name} is not evaluated on {task.name}, whose labels it has not seen.")
        if not answerable:
            return
        similarity, similarity_seconds = self.similarity.of_baseline(name)
        (fitted,) = self.temperature.of_all(lambda: [self.baselines.on_dev_rows(name)], 1)
        for task in answerable:
            examples = self.rows.of(task)
            contexts = self.evaluator.contexts(len(examples)) if name in IN_CONTEXT else [()] * len(examples)
            evaluation, seconds = self.baselines.measured(name, task)
            phases = ({"evaluate": seconds} if evaluation is not None else {}) | similarity_seconds | fitted.seconds
            self.write(
                Measurement(
                    *(name, name, task, evaluation, similarity, phases, tuple(contexts)),
                    temperature=fitted.temperature,
                    options=self.baselines.options(name),
                )
            )

    def note_diverged(self, candidates: Sequence[Candidate]) -> None:
        """Record diverged adapters without metrics, so that they aren't trained again and reports list them."""
        if candidates:
            names = ", ".join(candidate.planned.id for candidate in candidates)
            self.progress.say(f"{names}: training diverged; recorded without metrics.")
        for candidate in candidates:
            for task in self.rows.measured:
                self.write(Measurement.of(candidate, task, None, {}, {}))

    def measure_adapters(self, candidates: Sequence[Candidate]) -> None:
        """Save the adapters of one kind, evaluate each on every task, and write their records and cards."""
        if not candidates:
            return
        similarities = [self.similarity.of(candidate.trained.adapter, asked=candidate.key) for candidate in candidates]
        source, dev = self.rows.few_shot_set.task, self.rows.few_shot_set.dev
        temperatures = self.temperature.of_all(
            lambda: self.evaluator.of_adapters(candidates, source, dev, "dev rows of {}"), len(candidates)
        )
        for candidate in candidates:
            folder = self.adapter_folder(candidate)
            candidate.trained.save(folder)
            scoring = self.evaluator.label_scoring(candidate, source)
            Provenance.by(self.rows.few_shot_set, self.model, scoring).save(folder)
            if self.experiment.measure == "chosen":
                # only if few adapters are kept: thousands of tokenizers would fill the disk
                with full_disk_named(folder):
                    self.model.tokenizer.save_pretrained(folder)
        forgetting_metrics, forgetting_seconds = self.forgetting.of(candidates)
        records: dict[str, list[Record]] = defaultdict(list)
        for task in self.rows.measured:
            for candidate, (evaluation, seconds), (similarity, similarity_seconds), fitted, forgetting in zip(
                candidates,
                self.answered(candidates, task),
                similarities,
                temperatures,
                forgetting_metrics,
                strict=True,
            ):
                phases = seconds | similarity_seconds | fitted.seconds | forgetting_seconds
                measurement = Measurement.of(candidate, task, evaluation, similarity, phases, fitted.temperature)
                if task is self.rows.measured[0]:
                    measurement = replace(measurement, forgetting=forgetting)
                records[candidate.planned.id].append(self.write(measurement))
        for candidate in candidates:
            form = Asked.of(self.rows.few_shot_set, self.model)
            write_card(self.adapter_folder(candidate), records[candidate.planned.id], form)

    def adapter_folder(self, candidate: Candidate) -> Path:
        """Return the folder of an adapter."""
        return self.folder / ADAPTERS / self.unit.id / candidate.planned.id

    def answered(self, candidates: Sequence[Candidate], task: Task) -> list[tuple[Evaluation | None, dict[str, float]]]:
        """Return each adapter's evaluation on a task and its seconds by phase; (None, {}) if the task has no rows."""
        if not (examples := self.rows.of(task)):
            return [(None, {})] * len(candidates)
        answers = self.evaluator.of_adapters(candidates, task, examples, "evaluate {} on " + task.name)
        return [(evaluation, {"evaluate": seconds}) for evaluation, seconds in answers]

    def write(self, measurement: Measurement) -> Record:
        """Write a measurement's record and predictions (none if training diverged), and return the record."""
        record = unit_record(self.experiment, self.unit, self.model, self.rows, measurement)
        stem = f"{measurement.file}_on_{measurement.task.name}"
        predictions = self.folder / PREDICTIONS / self.unit.id / f"{stem}.jsonl"
        prediction_rows = measurement.evaluation.rows() if measurement.evaluation is not None else []
        return record.write(self.folder / RECORDS / self.unit.id / f"{stem}.json", predictions, prediction_rows)
