"""Training of a unit's adapters: one teacher pass, then all adapters of a kind together."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ia2.adapters.kind import AdapterKind
from ia2.experiments.candidates import Candidate
from ia2.experiments.loading import teacher_for
from ia2.experiments.plan import Planned, Unit
from ia2.experiments.schema import Experiment
from ia2.experiments.shared_work import SharedWork, TrainedBefore, form_of, key_of
from ia2.experiments.unit_rows import UnitRows
from ia2.models.load import LanguageModel
from ia2.models.memory import steady_bytes
from ia2.models.sites import ATTENTION_OUTPUT, Site
from ia2.progress import Progress
from ia2.training.checkpoints import Checkpoints
from ia2.training.plans import Plan
from ia2.training.targets import Targets
from ia2.training.teacher import collect_targets
from ia2.training.train import selection_loss, train_all

GIB = 2**30


@dataclass(frozen=True)
class UnitTraining:
    """Trains a unit's planned adapters, except those that other units or studies have trained."""

    experiment: Experiment
    unit: Unit
    model: LanguageModel
    rows: UnitRows
    cache_dir: Path | None
    progress: Progress
    work: SharedWork

    def by_kind(self, adapters: Sequence[Planned]) -> Iterator[list[Candidate]]:
        """Yield the trained adapters kind by kind, in planned order; stage checkpoints are deleted after the last."""
        candidates = self._cached(adapters)
        missing = [adapter for adapter in adapters if adapter.id not in candidates]
        begun = time.perf_counter()
        targets = self._collect_targets(missing)
        teacher_seconds = time.perf_counter() - begun if targets is not None else None
        checkpoints = self._checkpoints()
        for kind in dict.fromkeys(adapter.kind for adapter in adapters):
            untrained = [adapter for adapter in missing if adapter.kind == kind]
            if untrained:
                for candidate in self._train(kind, untrained, targets, teacher_seconds, checkpoints):
                    candidates[candidate.planned.id] = candidate
            yield [candidates[adapter.id] for adapter in adapters if adapter.kind == kind]
        checkpoints.clear()

    def _key(self, adapter: Planned) -> str:
        """Return an adapter's cache key: everything it depends on except the other adapters in its bank."""
        few_shot_set, experiment = self.rows.few_shot_set, self.experiment
        rows = (few_shot_set.train, few_shot_set.dev, few_shot_set.context, few_shot_set.unlabelled)
        prompting: tuple[int | None, ...] = (few_shot_set.orders, few_shot_set.order)
        prompting += (few_shot_set.most_demonstrations, few_shot_set.seed)
        if (separate_seeds := (few_shot_set.start_seed, few_shot_set.order_seed)) != (None, None):
            prompting += separate_seeds
        teacher = (
            experiment.teacher_dtype,
            experiment.label_scoring,
            None if few_shot_set.task.labels else experiment.teacher_stop,
        )
        plan = (adapter.kind, adapter.method, adapter.label_source, adapter.learning_rate, experiment.training)
        model = self.model.fingerprint
        return key_of("adapter", model, form_of(few_shot_set.task), rows, prompting, teacher, plan)

    def _cached(self, adapters: Iterable[Planned]) -> dict[str, Candidate]:
        """Return the cached adapters, by their id in this unit."""
        candidates = {}
        for adapter in adapters:
            key = self._key(adapter)
            if (cached := self.work.adapter(key)) is not None:
                candidates[adapter.id] = Candidate(adapter, cached.trained, cached.dev_loss, cached.seconds, key)
        if candidates:
            self.progress.say(f"Already trained, loaded from {self.work.folder}: {', '.join(candidates)}.")
        return candidates

    def _collect_targets(self, adapters: Iterable[Planned]) -> Targets | None:
        """Return the teacher's targets on the set; None if no method needs them."""
        methods = [adapter.method for adapter in adapters if adapter.method.needs_targets]
        if not methods:
            return None
        collect = partial(
            collect_targets,
            teacher_for(self.experiment, self.model, progress=self.progress),
            self.rows.few_shot_set,
            label_scoring=self.experiment.label_scoring,
            teacher_stop=self.experiment.teacher_stop,
            sites=frozenset[Site]().union(*(method.teacher_sites for method in methods)) or (ATTENTION_OUTPUT,),
            cache_dir=self.cache_dir,
            progress=self.progress,
        )
        targets = collect()
        if any(method.teacher_reads_responses for method in methods):
            targets = replace(targets, on_responses=collect(on_responses=True))
        return targets

    def _checkpoints(self) -> Checkpoints:
        """Return the unit's stage checkpoints, the same for every process that computes this unit of this study."""
        owner = {"experiment": self.experiment.model_dump(mode="json"), "unit": self.unit.as_record()}
        return Checkpoints.of(owner, self.model.identity, self.cache_dir)

    def _train(
        self,
        kind: AdapterKind,
        adapters: Sequence[Planned],
        targets: Targets | None,
        teacher_seconds: float | None,
        checkpoints: Checkpoints,
    ) -> Iterator[Candidate]:
        """Train the adapters of one kind together and cache them; `teacher_seconds` is the cost of the teacher pass."""
        memory = self.experiment.memory
        few_shot_set = self.rows.few_shot_set
        trained = train_all(
            self.model,
            [Plan(few_shot_set, adapter.method, adapter.learning_rate, targets) for adapter in adapters],
            adapter=kind,
            training=self.experiment.training,
            checkpoints=checkpoints,
            memory=memory * GIB if memory is not None else steady_bytes(self.model.network),
            progress=self.progress,
        )
        for adapter, result in zip(adapters, trained, strict=True):
            loss = None if result.diverged else selection_loss(self.model, few_shot_set, adapter.method, result)
            seconds = {"train": sum(stage.seconds for stage in result.stages)}
            if adapter.method.needs_targets and teacher_seconds is not None:
                seconds["teacher"] = teacher_seconds
            key = self._key(adapter)
            self.work.keep_adapter(key, TrainedBefore(result, loss, seconds))
            yield Candidate(adapter, result, loss, seconds, key)
