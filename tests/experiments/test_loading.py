from dataclasses import replace

import pytest
from conftest import tiny_language_model
from small_study import study

from ia2.errors import InputError
from ia2.experiments import loading
from ia2.experiments.loading import load_for, teacher_for, teacher_note
from ia2.experiments.single import compute_single
from ia2.progress import Silent


@pytest.fixture
def in_bfloat16(folder):
    return load_for(study(dtype="bfloat16", device="cpu"), str(folder))


def test_a_model_is_loaded_as_the_study_says(monkeypatch):
    calls = []
    monkeypatch.setattr(loading, "load_model", lambda name, **keywords: calls.append((name, keywords)) or None)
    with pytest.raises(Exception, match="return value"):  # of the stand-in, which is no model
        load_for(study(dtype="float16", device="auto", load="8bit", attention="eager"), "some/model")
    ((name, keywords),) = calls
    keywords.pop("progress")
    expected = {"dtype": "float16", "device": "auto", "load": "8bit", "attention": "eager"}
    assert (name, keywords) == ("some/model", expected)


def test_the_student_is_its_own_teacher_unless_another_dtype_is_asked_for(in_bfloat16):
    for experiment in (study(), study(teacher_dtype="bfloat16")):
        assert teacher_for(experiment, in_bfloat16) is in_bfloat16
        assert teacher_note(experiment, in_bfloat16) is None


def test_a_teacher_of_another_dtype_is_loaded_and_said(in_bfloat16):
    progress, sentences = Silent(), []
    progress.say = sentences.append
    teacher = teacher_for(study(teacher_dtype="float32", device="cpu"), in_bfloat16, progress=progress)
    assert (teacher.identity.dtype, in_bfloat16.identity.dtype) == ("float32", "bfloat16")
    assert teacher.identity.sha256 == in_bfloat16.identity.sha256
    assert sentences[-1] == (
        "The teacher answers in float32, and adapters and in-context learning are measured in bfloat16: adapters are "
        "compared with a different teacher from the one they were trained on."
    )


def test_the_teacher_of_a_quantised_student_is_plain_where_its_dtype_is_named(in_bfloat16):
    quantised = replace(in_bfloat16, identity=replace(in_bfloat16.identity, quantisation="4bit"))
    assert teacher_for(study(), quantised) is quantised
    teacher = teacher_for(study(teacher_dtype="bfloat16", device="cpu"), quantised)
    assert (teacher.identity.dtype, teacher.identity.quantisation) == ("bfloat16", None)
    assert "measured in 4bit" in (teacher_note(study(teacher_dtype="bfloat16"), quantised) or "")


def test_a_model_built_in_python_has_no_teacher_of_another_dtype():
    with pytest.raises(InputError, match=r"^tiny-llama: a teacher in bfloat16 can't be loaded of a model"):
        teacher_for(study(teacher_dtype="bfloat16"), tiny_language_model())


def test_records_say_in_which_dtype_the_teacher_answered(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("IA2_CACHE_DIR", str(tmp_path / "cache"))
    settings = {"models": [str(folder)], "sets": 1, "select": "dev", "measure": "chosen", "device": "cpu"}
    methods = ["icl", "sft", "ia2"]
    said = {}
    for name, asked in (("same", {}), ("other", {"teacher_dtype": "bfloat16"})):
        records = compute_single(study(methods=methods, **settings, **asked), tmp_path / name)
        said[name] = {record.method: record.options.get("teacher_dtype") for record in records}
        noted = [any("The teacher answers in bfloat16" in note for note in record.notes) for record in records]
        assert noted == [name == "other"] * len(methods)
        assert {record.model.attention for record in records} == {"ia2_grouped"}
    assert said == {
        "same": {"icl": None, "sft": None, "ia2": "float32"},
        "other": {"icl": None, "sft": None, "ia2": "bfloat16"},
    }


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"adapters": [{"kind": "full"}]}, r"load 4bit: full computes with the model's own weights.* Use lora"),
        ({"adapters": [{"kind": "lora", "dora": True}]}, r"load 4bit: lora dora computes"),
        ({"adapters": [{"kind": "ia3", "scale": "input"}]}, r"load 4bit: ia3 inputs computes"),
        ({"evaluate": "merged"}, r"load 4bit: adapters can't be merged into quantised weights"),
    ],
)
def test_a_study_that_needs_plain_weights_is_refused_before_anything_is_loaded(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        study(load="4bit", **changes)
    assert study(**changes)


def test_kinds_that_need_no_weights_go_with_quantised_ones():
    kinds = [{"kind": "lora"}, {"kind": "ia3"}, {"kind": "vera"}, {"kind": "prefix"}]
    assert study(load="8bit", adapters=kinds).load == "8bit"
    with pytest.raises(ValueError, match="load"):
        study(load="2bit")
