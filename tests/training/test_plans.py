import math

import pytest
from peft import LoraConfig

from ia2.adapters.adapter import Adapter
from ia2.errors import InputError
from ia2.models.sites import ATTENTION_OUTPUT, LOGITS
from ia2.prompting.fewshot import FewShotSet
from ia2.training.early_stopping import StageHistory
from ia2.training.methods import IA2, SFT, SOFT_SFT
from ia2.training.plans import Plan, Trained
from ia2.training.teacher import collect_targets


@pytest.fixture
def few(toy_task):
    return FewShotSet.draw(toy_task, 6, seed=1)


def test_alignment_needs_targets(few):
    with pytest.raises(ValueError, match="ia2 learns from the teacher: pass targets=collect_targets"):
        Plan(few, IA2, 1e-3)


def test_targets_must_hold_what_the_method_reads(tiny_model, few, tmp_path):
    targets = collect_targets(tiny_model, few, sites=[ATTENTION_OUTPUT], cache_dir=tmp_path)
    assert Plan(few, IA2, 1e-3, targets).targets is targets
    with pytest.raises(ValueError, match=f"sft-soft reads {LOGITS} of the teacher"):
        Plan(few, SOFT_SFT, 1e-3, targets)


@pytest.mark.parametrize("rate", [0.0, -1e-3, math.nan, math.inf])
def test_learning_rates_that_take_no_step_are_refused(few, rate):
    with pytest.raises(InputError, match="positive number"):
        Plan(few, SFT, rate)


def history(stopped_by, loss):
    return StageHistory("match-tokens", 2, 2, 2, stopped_by, (1.0, 0.5), ((2, loss),))


def test_an_outcome_has_the_dev_loss_of_its_last_stage_and_diverged_if_any_stage_did():
    fresh, aligned, tuned = (Adapter(LoraConfig(), {}) for _ in range(3))
    first = Trained(fresh, None, ()).then(aligned, history("patience", 0.5), 1e-3)
    second = first.then(tuned, history("epochs", 0.25), 1e-2)
    assert (first.dev_loss, second.dev_loss) == (0.5, 0.25)
    assert second.adapter is tuned
    assert (second.learning_rate, len(second.stages)) == (1e-2, 2)
    assert not second.diverged
    lost = first.then(aligned, history("diverged", math.nan), 1e-2)
    assert (lost.diverged, lost.dev_loss) == (True, math.inf)
