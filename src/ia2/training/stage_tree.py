"""Which stages plans share: a stage with which several begin, trained alike, is trained once.

The planner counts the nodes of this tree, and the trainer descends it level by level.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar, runtime_checkable

from ia2.training.methods import Method, Stage


@runtime_checkable
class Staged(Protocol):
    """An adapter that is to be trained."""

    @property
    def method(self) -> Method:
        """Its stages."""

    @property
    def learning_rate(self) -> float:
        """The learning rate of every stage that has none of its own."""


P = TypeVar("P", bound=Staged)


@dataclass(frozen=True)
class StageKey:
    """All that an adapter depends on after some stages."""

    stages: tuple[Stage, ...]
    learning_rate: float | None
    """None where each of these stages has its own, or takes no steps."""
    group: Hashable
    """What else it depends on, such as the set and the kind of adapter."""


@dataclass
class StageNode(Generic[P]):
    """A stage behind those before it, and the plans that it serves."""

    key: StageKey
    parent: StageKey | None
    """The node that it starts from; None for a fresh adapter."""
    plans: list[P] = field(default_factory=list)

    @property
    def stage(self) -> Stage:
        """What is trained."""
        return self.key.stages[-1]


Group = Callable[[P, tuple[Stage, ...]], Hashable]


def stage_tree(plans: Sequence[P], group: Group[P]) -> list[list[StageNode[P]]]:
    """The stages of all plans, level by level: those that start from a fresh adapter, those behind them, and so on.

    Args:
        plans: what is to be trained.
        group: what an adapter of a plan depends on after these stages, beside them and their learning rate.

    Returns:
        For each level its nodes, in the order of the plans that need them first.
    """
    nodes: dict[StageKey, StageNode[P]] = {}
    level_of: dict[StageKey, int] = {}

    def add(plan: P, stages: tuple[Stage, ...]) -> StageKey:
        key = key_of(plan, stages, group)
        before = [add(plan, stages[:-1])] if len(stages) > 1 else []
        # a stage that takes the steps of others is trained once these are known
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
    """What an adapter of a plan depends on after its first `depth` stages."""
    return key_of(plan, plan.method.stages[:depth], group)


def key_of(plan: P, stages: tuple[Stage, ...], group: Group[P]) -> StageKey:
    """What an adapter depends on after these stages, on the set and at the rate of a plan."""
    counted = tuple(of for stage in stages for of in stage.steps_of)
    all_have_their_own = all(stage.solved or stage.learning_rate is not None for stage in (*stages, *counted))
    return StageKey(stages, None if all_have_their_own else plan.learning_rate, group(plan, stages))
