"""Consistency checks: combinations of a study's settings that contradict each other or have no effect."""

from typing import TYPE_CHECKING

from ia2.adapters.merging import check_merges
from ia2.adapters.registry import label
from ia2.errors import FieldError
from ia2.experiments.baseline_names import RECALIBRATED
from ia2.experiments.questions import pair_of
from ia2.tasks.benchmarks import BENCHMARKS
from ia2.training.methods import METHODS
from ia2.training.objectives import MatchTokens

if TYPE_CHECKING:
    from ia2.experiments.schema import Experiment
    from ia2.experiments.schema_parts import Source


def check_consistent(experiment: "Experiment") -> None:
    """Refuse a study whose settings contradict each other.

    Raises:
        FieldError: two settings contradict each other, or one would have no effect; the error names the field.
    """
    _check_methods(experiment)
    _check_questions(experiment)
    _check_unlabelled(experiment)
    _check_label_sources(experiment)
    _check_adapters(experiment)
    _check_context(experiment)
    _check_evaluation(experiment)
    _check_tasks(experiment)
    _check_forgetting(experiment)


def _check_evaluation(experiment: "Experiment") -> None:
    scores_whole_labels = experiment.label_scoring == "auto" and any(
        source.data is not None for source in experiment.tasks
    )
    scores_whole_labels = scores_whole_labels or experiment.label_scoring == "whole"
    if experiment.confidence != "vocabulary" and scores_whole_labels:
        raise FieldError(
            "confidence", None, "top-10 is for single tokens, but whole labels are scored. Set label_scoring: token."
        )
    if experiment.correct == "stripped" and scores_whole_labels:
        raise FieldError(
            "correct", "stripped", "this is for single tokens, but whole labels are scored. Set label_scoring: token."
        )
    if experiment.measure == "chosen" and experiment.select != "dev":
        raise FieldError("measure", None, "chosen means chosen by dev loss, so set select: dev as well.")
    if experiment.evaluate != "adapters":
        if experiment.load is not None:
            rule = "adapters can't be merged into quantised weights. Set evaluate: adapters, or leave load out."
            raise FieldError("load", experiment.load, rule)
        for source in experiment.tasks:
            for settings in experiment.adapters_of(source):
                check_merges(settings.kind)
    if experiment.demonstrations == "reshuffled" and experiment.order != "random":
        raise FieldError(
            "order",
            experiment.order,
            "demonstrations: reshuffled gives each query its own order. Use one of the two.",
        )


def _check_methods(experiment: "Experiment") -> None:
    # file names carry the label source only if it isn't the ground truth
    names = [
        *experiment.baselines,
        *((method.name, source == "icl-response") for source, method in experiment.fitted_methods),
    ]
    if len(set(names)) < len(names):
        raise FieldError("methods", None, "a method is listed twice.")
    methods = experiment.trained_methods
    if experiment.betas and not any(method.tries_betas for method in methods):
        raise FieldError(
            "betas", experiment.betas[0], "no method here has a weight of the token loss to tune; ia2+sft has."
        )
    if experiment.learning_rates and methods and not any(method.has_learning_rate for method in methods):
        raise FieldError("learning_rates", experiment.learning_rates[0], f"{methods[0].name} has no learning rate.")


def _check_questions(experiment: "Experiment") -> None:
    measured = [*experiment.baselines, *(method.name for method in experiment.trained_methods)]
    compared = [("compare", pair_of(entry)) for entry in experiment.compare]
    compared += [("claims", pair) for claim in experiment.claims for pair in claim.methods]
    for field, pair in compared:
        if absent := [name for name in pair if name not in measured]:
            raise FieldError(field, absent[0], f"the study has no such method; it has {', '.join(measured)}.")
        if pair[0] == pair[1]:
            raise FieldError(field, pair[0], "a method can't be compared with itself.")
    names = [claim.claim for claim in experiment.claims]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise FieldError("claims", repeated[0], "two claims have this name.")


def _check_unlabelled(experiment: "Experiment") -> None:
    for source in experiment.tasks:
        texts = [
            (name, value) for name in ("unlabelled", "unlabelled_rows") if (value := getattr(source, name)) is not None
        ]
        methods = experiment.trained_methods
        if texts and methods and all(stage.labels == "ground-truth" for method in methods for stage in method.stages):
            names = " and ".join(dict.fromkeys(method.name for method in methods))
            raise FieldError(*texts[0], f"{names} learns from labels only; use a method such as ia2-sft.")
        if not texts and (needing := [method.name for method in methods if method.needs_unlabelled]):
            raise FieldError(
                "unlabelled",
                None,
                f"{needing[0]} learns from unlabelled texts, but {source.train} has none. Name a file of them; in a "
                "study, unlabelled_rows: 32 uses rows of the task itself.",
            )


