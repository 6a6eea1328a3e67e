import pytest

from ia2.errors import InputError
from ia2.models.sites import Site
from ia2.training.layer_weights import Layers
from ia2.training.method_files import load_method
from ia2.training.methods import METHODS, Stage
from ia2.training.objectives import Align, AlignAndMatch, MatchDistribution, MatchTokens


def test_a_file_describes_stages(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        """
name: mine
description: upper layers first
stages:
  - {objective: align, error: relative, layers: every 2, learning_rate: 1.0e-3, epochs: 5}
  - {objective: align, solved: true}
  - {objective: align, layers: 3, weights: [1, 0, 2, 1]}
  - {objective: match-distribution, top: 10}
  - {objective: align-and-match, beta: 0.5}
  - {objective: match-tokens, labels: icl-response}
  - {objective: match-tokens}
  - {objective: align, site: mlp-output, positions: all}
  - {objective: align-and-match, beta: 0.2, site: residual, layers: 3}
  - {objective: align-attention, layers: 3}
  - {objective: match-tokens, smoothing: 0.1, steps_of: ia2-sft, labels: icl-response}
  - {objective: align-and-match, beta: 0.2, match: distribution, top: 5, labels: ground-truth, error: cosine}
"""
    )
    method = load_method(path)
    assert (method.name, method.description) == ("mine", "upper layers first")
    assert method.stages == (
        Stage(Align(error="relative", layers=Layers("every 2")), "icl-response", 1e-3, 5),
        Stage(Align(), "icl-response", solved=True),
        Stage(Align(layers=Layers("3", (1.0, 0.0, 2.0, 1.0))), "icl-response"),
        Stage(MatchDistribution(10), "icl-response"),
        Stage(AlignAndMatch(0.5), "icl-response"),
        Stage(MatchTokens(), "icl-response"),
        Stage(MatchTokens(), "ground-truth"),
        Stage(Align(Site("mlp-output", "all")), "icl-response"),
        Stage(AlignAndMatch(0.2, Align(Site("residual"), layers=Layers("3"))), "icl-response"),
        # what version 0.1 called it
        Stage(Align(layers=Layers("3")), "icl-response"),
        Stage(MatchTokens(0.1), "icl-response", steps_of=METHODS["ia2-sft"].fine_tuned_on("icl-response").stages),
        Stage(AlignAndMatch(0.2, Align(error="cosine"), MatchDistribution(5)), "ground-truth"),
    )
    assert not method.tries_betas


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: a", "stages: field required"),
        ("name: a\nstages: []", "stages: list should have at least 1 item"),
        ("name: a\nstages: [{objective: guess}]", "stages.0: .*guess"),
        ("name: a\nstages: [{objective: align, site: mlp}]", r"stages.0.align.site: .*mlp-output.*given: mlp\)"),
        ("name: a\nstages: [{objective: align, site: logits}]", "distributions are matched, not aligned"),
        ("name: a\nstages: [{objective: match-tokens, rate: 1}]", "stages.0.match-tokens.rate: extra inputs"),
        (
            "name: a\nstages: [{objective: match-tokens, epochs: 0}]",
            "stages.0.match-tokens.epochs: this must be 1 or more",
        ),
        ("name: a\nstages: [{objective: align, layers: most}]", "layers 'most': use all"),
        ("name: a\nstages: [{objective: align, labels: rows}]", "labels: .*ground-truth.*icl-response"),
        ("name: a\nstages: [{objective: match-tokens, steps_of: ia2sft}]", "steps_of.*Did you mean"),
        ("name: a\nstages: [{objective: match-tokens, steps_of: ia2+sft}]", "steps_of: this tries several β"),
        ("name: a\nstages: [{objective: align-and-match, beta: 0.5, top: 5}]", "top 5: this goes with match: distrib"),
        ("name: SFT\nstages: [{objective: match-tokens}]", "SFT is taken"),
        ("name: icl\nstages: [{objective: match-tokens}]", "icl is taken"),
        ("name: a\nstages: [{objective: align, solved: true, epochs: 3}]", "takes no steps"),
        ("name: ../a\nstages: [{objective: match-tokens}]", "name: .*pattern"),
        ("- 1", "the whole file: "),
        ("a: [", "this is not valid YAML"),
    ],
)
def test_what_describes_no_method_is_refused_by_its_place(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        load_method(path)
    assert str(error.value).startswith(f"--method {path}: ")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none.yaml: this file can't be read \(No such file"):
        load_method(tmp_path / "none.yaml")
