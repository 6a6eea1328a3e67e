"""The whole path on a real model and real rows."""

import re
from dataclasses import replace

import pytest
import torch
from command_line import predictions_of, records_of, run
from conftest import REAL
from peft import PeftModel

from ia2.adapters.adapter import Adapter, attached
from ia2.evaluation.evaluate import EvaluationSettings, evaluate
from ia2.experiments.baseline_names import LOGISTIC, RECALIBRATED
from ia2.models import gguf, packaged
from ia2.models.forward import response_logits
from ia2.models.layout import lay_out
from ia2.models.load import load_model
from ia2.models.sequences import TokenSequence
from ia2.prompting.fewshot import FewShotSet
from ia2.prompting.prompts import PromptTokenizer
from ia2.tasks.load import load_task
from ia2.training.early_stopping import Training
from ia2.training.methods import IA2
from ia2.training.teacher import collect_targets
from ia2.training.train import train

pytestmark = REAL
MODEL = "smollm2-135m"


def test_the_packaged_model_speaks(smollm2):
    tokenizer = PromptTokenizer(smollm2.tokenizer)
    for prompt, expected in (("The capital of France is", " Paris"), ("One, two, three,", " four")):
        batch = lay_out([TokenSequence(tokenizer.prompt(prompt), (0,))])
        with torch.no_grad():
            (token,) = response_logits(smollm2.network, batch).argmax(-1).tolist()
        assert tokenizer.text([token]) == expected


def test_the_second_start_neither_fetches_nor_dequantises(smollm2, monkeypatch):
    monkeypatch.setattr(packaged, "_download", lambda *_a: pytest.fail("it was fetched again"))
    monkeypatch.setattr(gguf, "folder_written_whole", lambda *_a, **_k: pytest.fail("it was dequantised again"))
    again = load_model(MODEL)
    assert again.identity == smollm2.identity
    assert all(
        torch.equal(one, other)
        for one, other in zip(again.network.parameters(), smollm2.network.parameters(), strict=True)
    )


def test_sixteen_demonstrations_teach_the_reviews_and_none_do_not(smollm2):
    task = load_task("reviews")
    for seed in (0, 1):
        few = FewShotSet.draw(task, 16, seed).limited(100)
        learnt = evaluate(smollm2, few.evaluation, task, demonstrations=few.demonstrations()).metrics()
        assert learnt["accuracy"] >= 0.95
    assert evaluate(smollm2, few.evaluation, task).metrics()["accuracy"] <= 0.5


def test_padding_batch_size_and_prefill_change_nothing(smollm2, data_dir):
    few = FewShotSet.draw(load_task("agnews", data_dir=data_dir), 4).limited(7)
    ways = [("packed", 16, True), ("packed", 3, False), ("left", 3, True), ("right", 16, False), ("left", 1, False)]
    answers = [
        evaluate(
            smollm2,
            few.evaluation,
            few.task,
            demonstrations=few.demonstrations(),
            settings=EvaluationSettings(layout=layout, batch_size=size, share_prefill=shared),
        ).predictions
        for layout, size, shared in ways
    ]
    for other in answers[1:]:
        for a, b in zip(answers[0], other, strict=True):
            assert (a.predicted, a.label_predicted) == (b.predicted, b.label_predicted)
            assert (a.confidence, a.label_confidence) == pytest.approx((b.confidence, b.label_confidence), abs=1e-5)


def test_alignment_brings_a_real_model_nearer_to_its_teacher(smollm2, tmp_path):
    few = FewShotSet.draw(load_task("reviews"), 4)
    targets = collect_targets(smollm2, few, cache_dir=tmp_path)
    trained = train(smollm2, few, IA2, learning_rate=1e-3, targets=targets, training=Training(epochs=12))
    (stage,) = trained.stages
    assert min(stage.train_losses[-2:]) < 0.75 * stage.train_losses[0]
    assert stage.dev_loss < stage.dev_losses[0][1]


def test_a_benchmark_becomes_an_adapter_that_peft_loads(smollm2, data_dir, tmp_path, capsys):
    out = tmp_path / "out"
    settings = ("--task", "sst2", "--data-dir", data_dir, "--n", "8", "--lr", "1e-3", "--epochs", "12", "--limit", "30")
    status, table, err = run(capsys, "adapt", "--model", MODEL, *settings, "--out", out)
    assert status == 0, err
    records = records_of(out)
    assert records.keys() == {"zero-shot", "icl", *RECALIBRATED, *LOGISTIC, "sft", "ia2-sft"}
    assert len(re.findall(r"│ (?:zero-shot|ICL|logistic|SFT|IA2→SFT) ", table)) == 8
    assert records["ia2-sft"]["metrics"]["accuracy"] > records["zero-shot"]["metrics"]["accuracy"]
    assert records["icl"]["metrics"]["asim"] == pytest.approx(1, abs=1e-4)
    assert records["ia2-sft"]["metrics"]["asim"] > records["zero-shot"]["metrics"]["asim"]
    ids = torch.tensor([smollm2.tokenizer("Text:a fine film\nLabel:")["input_ids"]])
    with torch.no_grad():
        plain = smollm2.network(ids).logits
        with attached(smollm2.network, Adapter.load(out / "adapter")):
            ours = smollm2.network(ids).logits
        theirs = PeftModel.from_pretrained(load_model(MODEL).network, str(out / "adapter"))(ids).logits
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert not torch.allclose(ours, plain, atol=1e-2)


def test_labels_of_more_than_one_token_are_refused_or_scored_whole(smollm2, data_dir, tmp_path, capsys):
    adapt = ("adapt", "--model", MODEL, "--task", "sciq_remap", "--data-dir", data_dir, "--n", "2", "--limit", "20")
    status, _, err = run(capsys, *adapt, "--out", tmp_path / "no")
    assert status == 2
    assert re.search(
        r"^--label-scoring auto: the first token decides.*sciq_remap.* the label 'banana' is 2 tokens .*Use whole",
        err,
        flags=re.MULTILINE,
    )
    whole = ("--label-scoring", "whole")
    status, _, err = run(capsys, *adapt, *whole, "--lr", "1e-3", "--epochs", "4", "--out", tmp_path / "out")
    assert status == 0, err
    record = records_of(tmp_path / "out")["ia2-sft"]
    assert {row["predicted"] for row in predictions_of(tmp_path / "out", "ia2-sft")} <= {
        "apple",
        "Friday",
        "banana",
        "Saturday",
    }
    assert record["options"]["label_scoring"] == "whole"
    evaluating = ("evaluate", "--model", MODEL, "--task", "qasc_remap", "--data-dir", data_dir, "--limit", "20")
    status, _, err = run(capsys, *evaluating)
    assert status == 2
    assert "'banana' is 2 tokens" in err
    status, _, err = run(capsys, *evaluating, *whole, "--adapter", tmp_path / "out" / "adapter")
    assert status == 0, err


def test_text_is_read_as_deep_as_the_model_can(smollm2):
    assert smollm2.context_length == 8192
    few = FewShotSet.draw(load_task("reviews"), 2)
    long = replace(few.evaluation[0], query=few.evaluation[0].query.replace("was", "was very " + "very " * 8200))
    with pytest.raises(ValueError, match="but the model reads 8192"):
        evaluate(smollm2, [long], few.task)
