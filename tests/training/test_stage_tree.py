from dataclasses import dataclass

from ia2.training.methods import ALIGN, FINE_TUNE, IA2, IA2_THEN_SFT, METHODS, SFT, SOLVE, SOLVED, Method
from ia2.training.stage_tree import stage_key, stage_tree


@dataclass(frozen=True)
class ObjectiveTargets:
    method: Method
    learning_rate: float
    seed: int = 0


def by_seed(plan, stages):
    return plan.seed


def test_a_stage_with_which_several_begin_stands_once_and_knows_whom_it_serves():
    plans = [ObjectiveTargets(method, rate) for method in (SFT, IA2, IA2_THEN_SFT) for rate in (1e-3, 1e-2)]
    first, second = stage_tree(plans, by_seed)
    assert [(node.stage, node.key.learning_rate) for node in first] == [
        (FINE_TUNE, 1e-3), (FINE_TUNE, 1e-2), (ALIGN, 1e-3), (ALIGN, 1e-2)
    ]  # fmt: skip
    assert [len(node.plans) for node in first] == [1, 1, 2, 2]
    assert all(node.parent is None for node in first)
    assert [node.parent for node in second] == [first[2].key, first[3].key]
    assert [node.plans for node in second] == [[plans[4]], [plans[5]]]


def test_a_stage_that_no_rate_reaches_serves_all_rates():
    plans = [ObjectiveTargets(method, rate) for method in (SOLVED, METHODS["ia2-solved-sft"]) for rate in (1e-3, 1e-2)]
    first, second = stage_tree(plans, by_seed)
    assert [(node.stage, node.key.learning_rate, len(node.plans)) for node in first] == [(SOLVE, None, 4)]
    assert [node.key.learning_rate for node in second] == [1e-3, 1e-2]


def test_what_else_an_adapter_depends_on_keeps_stages_apart():
    plans = [ObjectiveTargets(SFT, 1e-3, seed) for seed in (0, 1, 0)]
    ((*nodes,),) = stage_tree(plans, by_seed)
    assert [len(node.plans) for node in nodes] == [2, 1]
    assert stage_key(plans[0], 1, by_seed) == stage_key(plans[2], 1, by_seed) == nodes[0].key
    assert stage_tree([], by_seed) == []


def test_a_stage_that_takes_the_steps_of_others_stands_behind_them():
    long = METHODS["sft-long"]
    plans = [ObjectiveTargets(long, 1e-3), ObjectiveTargets(SFT, 1e-3), ObjectiveTargets(IA2_THEN_SFT, 1e-3)]
    first, second, third = stage_tree(plans, by_seed)
    assert [node.stage for node in first] == [ALIGN, FINE_TUNE]
    # the stages that are counted are those of the method itself, trained once
    assert [(node.stage, node.plans) for node in second] == [(FINE_TUNE, [plans[0], plans[2]])]
    assert [(node.stage, node.parent) for node in third] == [(long.stages[0], None)]
    # without that method they are trained for the sake of their steps alone
    assert [[node.stage for node in level] for level in stage_tree(plans[:1], by_seed)] == [
        [ALIGN], [FINE_TUNE], [long.stages[0]]
    ]  # fmt: skip
