import math
from dataclasses import replace

import pytest

from ia2.errors import FieldError, InputError
from ia2.models.sites import ATTENTION_LAYERS, ATTENTION_OUTPUT, LOGITS, Site
from ia2.training.methods import (
    ALIGN,
    FINE_TUNE,
    IA2,
    IA2_THEN_SFT,
    IA2_WITH_SFT,
    METHODS,
    OTHER_BETAS,
    QWEN_BETAS,
    SFT,
    SFT_THEN_IA2,
    SOLVED,
    Method,
    Stage,
    betas_for,
    method_named,
)
from ia2.training.objectives import Align, AlignAndMatch, MatchDistribution, MatchTokens


def test_methods_are_the_papers_and_ours():
    assert SFT.stages == (FINE_TUNE,)
    assert IA2.stages == (ALIGN,)
    assert IA2_THEN_SFT.stages == (ALIGN, FINE_TUNE)
    assert SFT_THEN_IA2.stages == (FINE_TUNE, ALIGN)
    assert {name: method.name for name, method in METHODS.items()} == {name: name for name in METHODS}


def test_only_what_learns_from_the_teacher_needs_its_targets():
    assert [name for name, method in METHODS.items() if not method.needs_targets] == ["sft"]
    assert [name for name, method in METHODS.items() if LOGITS in method.teacher_sites] == [
        "ia2+soft",
        "sft-soft",
        "context-distillation",
    ]
    assert [name for name, method in METHODS.items() if not method.has_learning_rate] == [
        "ia2-solved",
        "mean-shift",
    ]
    assert ALIGN.labels == "icl-response"
    assert FINE_TUNE.labels == "ground-truth"


def test_fine_tuning_can_fit_what_the_teacher_answered():
    changed = IA2_THEN_SFT.fine_tuned_on("icl-response")
    assert changed.stages == (ALIGN, replace(FINE_TUNE, labels="icl-response"))
    assert changed.fine_tuned_on("ground-truth") == IA2_THEN_SFT
    assert IA2.fine_tuned_on("icl-response") == IA2


def test_the_weight_of_the_token_loss_is_tried_where_a_method_says_so():
    assert [one.beta for one in IA2_WITH_SFT.candidates((0.1, 0.7))] == [0.1, 0.7]
    assert SFT.candidates((0.1, 0.7)) == (SFT,)
    assert SFT.beta is None
    assert betas_for("qwen3") == QWEN_BETAS
    assert betas_for("llama") == OTHER_BETAS


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: replace(FINE_TUNE, steps_of=IA2_THEN_SFT.stages, epochs=3), "leave solved and epochs out"),
        (lambda: replace(FINE_TUNE, steps_of=SOLVED.stages), "must name a method that takes steps"),
        (lambda: replace(FINE_TUNE, steps_of=METHODS["sft-long"].stages), "and has no steps_of itself"),
        (lambda: Stage(MatchTokens(), "ground-truth", solved=True), "only plain alignment"),
        (lambda: replace(FINE_TUNE, rows="unlabelled"), "unlabelled texts have only the teacher's responses"),
        (lambda: replace(FINE_TUNE, learning_rate=0.0), "learning_rate 0: .* positive number"),
        (lambda: replace(FINE_TUNE, learning_rate=-1.0), "learning_rate -1: .* positive number"),
        (lambda: replace(FINE_TUNE, learning_rate=math.nan), "learning_rate nan: .* positive number"),
        (lambda: replace(FINE_TUNE, learning_rate=math.inf), "learning_rate inf: .* positive number"),
        (lambda: replace(FINE_TUNE, epochs=0), "epochs 0: this must be 1 or more"),
        (lambda: AlignAndMatch(1.5), "beta 1.5"),
        (lambda: MatchDistribution(0), "top 0"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_unknown_methods_are_refused_with_what_was_meant():
    assert method_named("ia2-sft") is IA2_THEN_SFT
    assert method_named("ia2-solved") is SOLVED
    with pytest.raises(InputError, match="method ia-sft: no such method. Did you mean ia2-sft"):
        method_named("ia-sft")


def test_a_method_that_takes_the_steps_of_another_needs_what_that_one_needs():
    long = METHODS["sft-long"]
    assert long.needs_targets
    assert long.teacher_sites == IA2_THEN_SFT.teacher_sites
    assert long.fits_tokens
    # whatever it fits, the other one fits too
    other = long.fine_tuned_on("icl-response")
    assert other.stages[0].labels == "icl-response"
    assert other.stages[0].steps_of == IA2_THEN_SFT.fine_tuned_on("icl-response").stages


def test_what_fits_distributions_is_not_taught_how_responses_end():
    assert METHODS["ia2+sft"].fits_tokens
    assert not METHODS["ia2+soft"].fits_tokens
    assert not METHODS["sft-soft"].fits_tokens


def test_the_teacher_reads_responses_where_it_is_compared_on_them():
    assert Method("mine", "", (Stage(Align(), "ground-truth"),)).teacher_reads_responses
    assert not any(method.teacher_reads_responses for method in METHODS.values())


@pytest.mark.parametrize("name", ["ia2", "ia2-sft", "sft-ia2", "ia2+sft"])
def test_attention_alone_changes_the_site_that_is_aligned_and_nothing_else(name):
    method = METHODS[name].on_attention_alone
    assert method.teacher_sites == {ATTENTION_LAYERS}
    assert METHODS[name].teacher_sites == {ATTENTION_OUTPUT}
    assert method.aligns_mixers
    assert METHODS[name].aligns_mixers
    assert [(stage.labels, stage.objective.name) for stage in method.stages] == [
        (stage.labels, stage.objective.name) for stage in METHODS[name].stages
    ]


def test_methods_that_align_no_mixers_stay_as_they_are_and_solved_ones_are_refused():
    for name in ("sft", "sft-soft"):
        assert METHODS[name].on_attention_alone == METHODS[name]
        assert not METHODS[name].aligns_mixers
    residual = Method("mine", "", (Stage(Align(Site("residual")), "icl-response"),))
    assert residual.on_attention_alone == residual
    with pytest.raises(
        FieldError, match=r"^align attention: ia2-solved is solved for all mixers\. Use ia2 or ia2-sft\.$"
    ):
        _ = METHODS["ia2-solved"].on_attention_alone
