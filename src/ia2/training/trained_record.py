"""The record of a trained adapter, before any evaluation."""

from dataclasses import asdict
from typing import Any

from ia2.adapters.kind import AdapterKind
from ia2.models.load import LanguageModel
from ia2.prompting.fewshot import FewShotSet
from ia2.records import AdapterRecord, Metrics, ModelRecord, Options, Record, StageRecord, TaskRecord, without_nan
from ia2.training.methods import Method
from ia2.training.plans import Trained


def trained_record(
    model: LanguageModel,
    few_shot_set: FewShotSet,
    method: Method,
    kind: AdapterKind,
    trained: Trained,
    **options: Any,
) -> Record:
    """Return the record of a trained adapter: model, rows, method, sizes, stages, and the chosen settings.

    Args:
        model: the base model.
        few_shot_set: the training set.
        method: the training method.
        kind: the adapter's kind and sizes.
        trained: the result of training.
        options: further record fields, such as the dev loss.

    Returns:
        A record whose metrics have no evaluated rows.
    """
    task, labels = few_shot_set.task, [stage.labels for stage in method.stages]
    return Record(
        method=method.name,
        model=ModelRecord(**model.identity.as_record()),
        task=TaskRecord(**task.as_record(trained_on=task.name)),
        n=few_shot_set.n,
        seed=few_shot_set.seed,
        lr=trained.learning_rate,
        adapter=AdapterRecord(**kind.as_record(None)),
        metrics=Metrics(n=0),
        stages=[StageRecord(**without_nan(asdict(stage))) for stage in trained.stages],
        options=Options.model_validate({**few_shot_set.as_record(), "label_sources": labels, **options}),
    )
