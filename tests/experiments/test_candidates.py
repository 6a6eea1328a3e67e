import pytest
from peft import LoraConfig

from ia2.adapters.adapter import Adapter
from ia2.adapters.lora import LoRA
from ia2.errors import FieldError
from ia2.experiments.candidates import Candidate, chosen
from ia2.experiments.plan import Planned
from ia2.progress import Silent
from ia2.training.methods import IA2, SFT
from ia2.training.plans import Trained


def candidate(method, rate, loss, seconds=1.0):
    planned = Planned(LoRA(), method, None, rate)
    return Candidate(
        planned, Trained(Adapter(LoraConfig(), {}), rate, ()), loss, {"train": seconds, "teacher": 0.5}, f"{rate}"
    )


def test_of_each_method_the_lowest_dev_loss_is_chosen_and_knows_all_that_was_tried():
    tried = [
        candidate(SFT, 1e-3, 0.5, 1.0), candidate(SFT, 1e-2, 0.25, 2.0), candidate(IA2, 1e-3, 0.125, 4.0),
        candidate(SFT, 1e-4, 0.75, 8.0),
    ]  # fmt: skip
    sft, ia2 = chosen(tried, Silent())
    assert (sft.planned, sft.dev_loss, ia2.planned) == (tried[1].planned, 0.25, tried[2].planned)
    assert sft.tried == (tried[0], tried[1], tried[3])
    assert sft.seconds == {"train": 11.0, "teacher": 0.5}
    assert [option.as_record() for option in ia2.tried] == [{"lr": 1e-3, "beta": None, "dev_loss": 0.125}]


def test_one_that_diverged_is_left_out_and_said():
    progress, sentences = Silent(), []
    progress.say = sentences.append
    (best,) = chosen([candidate(SFT, 1e-3, 0.5), candidate(SFT, 1.0, None)], progress)
    assert best.planned.learning_rate == 1e-3
    assert sentences == ["sft diverged at learning rate 1, which is left out."]


def test_a_method_that_diverged_at_every_rate_is_refused():
    with pytest.raises(FieldError, match="sft diverged, and there is no other rate") as raised:
        chosen([candidate(SFT, 1.0, None), candidate(SFT, 0.5, None)], Silent())
    assert (raised.value.field, raised.value.value) == ("learning_rate", "0.5, 1")
