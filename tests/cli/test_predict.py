import csv
import io
import json
import sys
from contextlib import contextmanager

import datasets
import pyarrow.parquet
import pytest
from command_line import adapt, run, write_csv

from ia2.adapters.adapter import Adapter
from ia2.adapters.configuration import FILE as CONFIGURATION_FILE
from ia2.adapters.provenance import Provenance
from ia2.inference.journal import Journal, journal_of
from ia2.inference.predict import Answer, predict
from ia2.models.load import load_model
from ia2.tasks.files.registry import read_table

TEXTS = ["a warm film", "cold, and dull", "warm again"]


@pytest.fixture
def folder(capsys, tmp_path, model, file):
    """An adapter's folder as `ia2 adapt` leaves it."""
    status, _, err = adapt(
        capsys, tmp_path, model, file, "--lr", "1e-2", "--method", "sft", "--no-compare", "--epochs", "2"
    )
    assert status == 0, err
    return tmp_path / "out" / "adapter"


@pytest.fixture
def expected(folder, model):
    """What the library answers to the texts."""
    task = Provenance.beside(folder).task()
    queries = [f"Text:{text}\nLabel:" for text in TEXTS]
    return list(predict(load_model(model, device="cpu"), task, queries, adapter=Adapter.load(folder)))


def test_texts_are_answered_on_the_standard_output(capsys, folder, expected):
    status, out, err = run(capsys, "predict", "--adapter", folder, *TEXTS)
    assert status == 0, err
    rows = [json.loads(line) for line in out.splitlines()]
    assert rows == [
        {"text": text, "prediction": answer.prediction, "confidence": round(answer.confidence, 6)}
        for text, answer in zip(TEXTS, expected, strict=True)
    ]


def test_lines_of_the_standard_input_are_answered(capsys, monkeypatch, folder, expected):
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(TEXTS) + "\n\n"))
    status, out, err = run(capsys, "predict", "--adapter", folder, "-", "--probabilities")
    assert status == 0, err
    for line, answer in zip(out.splitlines(), expected, strict=True):
        row = json.loads(line)
        assert row["prediction"] == answer.prediction
        assert {name: row[f"probability of {name}"] for name in answer.probabilities} == pytest.approx(
            answer.probabilities, abs=1e-6
        )


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".json", ".jsonl", ".parquet", ".xlsx"])
def test_rows_of_a_file_come_back_with_their_predictions_in_order(capsys, tmp_path, folder, expected, ending):
    rows = tmp_path / "more.csv"
    with rows.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerows([["id", "text"], ["7", TEXTS[0]], ["8", ""], ["9", TEXTS[1]], ["7", TEXTS[2]]])
    out = tmp_path / f"answered{ending}"
    status, said, err = run(capsys, "predict", "--adapter", folder, "--data", rows, "--out", out)
    assert status == 0, err
    assert said == f"{out}: 4 rows with their predictions\n"
    assert "more.csv: 1 row has no text and gets no prediction." in err
    if ending == ".parquet":
        answered = pyarrow.parquet.read_table(out).to_pylist()
    elif ending == ".xlsx":
        answered = [row for _, row in read_table(out).rows]
    elif ending == ".json":
        answered = json.loads(out.read_text())
    elif ending == ".jsonl":
        answered = [json.loads(line) for line in out.read_text().splitlines()]
    else:
        with out.open(newline="") as stream:
            answered = list(csv.DictReader(stream, delimiter="," if ending == ".csv" else "\t"))
    assert [row["id"] for row in answered] == ["7", "8", "9", "7"]
    predictions = [row["prediction"] for row in answered]
    assert [predictions[0], *predictions[2:]] == [answer.prediction for answer in expected]
    assert predictions[1] in (None, "")
    assert float(answered[0]["confidence"]) == pytest.approx(expected[0].confidence, abs=1e-6)
    assert [path.name for path in tmp_path.glob(".answered*")] == []


def test_a_saved_dataset_is_answered_like_a_file(capsys, tmp_path, folder, expected):
    rows = datasets.Dataset.from_dict({"text": TEXTS, "id": [7, 8, 9]})
    datasets.DatasetDict({"train": rows.select([0]), "test": rows}).save_to_disk(tmp_path / "saved")
    status, out, err = run(capsys, "predict", "--adapter", folder, "--data", tmp_path / "saved" / "test")
    assert status == 0, err
    assert [json.loads(line)["prediction"] for line in out.splitlines()] == [answer.prediction for answer in expected]
    status, _, err = run(
        capsys, "predict", "--adapter", folder, "--data", tmp_path / "saved", "--out", tmp_path / "out.json"
    )
    assert status == 0, err
    assert "saved: the split train is read." in err
    (row,) = json.loads((tmp_path / "out.json").read_text())
    assert (row["id"], row["text"], row["prediction"]) == (7, TEXTS[0], expected[0].prediction)


