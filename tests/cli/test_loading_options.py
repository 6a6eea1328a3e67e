from pathlib import Path

from ia2.cli.loading_options import Loading, loading_of
from ia2.cli.options import Adapt, Evaluate, Predict
from ia2.cli.resolve import study_of_adapt
from ia2.progress import SILENT


def test_every_command_that_reads_with_a_model_can_be_told_how_it_is_loaded():
    told = {"dtype": "float16", "device": "auto", "load": "4bit", "attention": "sdpa"}
    folder = Path("adapter")
    for options in (
        Evaluate(model="m", task="sst2", **told),
        Predict(adapter=folder, texts=("a",), **told),
        Adapt(model="m", task="sst2", out=Path("out"), **told),
    ):
        assert isinstance(options, Loading)
        assert loading_of(options) == told


def test_an_adaptation_is_a_study_that_is_loaded_so():
    told = {"device": "auto", "load": "4bit", "attention": "sdpa", "teacher_dtype": "bfloat16"}
    options = Adapt(model="smollm2-135m", task="reviews", out=Path("out"), **told)
    experiment = study_of_adapt(options, SILENT)
    assert {name: getattr(experiment, name) for name in told} == told
