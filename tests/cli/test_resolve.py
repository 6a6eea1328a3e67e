import json
import re

import pytest
from command_line import ROWS, adapt, records_of, run, write_csv

from ia2.experiments import loading


def write_mistaken_files(folder):
    """What the mistakes below name."""
    write_csv(folder / "good.csv")
    (folder / "empty.csv").write_text("")
    (folder / "header.csv").write_text("text,label\n")
    (folder / "no.parquet").write_text("text,label\na,b\n")
    (folder / "cut.jsonl").write_text('{"text": "a", "label": "b"}\n{"text": "c", "la')
    (folder / "full").mkdir()
    (folder / "full" / "theirs").write_text("")
    (folder / "no model").mkdir()
    write_csv(folder / "unlabelled.csv", [("1", "a,b")], "id,text,note")
    write_csv(folder / "one.csv", [(text, "1") for text, _ in ROWS])


GOOD = ("--data", "good.csv")
MISTAKES = {
    "no label column": (
        ("--data", "unlabelled.csv"),
        "no column looks like the label. Columns: id, text, note. Name it",
    ),
    "empty": (("--data", "empty.csv"), "empty.csv: this file is empty"),
    "header only": (("--data", "header.csv"), "header.csv: this file has no rows"),
    "absent": (("--data", "absent.csv"), "absent.csv: no such file"),
    "no Parquet": (("--data", "no.parquet"), "no.parquet: this is not a Parquet file"),
    "cut": (("--data", "cut.jsonl"), "cut.jsonl, line 2: this is not a JSON object"),
    "task": (("--task", "sst3"), "--task sst3: no such task. Did you mean sst2?"),
    "method": ((*GOOD, "--method", "ia3-sft"), "--method ia3-sft: no such method. Did you mean ia2-sft?"),
    "one class": (("--data", "one.csv"), "one.csv: every row has the label '1'; use at least two labels"),
    "label of a task": (("--task", "gsm8k", "--label", "y"), "--label y: a built-in task has its own columns"),
    "evaluation of a task": (
        ("--task", "gsm8k", "--eval-data", "good.csv"),
        "--eval-data good.csv: this goes with data",
    ),
    "unlabelled of a task": (
        ("--task", "gsm8k", "--unlabelled", "good.csv"),
        "--unlabelled good.csv: gsm8k asks questions, which a text can't be",
    ),
    "no rows": ((*GOOD, "--limit", "0"), "--limit 0: this must be 1 or more"),
    "one rate of two": ((*GOOD, "--lr", "1e-3", "-1"), "--lr -1: this must be a positive number, such as 1e-3"),
    "no memory": ((*GOOD, "--memory", "0"), "--memory 0: this must be a positive number of GiB"),
    "no label source": (
        (*GOOD, "--method", "ia2", "--label-source", "ground-truth"),
        "--label-source ground-truth: ia2 has no stage that fits tokens",
    ),
    "large N": ((*GOOD, "--n", "60"), "60 training rows and 30 dev rows are needed, but there are 40"),
    "N of one": ((*GOOD, "--n", "1"), "--n 1: .*at least 2"),
    "N in words": ((*GOOD, "--n", "many"), "--n many: expected a whole number"),
    "folder": (
        (*GOOD, "--model", "./no model"),
        "no model: this folder holds no model: config.json is missing",
    ),
    "path": ((*GOOD, "--model", "./absent"), "./absent: there is no such file or folder"),
    "output": ((*GOOD, "--out", "full"), "full: this folder holds something else"),
    "output file": ((*GOOD, "--out", "good.csv"), "good.csv: this is a file"),
    "method without beta": ((*GOOD, "--beta", "0.5"), "--beta 0.5: no method here has a weight"),
    "beta too large": ((*GOOD, "--method", "ia2+sft", "--beta", "2"), "--beta 2: .*between 0 and 1"),
    "labels of alignment": (
        (*GOOD, "--method", "ia2", "--label-source", "icl-response"),
        "ia2 has no stage that fits tokens",
    ),
    "rank of prefix": (
        (*GOOD, "--adapter", "prefix", "--rank", "2"),
        "--rank: this is for --adapter lora or vera",
    ),
    "tokens of lora": (
        (*GOOD, "--virtual-tokens", "2"),
        "--virtual-tokens: this is for --adapter prompt or",
    ),
    "no tokens": ((*GOOD, "--adapter", "prompt", "--virtual-tokens", "0"), "--virtual-tokens 0: .*1 or more"),
    "no such adapter": (
        (*GOOD, "--adapter", "lore"),
        r"--adapter lore: there is no such kind\. Did you mean lora\? Choose from lora, ia3, prompt, prefix, full",
    ),
    "method file": ((*GOOD, "--method", "mine.yaml"), "--method mine.yaml: this file can't be read"),
    "context not there": ((*GOOD, "--context", "none.txt"), "--context none.txt: this file can't be read"),
    "order of a context": (
        (*GOOD, "--context", "good.csv", "--order", "best-of-3"),
        "--context good.csv: this replaces demonstrations",
    ),
    "no order": ((*GOOD, "--order", "best"), "--order best: use random, or best-of-K"),
    "orders of nothing": ((*GOOD, "--orders", "2"), "--orders 2: this goes with unlabelled"),
    "no batch": ((*GOOD, "--batch-size", "0"), "--batch-size 0: this must be 1 or more"),
    "no patience": ((*GOOD, "--patience", "0"), "--patience 0: this must be 1 or more"),
    "no epochs": ((*GOOD, "--epochs", "0"), "--epochs 0: this must be 1 or more"),
    "dropout of all": ((*GOOD, "--dropout", "1"), "--dropout 1: this must be 0 or more, and less than 1"),
    "dropout of prefix": ((*GOOD, "--adapter", "prefix", "--dropout", "0.1"), "--dropout: this is for --adapter lora"),
    "dropout of DoRA": ((*GOOD, "--dora", "--dropout", "0.1"), "--dropout 0.1: DoRA is trained without"),
    "stop of labels": (
        (*GOOD, "--stop", "."),
        "--stop: this is for responses of free text, and those of good are labels",
    ),
    "classes of texts": (
        (*GOOD, "--response-kind", "text", "--draw", "class"),
        "--draw class: responses of good are free text, which has no classes",
    ),
    "empty stop": ((*GOOD, "--stop", ""), "--stop: an empty text would end every response"),
    "no new tokens": (("--task", "gsm8k", "--max-new-tokens", "0"), "--max-new-tokens 0: this must be 1 or more"),
    "no such tracker": ((*GOOD, "--track", "mlflow"), "--track mlflow: expected one of trackio, wandb, tensorboard"),
    "unlabelled not there": ((*GOOD, "--unlabelled", "none.txt"), "none.txt: no such file"),
    "rate of zero": ((*GOOD, "--lr", "0"), "--lr 0: this must be a positive number"),
    "no rate": ((*GOOD, "--lr", "nan"), "--lr nan: expected a number"),
    "rate not a number": ((*GOOD, "--lr", ".nan"), "--lr nan: this must be a positive number"),
    "rate in words": ((*GOOD, "--lr", "small"), "--lr small: expected a number"),
    "evaluation only": (("--task", "qasc_remap"), "this task is for evaluation only"),
    "kind of a task": (("--task", "gsm8k", "--response-kind", "text"), "--response-kind text: a built-in task"),
    "two sources": ((*GOOD, "--task", "sst2"), "either --data FILE or --task NAME"),
    "unknown option": ((*GOOD, "--colour", "red"), "--colour"),
    "scoring": ((*GOOD, "--label-scoring", "half"), "--label-scoring half: expected one of auto, token, whole."),
}
"""Arguments that a person might give by mistake, and what they are told."""


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_in_one_sentence_before_a_model_is_loaded(capsys, tmp_path, monkeypatch, mistake):
    monkeypatch.setattr(loading, "load_model", lambda *_a, **_k: pytest.fail("a model was loaded"))
    monkeypatch.chdir(tmp_path)
    write_mistaken_files(tmp_path)
    monkeypatch.setenv("IA2_DATA_DIR", str(benchmark_files(tmp_path)))
    given, said = MISTAKES[mistake]
    before = sorted(tmp_path.rglob("*"))
    # an option that is given twice has its last value
    status, out, err = run(capsys, "adapt", "--model", "smollm2-135m", "--out", "out", *given)
    assert status == 2
    assert re.search(said, err), err
    assert out == ""
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) <= 2
    assert sorted(tmp_path.rglob("*")) == before