def _check_label_sources(experiment: "Experiment") -> None:
    # a described method keeps the labels of its stages, and alignment stages have none
    built_in = [METHODS[entry] for entry in experiment.methods if isinstance(entry, str) and entry in METHODS]
    fits = any(isinstance(stage.objective, MatchTokens) for method in built_in for stage in method.stages)
    if experiment.label_sources != ("ground-truth",) and not fits:
        raise FieldError(
            "label_sources",
            experiment.label_sources[0],
            "no method of this study uses it: a described method keeps the labels of its stages, and alignment uses "
            "none. Set labels in the description, or leave this out.",
        )


def _check_adapters(experiment: "Experiment") -> None:
    solved_methods = [
        method.name
        for method in experiment.trained_methods
        if method.adapter is None and any(stage.solved for stage in method.stages)
    ]
    adapters = [adapter for source in experiment.tasks for adapter in experiment.adapters_of(source)]
    methods = experiment.trained_methods
    other_kinds = [adapter.kind for adapter in adapters if adapter.kind != "lora"]
    if other_kinds and methods and all(method.adapter is not None for method in methods):
        raise FieldError("adapters", other_kinds[0], f"{methods[0].name} has its own kind of adapter. Leave this out.")
    unfit = [adapter.kind for adapter in adapters if not adapter.adapter.solvable]
    if solved_methods and unfit:
        raise FieldError("adapters", unfit[0], f"{solved_methods[0]} can be solved only for lora and shift.")
    if experiment.load is not None and (needing := [each for each in adapters if each.adapter.needs_plain_weights]):
        name = label(needing[0].adapter.as_record(None))
        rule = (
            f"{name} computes with the model's own weights, which must not be quantised. Use lora, or leave load out."
        )
        raise FieldError("load", experiment.load, rule)


def _check_context(experiment: "Experiment") -> None:
    if experiment.context is None:
        if "context" in experiment.baselines:
            raise FieldError("methods", "context", "this study has no context; name a file under the key context.")
        return
    if experiment.most_demonstrations is not None:
        raise FieldError("most_demonstrations", experiment.most_demonstrations, "a context replaces demonstrations.")
    if (
        experiment.order != "random"
        or experiment.demonstrations != "shared"
        or any(source.orders > 1 for source in experiment.tasks)
    ):
        raise FieldError("context", experiment.context, "this replaces demonstrations, so they have no order to set.")
    if shown := [name for name in experiment.baselines if name in ("icl", *RECALIBRATED)]:
        raise FieldError(
            "context",
            experiment.context,
            f"this replaces demonstrations; use the method context instead of {shown[0]}.",
        )


def _check_forgetting(experiment: "Experiment") -> None:
    used = {name for source in experiment.tasks for name in (source.train, *source.measured)}
    if learnt := [name for name in experiment.forgetting if name in used]:
        raise FieldError("forgetting", learnt[0], "this task is already trained on or evaluated; name other tasks.")
    for name in ("forgetting", "held_text"):
        if getattr(experiment, name) and not experiment.trained_methods:
            raise FieldError(name, None, "no method of the study trains an adapter, so nothing can be forgotten.")


def _check_tasks(experiment: "Experiment") -> None:
    files = {source.train: source for source in experiment.tasks if source.data is not None}
    used = {name for source in experiment.tasks for name in (source.train, *source.measured)}
    for option in sorted(experiment.benchmark_options.changed):
        if not any(option in BENCHMARKS[name].options for name in used.intersection(BENCHMARKS).difference(files)):
            raise FieldError("benchmark_options", None, f"the option {option} is set, but no task of the study has it.")
    seen: dict[tuple[str, str, int], Source] = {}
    for source in experiment.tasks:
        for name in (source.train, *source.measured):
            if experiment.rows_of(name) != source.rows and (name == source.train or name in files):
                raise FieldError("tasks", None, f"two entries of tasks describe the rows of {name} differently.")
        trained = {(model, source.train, n) for model in experiment.models_of(source) for n in experiment.n_of(source)}
        for model, train, n in sorted(trained.intersection(seen)):
            raise FieldError(
                "tasks", None, f"two entries of tasks train {model} on {n} rows of {train}; keep one of them."
            )
        seen |= dict.fromkeys(trained, source)