def test_a_dataset_of_the_hub_is_answered_at_its_commit(capsys, monkeypatch, tmp_path, folder, expected):
    def load_dataset(name, config, *, split, revision):
        assert (name, config, split, revision) == ("owner/name", "plain", "new", "c0ffee")
        return datasets.Dataset.from_dict({"text": TEXTS})

    monkeypatch.setattr("ia2.tasks.files.hub.commit_of", lambda *_arguments, **_options: "c0ffee")
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    out = tmp_path / "out.xlsx"
    status, _, err = run(capsys, "predict", "--adapter", folder, "--data", "hf:owner/name:plain:new", "--out", out)
    assert status == 0, err
    assert [row["prediction"] for _, row in read_table(out).rows] == [answer.prediction for answer in expected]


@pytest.mark.parametrize(
    ("labels", "prediction", "cell"), [((), "=1+1", "'=1+1"), ((), "-5", "-5"), (("-a", "b"), "-a", "-a")]
)
def test_a_spreadsheet_runs_nothing_that_a_model_wrote_and_columns_of_the_file_stay(
    capsys, monkeypatch, tmp_path, folder, labels, prediction, cell
):
    monkeypatch.setattr("ia2.cli.predict.predict", lambda *_a, **_o: iter([Answer(prediction)]))
    taught = json.loads((folder / "taught.json").read_text())
    (folder / "taught.json").write_text(json.dumps(taught | {"labels": list(labels)}))
    rows = write_csv(tmp_path / "more.csv", [("=1+1", "@a")])
    status, printed, err = run(capsys, "predict", "--adapter", folder, "--data", rows)
    assert status == 0, err
    assert printed == f"text,label,prediction\n=1+1,@a,{cell}\n"
    for name, written in (("out.csv", cell), ("out.xlsx", prediction)):
        assert run(capsys, "predict", "--adapter", folder, "--data", rows, "--out", tmp_path / name)[0] == 0
        ((_, row),) = read_table(tmp_path / name).rows
        assert row == {"text": "=1+1", "label": "@a", "prediction": written}


def test_a_run_that_was_stopped_goes_on_and_ends_the_same(capsys, monkeypatch, tmp_path, folder):
    rows = write_csv(tmp_path / "more.csv", [(f"text number {number}", "0") for number in range(80)])
    calm, torn = tmp_path / "calm.csv", tmp_path / "torn.csv"
    assert run(capsys, "predict", "--adapter", folder, "--data", rows, "--out", calm)[0] == 0
    asked = []

    def stopping(model, task, queries, **options):
        for number, answer in enumerate(predict(model, task, queries, **options)):
            if number == 40 and not asked:
                asked.append(number)
                raise KeyboardInterrupt
            yield answer

    monkeypatch.setattr("ia2.cli.predict.predict", stopping)
    status, _, err = run(capsys, "predict", "--adapter", folder, "--data", rows, "--out", torn)
    assert status == 130
    assert "Run the same command again to continue after the rows already answered." in err
    assert not torn.exists()
    configuration = folder / CONFIGURATION_FILE
    before = configuration.read_text()
    configuration.write_text(json.dumps(json.loads(before) | {"lora_alpha": 4}))
    status, _, err = run(capsys, "predict", "--adapter", folder, "--data", rows, "--out", torn)
    assert status == 2
    assert "this holds the answers of a different run" in err
    configuration.write_text(before)
    status, _, err = run(capsys, "predict", "--adapter", folder, "--data", rows, "--out", torn)
    assert status == 0, err
    assert "32 of 80 rows were already answered by an earlier run." in err
    assert torn.read_bytes() == calm.read_bytes()


def test_while_another_run_writes_a_file_a_second_one_is_refused_before_a_model_is_loaded(
    capsys, monkeypatch, tmp_path, folder
):
    rows = write_csv(tmp_path / "more.csv", [("a warm film", "0")])
    out = tmp_path / "answered" / "answers.csv"
    arguments = ("predict", "--adapter", folder, "--data", rows, "--out", out)
    with journal_of(out), monkeypatch.context() as patch:
        patch.setattr("ia2.cli.predict.load_model", lambda *_a, **_k: pytest.fail("a model was loaded"))
        status, printed, err = run(capsys, *arguments)
    assert (status, printed) == (2, "")
    assert err.splitlines()[-1].endswith(
        f"{out}: another ia2 predict is writing this. Wait for it, or name another output."
    )
    assert list(out.parent.iterdir()) == []
    assert run(capsys, *arguments)[0] == 0
    assert list(out.parent.iterdir()) == [out]