def benchmark_files(tmp_path):
    rows = {
        "qasc": {"question": "q", "choices": {"text": list("abcdefgh"), "label": list("ABCDEFGH")}, "answerKey": "C"},
        "gsm8k": {"question": "q", "answer": "a\n#### 1"},
    }
    for folder, row in rows.items():
        (tmp_path / "data" / folder).mkdir(parents=True)
        for part in ("train", "test"):
            (tmp_path / "data" / folder / f"{part}.jsonl").write_text(json.dumps(row | {"question": part}) + "\n")
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--method", "sft", "--unlabelled", "file"), "rows.csv: sft learns from labels only"),
        (("--method", "ia2-solved", "--no-compare", "--lr", "1e-3"), "--lr 0.001: ia2-solved has no learning rate"),
        (
            ("--method", "ia2-solved", "--adapter", "ia3"),
            "--adapter ia3: ia2-solved can be solved only for lora and shift",
        ),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(capsys, tmp_path, file, given, said):
    given = [file if one == "file" else one for one in given]
    status, _, err = adapt(capsys, tmp_path, "smollm2-135m", file, *given)
    assert status == 2
    assert said in err


def test_nothing_left_to_evaluate_is_said(capsys, tmp_path, model):
    file = write_csv(tmp_path / "few.csv", ROWS[::10] + ROWS[1::20])  # six rows
    status, out, err = adapt(capsys, tmp_path, model, file, "--n", "4", "--lr", "1e-3")
    assert status == 0, err
    assert "Nothing was measured" in out
    (record,) = records_of(tmp_path / "out").values()
    assert record["metrics"]["accuracy"] is None
