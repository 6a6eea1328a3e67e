"""What an optimiser step, a dev evaluation and a decoded token ask of a device, counted where there is no GPU.

On a GPU every operation is a kernel to be launched, and every answer that Python waits for a time in which nothing is.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from benchmarks.dispatched import Dispatched, dispatched
from ia2.adapters.adapter import bank_of, fresh_adapter
from ia2.adapters.lora import LoRA
from ia2.adapters.registry import effect_of
from ia2.models.decoding import decode
from ia2.models.layout import lay_out
from ia2.models.load import LanguageModel
from ia2.models.reader import Reader
from ia2.models.responses import Limits
from ia2.models.sequences import TokenSequence
from ia2.models.sites import ATTENTION_OUTPUT
from ia2.prompting.fewshot import FewShotSet
from ia2.tasks.task import Task
from ia2.training.early_stopping import EarlyStopping, Training
from ia2.training.job import Job
from ia2.training.loop import RunningStage
from ia2.training.methods import ALIGN, FINE_TUNE, Stage
from ia2.training.student import StageRows
from ia2.training.targets import Targets
from ia2.training.teacher import collect_targets

STAGES = {"sft": FINE_TUNE, "ia2": ALIGN}
SHORT, LONG = 4, 12
"""Tokens of two responses, whose difference is what a token costs."""


def counted_steps(model: LanguageModel, task: Task, folder: Path) -> dict[str, dict[str, int]]:
    """Operations and waits of each step, by what it is.

    Args:
        model: what is adapted.
        task: what it is adapted to.
        folder: for the teacher's targets.

    Returns:
        For each step the operations that it dispatches, those that the network alone would, and how often it waits.
    """
    few = FewShotSet.draw(task, 8)
    targets = collect_targets(model, few, cache_dir=folder)
    network, steps = _network_alone(model), dict[str, dict[str, int]]()
    for name, stage in STAGES.items():
        for rates in (LoRA.learning_rates[:1], LoRA.learning_rates):
            running = _running(model, few, targets, stage, rates)
            adapters = "one adapter" if len(rates) == 1 else f"{len(rates)} adapters"
            with _at_hand(targets, stage, model):
                running.step()
                steps[f"optimiser step, {name}, {adapters}"] = _counts(dispatched(running.step), network)
                steps[f"dev evaluation, {name}, {adapters}"] = _counts(dispatched(running.evaluate_due), None)
    reader = Reader(model.network, bank_of(model.network, [_fresh(model)]))
    for name, sites in (("decoded token", []), ("decoded token, recorded", [ATTENTION_OUTPUT])):
        short, long = (
            dispatched(lambda most=most, sites=sites: list(decode(reader, [(5, 9, 13)], Limits(most), sites=sites)))
            for most in (SHORT, LONG)
        )
        steps[name] = {
            kind: (_counts(long, None)[kind] - _counts(short, None)[kind]) // (LONG - SHORT)
            for kind in ("operations", "waits")
        }
    return steps


def described(steps: dict[str, dict[str, int]]) -> str:
    """The counts as lines to be printed."""
    lines = []
    for name, counts in steps.items():
        network = f", {counts['network']:,} of them the network's own" if "network" in counts else ""
        waits = "1 wait" if counts["waits"] == 1 else f"{counts['waits']} waits"
        lines.append(f"{name}: {counts['operations']:,} operations{network}, {waits}")
    return "\n".join(lines)


def _counts(counted: Dispatched, network: int | None) -> dict[str, int]:
    counts = {"operations": counted.operations.total(), "waits": counted.waits.total()}
    return counts if network is None else {**counts, "network": network}


def _fresh(model: LanguageModel) -> Any:
    return fresh_adapter(model.network, LoRA().configuration(model.network), 0)


def _running(
    model: LanguageModel, few: FewShotSet, targets: Targets, stage: Stage, rates: Sequence[float]
) -> RunningStage:
    """Adapters of a set on their way, one at each learning rate."""
    rows, start = StageRows.of(stage, few, targets, model), _fresh(model)
    stops = [EarlyStopping(few.n, few.seed, Training(dev_every=1)) for _ in rates]
    jobs = [Job(rows, start, stopping, rate, 0) for stopping, rate in zip(stops, rates, strict=True)]
    effect = effect_of(start.configuration)
    assert effect is not None, "every kind of adapter has an effect"
    return RunningStage(model.network, jobs, effect, Training())


@contextmanager
def _at_hand(targets: Targets, stage: Stage, model: LanguageModel) -> Iterator[None]:
    """Hold what a stage reads of the teacher in memory."""
    needed = [(rows, site) for rows in (targets.taught, targets.dev) for site in stage.objective.teacher_sites]
    for rows, site in needed:
        rows.load(site, model.network.device)
    yield
    for rows, _ in needed:
        rows.let_go()


def _network_alone(model: LanguageModel) -> int:
    """Operations of a forward and a backward pass through the network, to its first layer, without any adapter."""
    network = model.network
    batch = lay_out([TokenSequence((5, 9, 13), (7,))])
    hidden = network.get_input_embeddings()(batch.input_ids).detach().requires_grad_(True)

    def work() -> None:
        mask = torch.full((1, 1, hidden.shape[1], hidden.shape[1]), -torch.inf, dtype=hidden.dtype).triu(1)
        output = network.base_model(
            inputs_embeds=hidden, position_ids=batch.position_ids, attention_mask=mask, use_cache=False
        ).last_hidden_state
        output.backward(torch.ones_like(output))

    return dispatched(work).operations.total()
