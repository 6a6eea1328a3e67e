"""The tree of stages: an initial sequence of stages that several plans share is trained once.

The planner counts the nodes of this tree, and the trainer walks it level by level.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar, runtime_checkable

from ia2.training.methods import Method, Stage


@runtime_checkable
class Staged(Protocol):
    """An adapter to train."""

    @property
    def method(self) -> Method:
        """The method, which defines the stages."""

    @property
    def learning_rate(self) -> float:
        """Learning rate of every stage that doesn't set one."""


P = TypeVar("P", bound=Staged)


@dataclass(frozen=True)
class StageKey:
    """Everything that an adapter depends on after some stages."""

    stages: tuple[Stage, ...]
    learning_rate: float | None
    """None if each of these stages sets its own, or takes no steps."""
    group: Hashable
    """Further dependencies, such as the few-shot set and the kind of adapter."""


@dataclass
class StageNode(Generic[P]):
    """A stage that follows its predecessors, and the plans that need it."""

    key: StageKey
    parent: StageKey | None
    """The node whose adapter it starts from; None for a fresh adapter."""
    plans: list[P] = field(default_factory=list)

    @property
    def stage(self) -> Stage:
        """The stage to train."""
        return self.key.stages[-1]


Group = Callable[[P, tuple[Stage, ...]], Hashable]


def stage_tree(plans: Sequence[P], group: Group[P]) -> list[list[StageNode[P]]]:
    """Return the stages of all plans by level: those that start from a fresh adapter, those that follow, and so on.

    Args:
        plans: the adapters to train.
        group: returns what a plan's adapter depends on after some stages, besides these and their learning rate.

    Returns:
        The nodes of each level, in the order of the plans that first need them.
    """
    nodes: dict[StageKey, StageNode[P]] = {}
    level_of: dict[StageKey, int] = {}

    def add(plan: P, stages: tuple[Stage, ...]) -> StageKey:
        key = key_of(plan, stages, group)
        before = [add(plan, stages[:-1])] if len(stages) > 1 else []
        # a stage with `steps_of` must wait until the steps of those stages are known
        counted = [add(plan, stages[-1].steps_of)] if stages[-1].steps_of else []
        level_of[key] = 1 + max((level_of[earlier] for earlier in before + counted), default=-1)
        node = nodes.setdefault(key, StageNode(key, before[0] if before else None))
        if not node.plans or node.plans[-1] is not plan:
            node.plans.append(plan)
        return key

    for plan in plans:
        add(plan, plan.method.stages)
    levels: list[list[StageNode[P]]] = [[] for _ in range(max(level_of.values(), default=-1) + 1)]
    for key, node in nodes.items():
        levels[level_of[key]].append(node)
    return levels


def stage_key(plan: P, depth: int, group: Group[P]) -> StageKey:
    """Return the key of a plan's adapter after its first `depth` stages."""
    return key_of(plan, plan.method.stages[:depth], group)


def key_of(plan: P, stages: tuple[Stage, ...], group: Group[P]) -> StageKey:
    """Return the key of an adapter after these stages, with a plan's few-shot set and learning rate."""
    counted = tuple(of for stage in stages for of in stage.steps_of)
    all_set_rates = all(stage.solved or stage.learning_rate is not None for stage in (*stages, *counted))
    return StageKey(stages, None if all_set_rates else plan.learning_rate, group(plan, stages))