def test_what_another_run_has_written_while_its_lock_was_waited_for_is_not_written_over(
    capsys, monkeypatch, tmp_path, folder
):
    rows, out = write_csv(tmp_path / "more.csv", [("a warm film", "0")]), tmp_path / "answers.csv"

    @contextmanager
    def ended_meanwhile(path):
        out.write_text("another run's")
        with journal_of(path) as journal:
            yield journal

    monkeypatch.setattr("ia2.cli.predict.journal_of", ended_meanwhile)
    status, _, err = run(capsys, "predict", "--adapter", folder, "--data", rows, "--out", out)
    assert status == 2
    assert "this already exists and is not overwritten" in err
    assert out.read_text() == "another run's"
    assert not list(tmp_path.glob(".*"))


def test_the_journal_of_a_run_that_was_killed_as_it_ended_is_named(capsys, monkeypatch, tmp_path, folder):
    rows, out = write_csv(tmp_path / "more.csv", [("a warm film", "0")]), tmp_path / "answers.csv"
    arguments = ("predict", "--adapter", folder, "--data", rows, "--out", out)
    with monkeypatch.context() as patched:
        # as if the process ended before this
        patched.setattr(Journal, "delete", lambda _journal: None)
        assert run(capsys, *arguments)[0] == 0
    whole, (journal,) = out.read_text(), tmp_path.glob(".*")
    status, _, err = run(capsys, *arguments)
    assert status == 2
    assert f"{journal.name} beside it holds the answers of a run that was killed; delete it too." in err
    assert (out.read_text(), journal.exists()) == (whole, True)
    journal.unlink()
    assert "killed" not in run(capsys, *arguments)[2]


def test_nothing_is_left_where_the_model_can_not_be_loaded(capsys, tmp_path, folder):
    rows = write_csv(tmp_path / "more.csv", [("a warm film", "0")])
    (tmp_path / "empty").mkdir()
    status, _, err = run(
        *(capsys, "predict", "--adapter", folder, "--model", tmp_path / "empty"),
        *("--data", rows, "--out", tmp_path / "out.csv"),
    )
    assert status == 2, err
    assert not list(tmp_path.glob("*out.csv*"))


def test_without_a_file_the_rows_are_printed_in_their_format(capsys, tmp_path, folder):
    rows = write_csv(tmp_path / "more.csv", [("a warm film", "0")])
    status, out, err = run(capsys, "predict", "--adapter", folder, "--data", rows)
    assert status == 0, err
    assert out.splitlines()[0].split(",")[-2:] == ["prediction", "confidence"]
    assert len(out.splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Say what to answer: either texts, - for standard input, or --data FILE"),
        (("a text", "--data", "more.csv"), "Say what to answer"),
        (("a text", "--text", "text"), "--text text: this is a column of a file"),
        (("a text", "--out", "o.csv"), "--out o.csv: this goes with --data"),
        (("--data", "more.csv", "--out", "o.txt"), "o.txt: can't write '.txt' files"),
        (
            ("--data", "saved", "--out", "o"),
            "o: the suffix must name the format. Use one of .csv, .tsv, .json, .jsonl",
        ),
        (("--data", "more.csv", "--out", "more.csv"), "more.csv: this already exists and is not overwritten"),
        (("--data", "missing.csv"), "missing.csv: no such file"),
        (("--data", "more.csv", "--text", "colour"), "more.csv: no column is called 'colour'"),
        (("--data", "taken.csv"), "taken.csv: it already has a column 'prediction'"),
        (
            ("--data", "earlier.csv", "--probabilities"),
            "earlier.csv: it already has a column 'probability of 1'. Rename that column.",
        ),
        (("a text", "--model", "./nothing"), "./nothing: there is no such file or folder"),
    ],
)
def test_mistakes_are_one_sentence_before_a_model_is_loaded(capsys, monkeypatch, tmp_path, folder, arguments, message):
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "more.csv", [("a warm film", "0")])
    (tmp_path / "taken.csv").write_text("text,prediction\na,b\n")
    (tmp_path / "earlier.csv").write_text("text,probability of 1\na,0.5\n")
    (tmp_path / "saved").mkdir()
    monkeypatch.setattr("ia2.cli.predict.load_model", lambda *_a, **_k: pytest.fail("a model was loaded"))
    status, out, err = run(capsys, "predict", "--adapter", folder, *arguments)
    assert (status, out) == (2, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_folders_without_a_usable_adapter_say_what_is_missing(capsys, tmp_path, folder):
    status, _, err = run(capsys, "predict", "--adapter", folder.parent, "a text")
    assert status == 2
    assert f"no adapter here. Did you mean {folder}?" in err
    status, _, err = run(capsys, "predict", "--adapter", tmp_path, "a text")
    assert status == 2
    assert "no adapter here" in err
    (folder / "taught.json").unlink()
    status, _, err = run(capsys, "predict", "--adapter", folder, "a text")
    assert status == 2
    assert "taught.json, which says how the adapter was trained, is missing" in err
