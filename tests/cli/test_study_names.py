import pytest
from command_line import run

from ia2.cli.checks import check_model
from ia2.cli.study_names import check_study_names
from ia2.errors import InputError

STUDY = """\
name: words
models: [smollm2-135m]
tasks:
  - sst2
  - train: agnews
    evaluate: [bbcnews, agnews]
  - data: my-rows.csv
    train: mine
    evaluate: [mine]
n: [4]
methods: [zero-shot, icl, ia2-sft, {method: sft, label_source: icl-response}, {name: mine, stages: []}]
"""


def refused(tmp_path, text):
    """What is said of a study of this text; nothing where its names are all right."""
    path = tmp_path / "study.yaml"
    path.write_text(text)
    try:
        check_study_names(path, check_model)
    except InputError as error:
        return str(error).replace(f"{tmp_path}/", "")
    return ""


@pytest.mark.parametrize(
    ("right", "wrong", "sentence"),
    [
        (
            "- sst2",
            "- sts2",
            "study.yaml, line 4: there is no task sts2. Did you mean sst2? Choose from reviews, sst2, ",
        ),
        ("train: agnews", "train: agnew", "study.yaml, line 5: there is no task agnew. Did you mean agnews? Choose"),
        ("[bbcnews, ag", "[bbcnew, ag", "study.yaml, line 6: there is no task bbcnew. Did you mean bbcnews? Choose"),
        ("icl, ia2-sft", "icl, ia2-stf", "study.yaml, line 11: there is no method ia2-stf. Did you mean ia2-sft?"),
        ("method: sft,", "method: stf,", "study.yaml, line 11: there is no method stf. Did you mean sft"),
        ("[smollm2-135m]", "[smolm2-135m]", "study.yaml, line 2: model smolm2-135m: there is no such built-in model."),
        ("[smollm2-135m]", "[./none]", "study.yaml, line 2: ./none: there is no such file or folder."),
    ],
)
def test_a_name_that_there_is_not_is_refused_with_its_line(tmp_path, right, wrong, sentence):
    assert refused(tmp_path, STUDY) == ""
    assert sentence in refused(tmp_path, STUDY.replace(right, wrong))


def test_every_wrong_name_is_told(tmp_path):
    text = STUDY.replace("- sst2", "- sts2").replace("icl, ia2-sft", "icl, ia2-stf")
    assert [line.partition(":")[0] for line in refused(tmp_path, text).splitlines()] == [
        "study.yaml, line 4",
        "study.yaml, line 11",
    ]


@pytest.mark.parametrize("text", ["", "tasks: sst2", "- a", "tasks: [{train: {a: b}}]", "models: {a: b}", "a: [", "\0"])
def test_what_is_no_study_is_left_to_its_reader(tmp_path, text):
    assert refused(tmp_path, text) == ""


def test_a_command_refuses_it_at_once(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("ia2.cli.main.import_module", lambda name: pytest.fail(f"{name} was imported"))
    path = tmp_path / "study.yaml"
    path.write_text(STUDY.replace("- sst2", "- sts2"))
    status, _, err = run(capsys, "run", str(path), "--out", str(tmp_path / "out"))
    assert (status, err.count("\n")) == (2, 1)
    assert err.startswith(f"{path}, line 4: there is no task sts2. Did you mean sst2?")
