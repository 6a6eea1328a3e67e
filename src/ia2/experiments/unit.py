"""The one flow: the teacher, every adapter in banks, the evaluations, and a record for each, of one unit of a study."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ia2.adapters.card import write_card
from ia2.adapters.provenance import Provenance
from ia2.errors import InputError
from ia2.evaluation.evaluate import Evaluation
from ia2.experiments.baseline_names import IN_CONTEXT
from ia2.experiments.candidates import Candidate, chosen
from ia2.experiments.plan import Unit, planned
from ia2.experiments.schema import Experiment
from ia2.experiments.schema_parts import best_of
from ia2.experiments.shared_work import SharedWork
from ia2.experiments.store import ADAPTERS, PREDICTIONS, RECORDS
from ia2.experiments.unit_asking import UnitAsking
from ia2.experiments.unit_baselines import UnitBaselines
from ia2.experiments.unit_card import asked_of
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
    """Compute everything of a unit and write it as a study's folder holds it.

    Args:
        experiment: the study.
        unit: which part of it.
        model: the unit's model.
        folder: where records, predictions and adapters go.
        data_dir: a folder of benchmark files instead of the hub.
        limit: the most evaluation rows, where the study has no smaller number.
        cache_dir: where the teacher's targets are kept, and trained stages until the unit is done; by default the
            project's cache folder.
        progress: told what is going on.
        work: what other units and studies have computed, and are to find of this one; by default nothing.

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
    asking = UnitAsking(experiment, model, rows, progress, work)
    baselines, similarity = UnitBaselines(asking), UnitSimilarity(experiment, model, rows, work)
    _Computation(
        *(experiment, unit, model, rows, folder, progress, training, asking, baselines, similarity, temperature),
        UnitForgetting(asking),
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
    asking: UnitAsking
    baselines: UnitBaselines
    similarity: UnitSimilarity
    temperature: UnitTemperature
    forgetting: UnitForgetting

    def run(self) -> None:
        """Compute and write."""
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
        """Refuse a unit of which there would be no record, so that it would never be done."""
        names, tasks = self.experiment.baselines, self.rows.measured
        if not any(self.baselines.has_labels_of(name, task) for name in names for task in tasks):
            source = self.rows.few_shot_set.task.name
            raise InputError(
                f"{', '.join(names)}: these can only predict the labels of {source}, which differ from those of "
                f"{', '.join(task.name for task in tasks)}. Evaluate on {source} too, or add another method."
            )

    def measure_baseline(self, name: str) -> None:
        """What trains no adapter, on every task that it can answer."""
        answerable = [task for task in self.rows.measured if self.baselines.has_labels_of(name, task)]
        for task in self.rows.measured:
            if task not in answerable:
                self.progress.say(f"{name} is not evaluated on {task.name}, whose labels it has not seen.")
        if not answerable:
            return
        similarity, spent = self.similarity.of_baseline(name)
        (fitted,) = self.temperature.of_all(lambda: [self.baselines.on_dev_rows(name)], 1)
        for task in answerable:
            examples = self.rows.of(task)
            contexts = self.asking.contexts(len(examples)) if name in IN_CONTEXT else [()] * len(examples)
            evaluation, seconds = self.baselines.measured(name, task)
            phases = ({"evaluate": seconds} if evaluation is not None else {}) | spent | fitted.seconds
            self.write(
                Measurement(
                    *(name, name, task, evaluation, similarity, phases, tuple(contexts)),
                    temperature=fitted.temperature,
                    options=self.baselines.options(name),
                )
            )

    def note_diverged(self, candidates: Sequence[Candidate]) -> None:
        """Adapters whose training diverged: recorded, so that none is trained again, and so that reports know."""
        if candidates:
            names = ", ".join(candidate.planned.id for candidate in candidates)
            self.progress.say(f"{names}: training diverged; recorded without metrics.")
        for candidate in candidates:
            for task in self.rows.measured:
                self.write(Measurement.of(candidate, task, None, {}, {}))

    def measure_adapters(self, candidates: Sequence[Candidate]) -> None:
        """Every adapter of a kind: saved, measured on every task, compared with in-context learning, and described."""
        if not candidates:
            return
        similarities = [self.similarity.of(candidate.trained.adapter, asked=candidate.key) for candidate in candidates]
        source, dev = self.rows.few_shot_set.task, self.rows.few_shot_set.dev
        temperatures = self.temperature.of_all(
            lambda: self.asking.of_adapters(candidates, source, dev, "dev rows of {}"), len(candidates)
        )
        for candidate in candidates:
            folder = self.adapter_folder(candidate)
            candidate.trained.save(folder)
            scoring = self.asking.label_scoring(candidate, source)
            Provenance.by(self.rows.few_shot_set, self.model, scoring).save(folder)
            if self.experiment.measure == "chosen":
                # of thousands of adapters that are tried the tokenizers would fill the disk
                self.model.tokenizer.save_pretrained(folder)
        forgotten, forgetting_seconds = self.forgetting.of(candidates)
        records: dict[str, list[Record]] = defaultdict(list)
        for task in self.rows.measured:
            for candidate, (evaluation, seconds), (similarity, spent), fitted, of_others in zip(
                candidates, self.answered(candidates, task), similarities, temperatures, forgotten, strict=True
            ):
                phases = seconds | spent | fitted.seconds | forgetting_seconds
                measurement = Measurement.of(candidate, task, evaluation, similarity, phases, fitted.temperature)
                if task is self.rows.measured[0]:
                    measurement = replace(measurement, forgetting=of_others)
                records[candidate.planned.id].append(self.write(measurement))
        for candidate in candidates:
            form = asked_of(self.rows.few_shot_set, self.model)
            write_card(self.adapter_folder(candidate), records[candidate.planned.id], form)

    def adapter_folder(self, candidate: Candidate) -> Path:
        """Where an adapter is kept."""
        return self.folder / ADAPTERS / self.unit.id / candidate.planned.id

    def answered(self, candidates: Sequence[Candidate], task: Task) -> list[tuple[Evaluation | None, dict[str, float]]]:
        """What adapters answer to a task's rows, and the seconds of each; nothing where it has no row."""
        if not (examples := self.rows.of(task)):
            return [(None, {})] * len(candidates)
        answers = self.asking.of_adapters(candidates, task, examples, "evaluate {} on " + task.name)
        return [(evaluation, {"evaluate": seconds}) for evaluation, seconds in answers]

    def write(self, measurement: Measurement) -> Record:
        """Write a record, which is returned, and its predictions; those of an adapter that diverged are empty."""
        record = unit_record(self.experiment, self.unit, self.model, self.rows, measurement)
        stem = f"{measurement.file}_on_{measurement.task.name}"
        predictions = self.folder / PREDICTIONS / self.unit.id / f"{stem}.jsonl"
        answered = measurement.evaluation.rows() if measurement.evaluation is not None else []
        return record.write(self.folder / RECORDS / self.unit.id / f"{stem}.json", predictions, answered)
