import json
import re
import shutil

import pytest
import study_records
import torch
from command_line import ROWS, THINGS, adapt, predictions_of, records_of, run, write_csv
from conftest import byte_level_tokenizer, tiny_network
from peft import AutoPeftModelForCausalLM, PeftModel

from ia2.experiments import loading
from ia2.experiments.baseline_names import LOGISTIC, RECALIBRATED
from ia2.training.methods import METHODS


def first_cells(out):
    """What the rows of a printed table begin with."""
    return re.findall(r"^│ ([^│]+?) +│", out, flags=re.MULTILINE)


def phases(err):
    """The names of what was computed, a line for each when it is done."""
    return re.findall(r"^(.+): \d+ in [\d.]+ s$", err, flags=re.MULTILINE)


def test_a_file_of_forty_gives_twenty_ten_and_ten_and_an_adapter_that_peft_loads(capsys, tmp_path, model, file):
    status, out, err = adapt(capsys, tmp_path, model, file, "--lr", "1e-3", "1e-2", "--method", "ia2")
    assert status == 0, err
    assert "N = 20, 10 dev rows, 10 evaluation rows" in err
    assert "'text' is used as the text" in err
    assert "'label' is used as the label" in err
    assert "Whole labels are scored against each other" in err
    assert "Labels follow the colon with one space" in err
    parts = {"adapter", "adapters", "plan.json", "predictions", "records", "units"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == parts
    records = records_of(tmp_path / "out")
    assert records.keys() == {"zero-shot", "icl", *RECALIBRATED, *LOGISTIC, "sft", "ia2"}
    assert first_cells(out) == [
        *("zero-shot", "ICL", "ICL contextual", "ICL batch", "logistic hidden", "logistic TF-IDF", "SFT", "IA2"),
    ]
    for name, record in records.items():
        assert record["metrics"]["n"] == 10
        assert record["task"]["labels"] == [" 0", " 1"]
        assert len(predictions_of(tmp_path / "out", name)) == 10
    assert (tmp_path / "out" / records["sft"]["adapter"]["path"] / "adapter_config.json").is_file()
    assert PeftModel.from_pretrained(tiny_network("llama"), str(tmp_path / "out" / "adapter"))
    assert "\x1b" not in out + err  # piped: plain text


def test_what_is_said_of_training_reaches_it_and_is_written_down(capsys, tmp_path, model, file):
    short = ("--method", "sft", "--n", "4", "--no-compare", "--batch-size", "1")
    patience = ("--lr", "1e-3", "--epochs", "3", "--patience", "50")
    status, _, err = adapt(capsys, tmp_path / "patient", model, file, *short, *patience)
    assert status == 0, err
    impatience = ("--lr", "1", "--epochs", "25", "--patience", "1")
    status, _, err = adapt(capsys, tmp_path / "impatient", model, file, *short, *impatience)
    assert status == 0, err
    (patient,), (impatient,) = (
        records_of(tmp_path / name / "out")["sft"]["stages"] for name in ("patient", "impatient")
    )
    # 3 passes over 4 rows, one at a time
    assert (patient["steps"], patient["stopped_by"]) == (12, "epochs")
    assert impatient["stopped_by"] == "patience"
    # the first dev loss after the best one ends it; they are taken every second step
    assert impatient["steps"] == impatient["best_step"] + 2 < 100
    plan = json.loads((tmp_path / "impatient" / "out" / "plan.json").read_text())
    training = plan["experiment"]["training"]
    assert (training["epochs"], training["batch_size"], training["patience"]) == (25, 1, 1)


def test_what_is_said_of_an_adapter_reaches_it(capsys, tmp_path, model, file):
    sizes = ("--rank", "2", "--alpha", "6", "--modules", "value", "query")
    more = ("--method", "sft", "--n", "4", "--no-compare", "--epochs", "1", "--lr", "1e-3")
    status, _, err = adapt(capsys, tmp_path, model, file, *more, *sizes)
    assert status == 0, err
    configuration = json.loads((tmp_path / "out" / "adapter" / "adapter_config.json").read_text())
    assert (configuration["r"], configuration["lora_alpha"]) == (2, 6)
    assert all(name.endswith(("q_proj", "v_proj")) for name in configuration["target_modules"])
    assert {name.rpartition(".")[2] for name in configuration["target_modules"]} == {"q_proj", "v_proj"}


def test_the_folder_of_an_adapter_stands_alone(capsys, tmp_path, model, file):
    status, _, err = adapt(capsys, tmp_path, model, file, "--lr", "1e-2", "--method", "sft", "--no-compare")
    assert status == 0, err
    folder = tmp_path / "out" / "adapter"
    (trained,) = (tmp_path / "out" / "adapters").glob("*/*")
    assert (folder / "README.md").read_bytes() == (trained / "README.md").read_bytes()
    loaded = AutoPeftModelForCausalLM.from_pretrained(folder)
    ids = torch.tensor([[5, 6, 7]])
    expected = PeftModel.from_pretrained(tiny_network("llama"), str(folder))(ids).logits
    assert torch.allclose(loaded(ids).logits, expected, atol=1e-5)
    assert not torch.allclose(expected, tiny_network("llama")(ids).logits, atol=1e-2)
    # the example of the card, as a person would run it
    (example,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    exec(example.replace('"path/to/this/folder"', repr(str(folder))), {})
    tokens = byte_level_tokenizer()("Text:a text of yours\nLabel:")["input_ids"]
    answer = []
    for _ in byte_level_tokenizer()(" 0")["input_ids"]:
        answer.append(int(loaded(torch.tensor([tokens + answer])).logits[0, -1].argmax()))
    assert capsys.readouterr().out == byte_level_tokenizer().decode(answer, skip_special_tokens=True) + "\n"


def test_one_command_measures_what_another_one_made(capsys, tmp_path, model, file):
    write_csv(tmp_path / "more.csv", [(f"the {thing} was dull and slow", "0") for thing in THINGS] + ROWS[:2])
    more = ("--eval-data", tmp_path / "more.csv", "--no-compare", "--method", "sft", "--lr", "1e-2", "--n", "8")
    status, _, err = adapt(capsys, tmp_path, model, file, *more)
    assert status == 0, err
    assert "2 rows are also evaluated and were left out" in err
    (record,) = records_of(tmp_path / "out").values()
    made = record["metrics"]
    write_csv(tmp_path / "again.csv", [(f"the {thing} was dull and slow", "0") for thing in THINGS] + ROWS[:2])
    evaluate = ("evaluate", "--model", model, "--adapter", tmp_path / "out" / "adapter", "--data")
    status, out, err = run(capsys, *evaluate, tmp_path / "again.csv", "--out", tmp_path / "record.json")
    assert status == 0, err
    again = json.loads((tmp_path / "record.json").read_text())
    assert again["metrics"]["accuracy"] == made["accuracy"]
    assert again["metrics"]["ece"] == pytest.approx(made["ece"], abs=1e-5)
    assert (tmp_path / again["predictions"]).is_file()
    assert first_cells(out) == ["adapter"]
    for notes in (record["notes"], again["notes"]):
        assert notes[0].startswith("Model tiny: ")  # what was chosen, once
        assert len(set(notes)) == len(notes) > 1


def test_an_adapter_is_never_measured_on_what_taught_it(capsys, tmp_path, model, file):
    more = ("--no-compare", "--method", "sft", "--lr", "1e-2", "--n", "8")
    status, _, err = adapt(capsys, tmp_path, model, file, *more)
    assert status == 0, err
    evaluate = ("evaluate", "--model", model, "--adapter", tmp_path / "out" / "adapter", "--data")
    status, _, err = run(capsys, *evaluate, file, "--out", tmp_path / "record.json")
    assert status == 0, err
    assert "12 rows are left out, as they are in the adapter's training or dev set" in err
    again = {json.loads(line)["query"] for line in (tmp_path / "record.predictions.jsonl").read_text().splitlines()}
    assert {row["query"] for row in predictions_of(tmp_path / "out", "sft")} == again
    assert len(again) == 28


def test_an_adapter_is_asked_for_the_labels_that_it_was_taught(capsys, tmp_path, model):
    words = {"0": "cold", "1": "fine", "2": "odd"}
    rows = [(f"the {thing} was {word}", label) for label, word in words.items() for thing in THINGS]
    more = ("--no-compare", "--method", "sft", "--lr", "1e-2", "--n", "8")
    status, _, err = adapt(capsys, tmp_path, model, write_csv(tmp_path / "three.csv", rows), *more)
    assert status == 0, err
    evaluate = ("evaluate", "--model", model, "--adapter", tmp_path / "out" / "adapter", "--data")
    fewer = write_csv(tmp_path / "two.csv", [("the sea was cold", "0"), ("the sea was fine", "1")])
    status, _, err = run(capsys, *evaluate, fewer, "--out", tmp_path / "record.json")
    assert status == 0, err
    assert json.loads((tmp_path / "record.json").read_text())["task"]["labels"] == [" 0", " 1", " 2"]
    other = write_csv(tmp_path / "other.csv", [("the sea was cold", "bad"), ("the sea was fine", "1")])
    status, _, err = run(capsys, *evaluate, other)
    assert status == 2
    assert "the label 'bad' is not among those the adapter was trained on: 0, 1, 2" in err
    status, _, err = run(capsys, *evaluate, fewer, "--response-kind", "text")
    assert status == 2
    assert "responses are free text here, but the adapter was trained on labels" in err
    status, _, err = run(capsys, *evaluate, fewer, "--chat")
    assert status == 2
    assert "--chat: this adapter was trained without" in err
    tiny_network("llama", seed=1).save_pretrained(tmp_path / "other")
    byte_level_tokenizer().save_pretrained(tmp_path / "other")
    status, _, err = run(capsys, *evaluate, fewer, "--model", tmp_path / "other")
    assert status == 0
    assert "was trained on different weights" in err
    assert "Warning" not in err


def test_a_limit_takes_rows_of_every_kind_from_a_sorted_file(capsys, tmp_path, model):
    rows = [(f"the {thing} was {word}", label) for label, word in (("0", "cold"), ("1", "fine")) for thing in THINGS]
    status, _, err = run(
        capsys, "evaluate", "--model", model, "--data", write_csv(tmp_path / "sorted.csv", rows), "--limit", "10",
        "--out", tmp_path / "record.json",
    )  # fmt: skip
    assert status == 0, err
    told = [json.loads(line) for line in (tmp_path / "record.predictions.jsonl").read_text().splitlines()]
    assert len(told) == 10
    assert {row["response"].strip() for row in told} == {"0", "1"}


def test_nothing_is_computed_where_a_text_is_too_long_in_context(capsys, tmp_path, model, file):
    long = write_csv(tmp_path / "long.csv", [("long " * 80, "0")])
    more = ("--n", "8", "--method", "sft", "--no-compare", "--lr", "1e-2", "--eval-data", long)
    status, _, err = adapt(capsys, tmp_path, model, file, *more)
    assert status == 2
    assert "the model reads" in err
    assert phases(err) == []
    short = write_csv(tmp_path / "short.csv", [("the sea was wide", "0")])
    status, _, err = adapt(capsys, tmp_path, model, file, *more[:-1], short)
    assert status == 0, err
    assert [phase.split()[0] for phase in phases(err)] == ["train", "dev", "evaluate"]


@pytest.mark.parametrize(
    "flags",
    [
        ("lora", "--rank", "2", "--dora"),
        ("lora", "--rslora"),
        ("ia3",),
        ("prompt", "--virtual-tokens", "3"),
        ("prefix",),
        ("full",),
    ],
    ids=" ".join,
)
def test_every_adapter_is_trained_saved_and_measured_again(capsys, tmp_path, model, file, flags):
    others = [(f"the {thing} was dull and slow", "0") for thing in THINGS]
    more = ("--eval-data", write_csv(tmp_path / "others.csv", others), "--no-compare", "--n", "8", "--lr", "1e-2")
    status, _, err = adapt(capsys, tmp_path, model, file, *more, "--adapter", *flags)
    assert status == 0, err
    made = records_of(tmp_path / "out")["ia2-sft"]
    assert made["adapter"]["kind"] == flags[0]
    rows = write_csv(tmp_path / "again.csv", [*others, ("the sea was wide", "1")])
    evaluate = ("evaluate", "--model", model, "--adapter", tmp_path / "out" / "adapter", "--data", rows)
    status, _, err = run(capsys, *evaluate, "--out", tmp_path / "record.json")
    assert status == 0, err
    told = predictions_of(tmp_path / "out", "ia2-sft")
    again = [json.loads(line) for line in (tmp_path / "record.predictions.jsonl").read_text().splitlines()]
    assert (len(told), len(again)) == (len(others), len(others) + 1)
    for one, other in zip(told, again[:-1], strict=True):
        assert one["predicted"] == other["predicted"]
        assert one["confidence"] == pytest.approx(other["confidence"], abs=1e-5)


@pytest.mark.parametrize("method", [name for name in METHODS if name not in ("sft", "ia2", "ia2-sft")])
def test_every_method_is_trained_and_recorded(capsys, tmp_path, model, file, method):
    rates = () if method in ("ia2-solved", "mean-shift") else ("--lr", "1e-3")
    (tmp_path / "texts.txt").write_text("the ship was late\nthe tea was hot\n", encoding="utf-8")
    texts = ("--unlabelled", tmp_path / "texts.txt") if METHODS[method].needs_unlabelled else ()
    more = ("--no-compare", "--n", "4", *rates, *texts, "--method", method)
    status, _, err = adapt(capsys, tmp_path, model, file, *more)
    assert status == 0, err
    record = records_of(tmp_path / "out")[method]
    assert (record["method"], len(record["stages"])) == (method, len(METHODS[method].stages))
    assert record["lr"] == (1e-3 if rates else None)
    assert [one["beta"] for one in record["options"]["tried"]] == (
        [0.001, 0.01, 0.05, 0.5] if "+" in method else [None]
    )
    assert record["options"]["beta"] in (None, 0.001, 0.01, 0.05, 0.5)


def test_a_method_of_ones_own_and_other_responses(capsys, tmp_path, model, file):
    mine = tmp_path / "mine.yaml"
    mine.write_text("name: upper\nstages: [{objective: align-attention, layers: 1-2, error: cosine, epochs: 1}]")
    status, _, err = adapt(capsys, tmp_path, model, file, "--no-compare", "--n", "4", "--lr", "1e-3", "--method", mine)
    assert status == 0, err
    record = records_of(tmp_path / "out")["upper"]
    assert [stage["steps"] for stage in record["stages"]] == [1]
    more = ("--n", "4", "--lr", "1e-3", "--method", "sft", "--label-source", "icl-response")
    status, _, err = adapt(capsys, tmp_path / "second", model, file, *more)
    assert status == 0, err
    for name, source in (("sft", "ground-truth"), ("sft-icl-response", "icl-response")):
        record = records_of(tmp_path / "second" / "out")[name]
        assert record["options"]["label_sources"] == [source]


def test_a_context_is_moved_into_an_adapter(capsys, tmp_path, model, file):
    (tmp_path / "context.txt").write_text("Say 1 for praise and 0 for blame. " * 4)
    more = ("--context", tmp_path / "context.txt", "--n", "6", "--lr", "1e-2", "--method", "ia2")
    status, out, err = adapt(capsys, tmp_path, model, file, *more)
    assert status == 0, err
    assert "in context" in out
    records = records_of(tmp_path / "out")
    assert records.keys() == {"zero-shot", "context", *LOGISTIC, "sft", "ia2"}
    # a classifier of words reads no prompt
    tokens = {name: record["metrics"].get("prompt_tokens") for name, record in records.items()}
    assert tokens["zero-shot"] == tokens["ia2"] < tokens["context"]
    assert records["context"]["metrics"]["asim"] == pytest.approx(1)
    assert records["ia2"]["metrics"]["asim"] > records["zero-shot"]["metrics"]["asim"]
    evaluate = ("evaluate", "--model", model, "--data", file, "--context", tmp_path / "context.txt", "--limit", "5")
    status, out, err = run(capsys, *evaluate)
    assert status == 0, err
    assert "context on 5 of 40 rows" in err


def test_texts_without_labels_are_aligned_on(capsys, tmp_path, model, file):
    (tmp_path / "more.txt").write_text("the sea was wide\n\nthe hill was steep\nthe film was fine\n")
    more = ("--unlabelled", tmp_path / "more.txt", "--orders", "2", "--n", "4", "--lr", "1e-2", "--method", "ia2")
    status, _, err = adapt(capsys, tmp_path, model, file, *more, "--no-compare", "--order", "best-of-3")
    assert status == 0, err
    assert "more.txt: 1 texts are also labelled rows and were left out" in err
    record = records_of(tmp_path / "out")["ia2"]
    (stage,) = record["stages"]
    assert stage["steps"] % 2 == 0  # 4 labelled rows and 2 x 2 others are two batches an epoch
    targets = next((tmp_path / "cache" / "targets").iterdir())
    assert len(list(targets.glob("*.safetensors"))) == 4 + 2 + 4


def test_chat_models_are_asked_through_their_template(capsys, tmp_path, model, file):
    status, _, err = adapt(capsys, tmp_path, model, file, "--chat")
    assert status == 2
    assert "--chat: this model has no chat template" in err
    folder = tmp_path / "chatty"
    shutil.copytree(model, folder)
    tokenizer = byte_level_tokenizer()
    tokenizer.chat_template = (
        "{{ strftime_now('%Y') }}{% for turn in messages %}{{ turn.role }}:{{ turn.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
    tokenizer.save_pretrained(folder)
    more = ("--chat", "--n", "4", "--lr", "1e-2", "--method", "ia2", "--limit", "5")
    status, _, err = adapt(capsys, tmp_path, str(folder), file, *more)
    assert status == 0, err
    assert "turns of the model's chat template. The date in it is always 26 July 2024." in " ".join(err.split())


def test_evaluation_shows_demonstrations_that_it_does_not_measure(capsys, tmp_path, model, file):
    status, _, err = run(capsys, "evaluate", "--model", model, "--data", file, "--icl", "4")
    assert status == 0, err
    assert "icl on 34 rows" in err
    assert run(capsys, "evaluate", "--model", model, "--data", file, "--limit", "7")[0] == 0


def test_demonstrations_have_each_class_unless_they_are_drawn_by_chance(capsys, tmp_path, model):
    # 3 of 40 rows are of the class b; 4 drawn by chance hardly ever have one, and by class always
    rows = [(f"text {index}", "b" if index < 3 else "a") for index in range(40)]
    file = str(write_csv(tmp_path / "rare.csv", rows))
    missing = []
    for draw in ("auto", "random"):
        out = tmp_path / f"{draw}.json"
        evaluate = ("evaluate", "--model", model, "--data", file, "--icl", "4", "--limit", "4", "--draw", draw)
        status, _, err = run(capsys, *evaluate, "--out", str(out))
        assert status == 0, err
        missing.append("none of the 4 training rows has the label 'b'." in " ".join(err.split()))
        record = json.loads(out.read_text())
        assert record["options"]["draw"] == {"auto": "class"}.get(draw, draw)
        assert any("has the label 'b'" in note for note in record["notes"]) is missing[-1]
    assert missing == [False, True]


def test_a_label_of_two_tokens_is_named_with_the_way_out(capsys, tmp_path, model):
    file = write_csv(tmp_path / "words.csv", [(text, "gooood" if label == "1" else "baaad") for text, label in ROWS])
    status, _, err = adapt(capsys, tmp_path, model, file, "--label-scoring", "token")
    assert status == 2
    assert re.search(r"^--label-scoring token: .*the label ' baaad' is \d tokens .*Use whole", err, re.MULTILINE)
    more = ("--no-compare", "--lr", "1e-3", "--method", "ia2")
    status, _, err = adapt(capsys, tmp_path, model, file, *more)
    assert status == 0, err
    (record,) = records_of(tmp_path / "out").values()
    assert record["options"]["label_scoring"] == "whole"
    # the adapter remembers it
    evaluate = ("evaluate", "--model", model, "--adapter", tmp_path / "out" / "adapter", "--data", file)
    status, _, err = run(capsys, *evaluate, "--out", tmp_path / "again.json")
    assert status == 0, err
    assert json.loads((tmp_path / "again.json").read_text())["options"]["label_scoring"] == "whole"


def test_a_longer_label_that_another_begins_is_answered_by_what_was_fine_tuned(capsys, tmp_path, model):
    file = write_csv(tmp_path / "words.csv", [(text, "no" if "cold" in text else "no idea") for text, _ in ROWS])
    status, _, err = adapt(capsys, tmp_path, model, file, "--lr", "3e-2", "--method", "ia2-sft", "--epochs", "20")
    assert status == 0, err
    assert "The label 'no' is a prefix of 'no idea', so each label is scored with what ends it: the end token" in err
    records = records_of(tmp_path / "out")
    scorings = {method: record["options"]["label_scoring"] for method, record in records.items()}
    unended = dict.fromkeys(("zero-shot", "icl", *RECALIBRATED), "separated")
    learned = dict.fromkeys(LOGISTIC, "whole")
    assert scorings == {**unended, **learned, "sft": "ended", "ia2-sft": "ended"}
    answers = {
        method: [row["predicted"].strip() for row in predictions_of(tmp_path / "out", method)] for method in records
    }
    assert set(answers["zero-shot"]) <= {"no", "no idea"}
    assert "no idea" in answers["sft"]
    # the adapter remembers it, and is asked the same by every command
    adapter = tmp_path / "out" / "adapter"
    assert json.loads((adapter / "taught.json").read_text())["label_scoring"] == "ended"
    evaluate = ("evaluate", "--model", model, "--adapter", adapter, "--data", file)
    status, _, err = run(capsys, *evaluate, "--out", tmp_path / "again.json")
    assert status == 0, err
    again = json.loads((tmp_path / "again.json").read_text())
    assert again["options"]["label_scoring"] == "ended"
    assert again["metrics"]["nll"] == pytest.approx(records["ia2-sft"]["metrics"]["nll"], abs=1e-5)
    texts = [
        row["query"].removeprefix("Text:").removesuffix("\nLabel:") for row in predictions_of(tmp_path / "out", "sft")
    ]
    status, out, err = run(capsys, "predict", "--adapter", adapter, *texts)
    assert status == 0, err
    assert [json.loads(line)["prediction"] for line in out.splitlines()] == answers["ia2-sft"]


def test_text_longer_than_the_context_is_refused_by_its_beginning(capsys, tmp_path, model):
    file = write_csv(tmp_path / "long.csv", [(text + " and so on" * 100, label) for text, label in ROWS])
    status, _, err = adapt(capsys, tmp_path, model, file)
    assert status == 2
    assert re.search(r"'Text:the \w+ was .*…': prompt and response are \d+ tokens, but the model reads 512", err)
    assert not (tmp_path / "out").exists()


def test_evaluation_refuses_to_overwrite_and_adapters_that_are_none(capsys, tmp_path, model, file):
    for given, said in (
        (("--out", file), "this already exists and is not overwritten"),
        (("--adapter", tmp_path), "no adapter here: adapter_config.json is missing"),
        (("--icl", "40"), "--icl 40: rows has only 40 rows for demonstrations and evaluation. Use --icl 26 or fewer"),
        (("--out", file / "record.json"), "is a file, so nothing can be written there"),
    ):
        status, _, err = run(capsys, "evaluate", "--model", model, "--data", file, *given)
        assert status == 2
        assert said in err


def test_a_place_that_cannot_be_written_to_is_refused_before_a_model_is_loaded(capsys, tmp_path, file, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)
    status, _, err = adapt(capsys, tmp_path, "smollm2-135m", file)
    assert status == 2
    assert "can't be written to (permission denied)" in err


def test_labels_are_said_with_their_counts(capsys, tmp_path, model):
    rows = write_csv(tmp_path / "rows.csv", [*ROWS[:12], ("the sea was odd", "2")])
    status, _, err = run(capsys, "evaluate", "--model", model, "--data", rows)
    assert status == 0, err
    assert "Labels: 1 (10), 0 (2), 2 (1)." in err


def test_the_same_command_gives_the_same_bytes(capsys, tmp_path, model, file):
    weights = []
    for name in ("one", "two"):
        more = ("--no-compare", "--lr", "1e-3", "--n", "4", "--out", tmp_path / name)
        assert adapt(capsys, tmp_path, model, file, *more)[0] == 0
        weights.append((tmp_path / name / "adapter" / "adapter_model.safetensors").read_bytes())
    assert weights[0] == weights[1]
    assert torch.is_grad_enabled()


def test_responses_of_free_text_end_where_a_person_says(capsys, tmp_path, model):
    rows = [(f"what is number {at} called?", f"it is called the number that is {at} and no other") for at in range(24)]
    file = write_csv(tmp_path / "texts.csv", rows, "question,answer")
    ends = ("--max-new-tokens", "5", "--stop", "e", "--epochs", "1", "--no-compare")
    status, _, err = adapt(capsys, tmp_path, model, file, "--n", "2", "--limit", "5", *ends)
    assert status == 0, err
    (record,) = records_of(tmp_path / "out").values()
    assert [stage["steps"] for stage in record["stages"]] == [1, 1]
    lines = predictions_of(tmp_path / "out", "ia2-sft")
    assert len(lines) == 5
    for line in lines:
        assert "e" not in line["generated"]
        # five tokens, of which none stands for more than a few letters
        assert len(line["generated"]) < 40
    more = ("--out", tmp_path / "never", "--method", "sft", "--stop", "e<|endoftext|>")
    status, _, err = adapt(capsys, tmp_path, model, file, *more)
    assert (status, (tmp_path / "never").exists()) == (2, False)
    assert "--stop: 'e<|endoftext|>' could never come, as a text never holds" in err


def test_a_file_of_questions_and_sentences_is_learnt_generated_and_judged_again(capsys, tmp_path, model):
    rows = [(f"what is number {at} called?", f"it is called the number that is {at} and no other") for at in range(24)]
    file = write_csv(tmp_path / "texts.csv", rows, "question,answer")
    status, out, err = adapt(capsys, tmp_path, model, file, "--n", "2", "--limit", "5")
    assert status == 0, err
    assert "Trying one learning rate, 0.0003, as steps on free text take long; --lr 1e-4 3e-4 1e-3 tries three." in err
    assert "24 different, long labels are read as free text" in err
    assert "ECE" not in out
    records = records_of(tmp_path / "out")
    assert records.keys() == {"zero-shot", "icl", "sft", "ia2-sft"}  # of free text
    for record in records.values():
        assert record["task"]["answer"] == "text"
        assert record["metrics"]["n"] == 5
        assert record["metrics"]["ece"] is None
        assert record["lr"] in (None, 3e-4)
        assert 0 <= record["metrics"]["accuracy"] <= 1
    line = predictions_of(tmp_path / "out", "icl")[0]
    assert {"query", "response", "generated", "answer", "right_answer", "correct"} <= line.keys()
    status, out, err = run(capsys, "rescore", tmp_path / "out")
    assert status == 0, err
    assert out.count("0 of 5 rows are now scored differently") == 4
    status, _, err = adapt(
        capsys, tmp_path / "labels", model, file, "--response-kind", "label", "--n", "2", "--label-scoring", "token"
    )  # fmt: skip
    assert status == 2
    assert "--label-scoring token: " in err
    status, _, err = run(capsys, "rescore", tmp_path)
    assert status == 2
    assert "no records here" in err


def study_folder(tmp_path):
    records = [
        study_records.record(method, 0.5, seed=seed, labels=None) for method in ("icl", "ia2") for seed in (0, 1)
    ]
    return study_records.write_study(tmp_path / "study", records)


@pytest.mark.parametrize(
    ("kind", "file", "start"),
    [
        ("markdown", "report.md", "<!-- ia2 report -->\n\n# fake\n\nThis study compared ICL and IA2 on sst2 with"),
        ("latex", "report.tex", "% ia2 report\n% fake\n"),
        ("csv", "report.csv", "model,adapter,"),
    ],
)
def test_a_report_is_printed_or_written(capsys, tmp_path, kind, file, start):
    folder = study_folder(tmp_path)
    status, out, err = run(capsys, "report", folder, "--format", kind)
    assert (status, err) == (0, "")
    assert out.startswith(start)
    assert re.search(r"\| IA2 \| \*\*50\.0|& IA2 & 50\.0|,ia2,accuracy,", out)
    figures = (
        [f"figure{n}.{kind}" for n in (1, 2) for kind in ("png", "svg")] if file in ("report.md", "report.tex") else []
    )
    for _ in range(2):  # an earlier report is replaced
        status, said, _ = run(capsys, "report", folder, "--format", kind, "--out", tmp_path / "out")
        assert (status, said) == (0, "".join(f"{tmp_path / 'out' / name}\n" for name in (file, *figures)))
        text = (tmp_path / "out" / file).read_text()
        assert text.startswith(out)
        assert [name for name in figures if name in text] == [name for name in figures if name.endswith("png")]
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted([file, *figures])


def test_records_kept_beside_a_report_make_it_again(capsys, tmp_path):
    folder = study_folder(tmp_path)
    status, said, _ = run(capsys, "report", folder, "--format", "csv", "--out", tmp_path / "out", "--keep-records")
    assert (status, said) == (0, "".join(f"{tmp_path / 'out' / name}\n" for name in ("report.csv", "records.jsonl.gz")))
    status, again, _ = run(capsys, "report", tmp_path / "out", "--format", "csv")
    assert (status, again) == (0, (tmp_path / "out" / "report.csv").read_text())
    status, _, err = run(capsys, "report", folder, "--keep-records")
    assert status == 2
    assert "Name a folder with --out" in err


@pytest.mark.parametrize("out", [None, "elsewhere/deep"])
def test_the_links_of_a_page_lead_to_files(capsys, tmp_path, out):
    folder = study_folder(tmp_path)
    (folder / "failures").mkdir()
    (folder / "failures" / "small-sst2-n4-set0.json").write_text('{"unit": {}, "error": "MemoryError: too little"}')
    more = ["--out", tmp_path / out] if out else []
    status, said, _ = run(capsys, "report", folder, "--format", "html", *more)
    page = (tmp_path / out if out else folder / "report") / "index.html"
    assert (status, said) == (0, f"{page}\n")
    text = page.read_text()
    links = re.findall(r'<a href="([^"#]+)"', text)
    assert len(links) == 2 * 2 * 2 * 2  # methods, measures, sets, and a record and its rows
    assert all((page.parent / link).resolve().is_file() for link in links)
    assert "MemoryError: too little" in text
    assert "units have been computed" not in text
    assert "<span>methods</span></th><td>icl, sft, ia2</td>" in text


def test_a_report_beside_the_papers_numbers(capsys, tmp_path):
    status, out, _ = run(capsys, "report", study_folder(tmp_path), "--paper")
    assert status == 0
    assert "The paper has none of these settings" in out
    hub = "Qwen/Qwen3-4B-Base"
    own = [
        study_records.record("icl", 0.5, seed=seed, n=4, train="agnews", eval="agnews", model=hub) for seed in (0, 1)
    ]
    folder = study_records.write_study(tmp_path / "qwen", own, models=[hub], tasks=[{"train": "agnews"}])
    status, out, _ = run(capsys, "report", folder, "--paper")
    assert status == 0
    assert "**50.0 (0.0)** [paper 30.0 (2.3), +20.0] | **0.10 (0.00)** [paper 0.13 (0.03), -0.03]" in out
    assert "paper 30.0" not in run(capsys, "report", tmp_path / "qwen")[1]


def test_a_report_says_what_is_still_missing(capsys, tmp_path):
    folder = study_records.write_study(tmp_path / "study", [study_records.record("icl", 0.5)])
    assert "1 of the study's 2 units have been computed; 0 failed." in run(capsys, "report", folder)[1]


def test_a_report_of_nothing_and_over_something_is_refused(capsys, tmp_path):
    empty = study_records.write_study(tmp_path / "empty", [])
    # a process that was killed while it took a unit in leaves this
    left = empty / "records" / ".partial-0-unit"
    left.mkdir(parents=True)
    (left / "icl.json").write_text("{}")
    status, _, err = run(capsys, "report", empty)
    assert status == 2
    assert "no records here" in err
    status, _, err = run(capsys, "report", tmp_path / "nowhere")
    assert status == 2
    assert "nowhere: there is no such folder" in err
    own = tmp_path / "own" / "index.html"
    own.parent.mkdir()
    own.write_text("<p>mine</p>")
    status, _, err = run(capsys, "report", own)  # a file where a folder is meant
    assert status == 2
    assert err.startswith(f"{own}: this is a file. Name the folder.")
    status, _, err = run(capsys, "report", study_folder(tmp_path), "--format", "html", "--out", own.parent)
    assert status == 2
    assert "this was not written by ia2 report" in err
    assert own.read_text() == "<p>mine</p>"
    status, _, err = run(capsys, "report", tmp_path / "study", "--out", own)
    assert status == 2
    assert "this is a file" in err
    status, _, err = run(capsys, "report", tmp_path / "study", "--format", "pdf")
    assert status == 2
    assert "--format pdf: expected one of " in err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("tasks: [{train: sst2}]\nn: [4]", "nowhere"),
        ("tasks: [{train: reviews}]\nn: [5000]", "5000 training rows"),
        ("tasks: [{train: reviews}]\nn: [4]\ncolour: red", "mine.yaml, line 6: .*colour"),
    ],
    ids=["no files", "too few rows", "unknown key"],
)
def test_a_study_that_cannot_be_computed_ends_in_one_sentence_before_a_model_is_loaded(
    capsys, tmp_path, monkeypatch, content, said
):
    monkeypatch.setattr(loading, "load_model", lambda *_a, **_k: pytest.fail("a model was loaded"))
    (tmp_path / "mine.yaml").write_text(f"name: mine\nmodels: [smollm2-135m]\nmethods: [sft]\n{content}\n")
    (tmp_path / "nowhere").mkdir()
    given = ("--data-dir", tmp_path / "nowhere", "--out", tmp_path / "out")
    status, _, err = run(capsys, "run", tmp_path / "mine.yaml", *given)
    assert status == 2
    assert re.search(said, err), err
    assert len(err.strip().splitlines()) <= 2
    assert not (tmp_path / "out").exists()


def test_an_adaptation_is_there_when_it_is_asked_for_again_and_is_reported_as_a_study(capsys, tmp_path, model, file):
    more = ("--n", "4", "--lr", "1e-3", "1e-2", "--epochs", "2")
    status, table, err = adapt(capsys, tmp_path, model, file, *more)
    assert status == 0, err
    shutil.rmtree(tmp_path / "out" / "adapter")  # as where a process was killed before it was copied
    status, again, err = adapt(capsys, tmp_path, model, file, *more)
    assert (status, again) == (0, table)
    assert "already complete, so nothing is computed" in err
    records = records_of(tmp_path / "out")
    for name, folder in (("ia2-sft", "adapter"), ("sft", "adapters/sft")):
        weights = (tmp_path / "out" / folder / "adapter_model.safetensors").read_bytes()
        kept = tmp_path / "out" / records[name]["adapter"]["path"] / "adapter_model.safetensors"
        assert weights == kept.read_bytes()
    assert len(list((tmp_path / "out" / "adapters").glob("*-set0/*"))) == 2
    status, report, err = run(capsys, "report", tmp_path / "out")
    assert status == 0, err
    assert "| 4 | rows | rows |" in report
    status, page, err = run(capsys, "report", tmp_path / "out", "--format", "html")
    assert (status, page) == (0, f"{tmp_path / 'out' / 'report' / 'index.html'}\n"), err
    # the page begins with what the terminal had said
    (sentence,) = [line for line in table.splitlines() if line.startswith("IA2→SFT (")]
    assert f'<h1>out</h1>\n<p class="first">{sentence}</p>' in (tmp_path / "out" / "report" / "index.html").read_text()
    status, _, err = adapt(capsys, tmp_path, model, file, *more, "--epochs", "3")
    assert status == 2
    assert "holds records of out with other settings (--epochs); they can't be changed" in err
    write_csv(file, ROWS[1:])
    status, _, err = adapt(capsys, tmp_path, model, file, *more)
    assert status == 2
    assert "rows.csv: this file has changed since" in err


def test_a_study_of_the_same_rows_finds_the_same(capsys, tmp_path, model, file):
    (tmp_path / "context.txt").write_text("Say 1 for praise and 0 for blame.")
    more = ("--n", "4", "--lr", "1e-3", "--epochs", "2", "--seed", "3", "--limit", "6")
    status, _, err = adapt(capsys, tmp_path, model, file, *more, "--context", tmp_path / "context.txt")
    assert status == 0, err
    (tmp_path / "study.yaml").write_text(f"""
        name: mine
        models: [{model}]
        tasks: [{{data: {file}}}]
        n: [4]
        sets: 1
        first_seed: 3
        nested: false
        methods: [zero-shot, context, logistic-hidden, logistic-tfidf, sft, ia2-sft]
        learning_rates: [1.0e-3]
        context: {tmp_path / "context.txt"}
        rows: 6
        training: {{epochs: 2}}
    """)
    status, _, err = run(capsys, "run", tmp_path / "study.yaml", "--out", tmp_path / "study")
    assert status == 0, err
    assert "'text' is used as the text" in err
    adapted, studied = records_of(tmp_path / "out"), records_of(tmp_path / "study")
    assert adapted.keys() == studied.keys() == {"zero-shot", "context", *LOGISTIC, "sft", "ia2-sft"}
    for name, record in adapted.items():
        assert record["metrics"] == studied[name]["metrics"]
        assert record["notes"] == studied[name]["notes"]
    status, _, err = run(capsys, "report", tmp_path / "study")
    assert status == 0, err


def test_generations_of_a_study_are_judged_again_a_table_for_each_unit(capsys, tmp_path, model):
    rows = [(f"what is number {at} called?", f"it is called the number that is {at} and no other") for at in range(24)]
    file = write_csv(tmp_path / "texts.csv", rows, "question,answer")
    (tmp_path / "study.yaml").write_text(
        f"name: mine\nmodels: [{model}]\ntasks: [{{data: {file}, max_new_tokens: 4}}]\nn: [2]\nsets: 2\n"
        "methods: [zero-shot, icl]\nrows: 3\n"
    )
    status, _, err = run(capsys, "run", tmp_path / "study.yaml", "--out", tmp_path / "study")
    assert status == 0, err
    status, out, err = run(capsys, "rescore", tmp_path / "study")
    assert status == 0, err
    assert out.count("0 of 3 rows are now scored differently") == 4
    assert out.count("texts, 3 rows, N = 2") == 2


def test_a_key_of_a_studys_file_is_no_flag(capsys, tmp_path, model, file):
    for rows, status in ((3, 0), (4, 2)):
        (tmp_path / "study.yaml").write_text(
            f"name: mine\nmodels: [{model}]\ntasks: [{{data: {file}}}]\nn: [4]\nsets: 1\nmethods: [zero-shot]\n"
            f"rows: {rows}\n"
        )
        done, _, err = run(capsys, "run", tmp_path / "study.yaml", "--out", tmp_path / "study")
        assert done == status, err
    assert "holds records of mine with other settings (rows); only models, tasks, N and sets may be added" in err
