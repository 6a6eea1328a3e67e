"""How a unit's adapters come about: the teacher is asked once, and all of a kind are trained together."""

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
from ia2.training.train import comparable_loss, train_all

GIB = 2**30


@dataclass(frozen=True)
class UnitTraining:
    """Trains what a unit plans, but for what other units or studies have trained."""

    experiment: Experiment
    unit: Unit
    model: LanguageModel
    rows: UnitRows
    cache_dir: Path | None
    progress: Progress
    work: SharedWork

    def by_kind(self, adapters: Sequence[Planned]) -> Iterator[list[Candidate]]:
        """The adapters of each kind, in their order; trained stages are kept on disk until the last kind was taken."""
        candidates = self._trained_before(adapters)
        missing = [adapter for adapter in adapters if adapter.id not in candidates]
        begun = time.perf_counter()
        targets = self._ask_teacher(missing)
        teacher = time.perf_counter() - begun if targets is not None else None
        checkpoints = self._checkpoints()
        for kind in dict.fromkeys(adapter.kind for adapter in adapters):
            untrained = [adapter for adapter in missing if adapter.kind == kind]
            if untrained:
                for candidate in self._train(kind, untrained, targets, teacher, checkpoints):
                    candidates[candidate.planned.id] = candidate
            yield [candidates[adapter.id] for adapter in adapters if adapter.kind == kind]
        checkpoints.clear()

    def _key(self, adapter: Planned) -> str:
        """All that an adapter depends on, but for those that are trained beside it."""
        few_shot_set, experiment = self.rows.few_shot_set, self.experiment
        taught = (few_shot_set.train, few_shot_set.dev, few_shot_set.context, few_shot_set.unlabelled)
        shown: tuple[int | None, ...] = (few_shot_set.orders, few_shot_set.order)
        shown += (few_shot_set.most_demonstrations, few_shot_set.seed)
        if (apart := (few_shot_set.start_seed, few_shot_set.order_seed)) != (None, None):
            shown += apart
        teacher = (
            experiment.teacher_dtype,
            experiment.label_scoring,
            None if few_shot_set.task.labels else experiment.teacher_stop,
        )
        how = (adapter.kind, adapter.method, adapter.label_source, adapter.learning_rate, experiment.training)
        model = self.model.fingerprint
        return key_of("adapter", model, form_of(few_shot_set.task), taught, shown, teacher, how)

    def _trained_before(self, adapters: Iterable[Planned]) -> dict[str, Candidate]:
        """Adapters that others have trained, by what this unit calls them."""
        candidates = {}
        for adapter in adapters:
            key = self._key(adapter)
            if (before := self.work.adapter(key)) is not None:
                candidates[adapter.id] = Candidate(adapter, before.trained, before.dev_loss, before.seconds, key)
        if candidates:
            self.progress.say(f"Already trained, loaded from {self.work.folder}: {', '.join(candidates)}.")
        return candidates

    def _ask_teacher(self, adapters: Iterable[Planned]) -> Targets | None:
        """What the teacher does with the set; None where no method needs it."""
        asking = [adapter.method for adapter in adapters if adapter.method.needs_targets]
        if not asking:
            return None
        ask = partial(
            collect_targets,
            teacher_for(self.experiment, self.model, progress=self.progress),
            self.rows.few_shot_set,
            label_scoring=self.experiment.label_scoring,
            teacher_stop=self.experiment.teacher_stop,
            sites=frozenset[Site]().union(*(method.teacher_sites for method in asking)) or (ATTENTION_OUTPUT,),
            cache_dir=self.cache_dir,
            progress=self.progress,
        )
        targets = ask()
        if any(method.teacher_reads_responses for method in asking):
            targets = replace(targets, on_responses=ask(on_responses=True))
        return targets

    def _checkpoints(self) -> Checkpoints:
        """Where stages are kept until the unit is done, the same for whoever computes this unit of this study."""
        owner = {"experiment": self.experiment.model_dump(mode="json"), "unit": self.unit.as_record()}
        return Checkpoints.of(owner, self.model.identity, self.cache_dir)

    def _train(
        self,
        kind: AdapterKind,
        adapters: Sequence[Planned],
        targets: Targets | None,
        teacher: float | None,
        checkpoints: Checkpoints,
    ) -> Iterator[Candidate]:
        """All of a kind, trained together and kept for others; `teacher` is the seconds that asking it took."""
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
        for adapter, made in zip(adapters, trained, strict=True):
            loss = None if made.diverged else comparable_loss(self.model, few_shot_set, adapter.method, made)
            spent = {"train": sum(stage.seconds for stage in made.stages)}
            if adapter.method.needs_targets and teacher is not None:
                spent["teacher"] = teacher
            key = self._key(adapter)
            self.work.keep_adapter(key, TrainedBefore(made, loss, spent))
            yield Candidate(adapter, made, loss, spent, key)
