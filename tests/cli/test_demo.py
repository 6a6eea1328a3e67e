import pytest
from command_line import run
from conftest import tiny_language_model, tiny_network

from ia2.cli.demo import PARTS, compute_demo
from ia2.errors import InputError
from ia2.experiments import run as run_module
from ia2.experiments.plan import units
from ia2.records import load_records

METHODS = {"instruction": ["zero-shot", "context", "ia2"], "labelled": ["zero-shot", "icl", "sft", "ia2-sft"]}


@pytest.fixture
def model():
    """The tiny Llama, which can read an instruction and eight reviews in its small tokens."""
    network = tiny_network("llama")
    network.config.max_position_embeddings = 4096
    return tiny_language_model(network)


def test_the_demo_writes_what_it_promises_and_shows_it_again(model, tmp_path):
    folder = tmp_path / "demo"
    result = compute_demo(folder, quick=True, load=lambda _name: model)
    assert {path.name for path in folder.iterdir()} == {"instruction", "labelled", "figures"}
    assert [[row[0] for row in table.texts] for table in result.tables] == [
        ["zero-shot", "in context", "IA2"],
        ["zero-shot", "ICL", "SFT", "IA2→SFT"],
    ]
    for part in PARTS:
        records = load_records(folder / part.folder)
        # two sets of each method, trained for two epochs of two steps at the most
        assert sorted(record.method for record in records) == sorted(2 * METHODS[part.folder])
        assert {record.seed for record in records} == {0, 1}
        trained = [stage for record in records for stage in record.stages]
        assert 0 < max(stage.steps for stage in trained) <= 4
    assert {path.suffix for path in result.figures} == {".png", ".svg"}
    assert {path.parent for path in result.figures} == {folder / "figures"}
    again = compute_demo(folder, quick=True, load=lambda _name: pytest.fail("nothing is missing"))
    assert again.tables == result.tables
    assert again.conclusions == result.conclusions
    with pytest.raises(InputError, match=r"records of demo-instruction with other settings \(first_seed\)"):
        compute_demo(folder, quick=True, seed=1, load=lambda _name: model)


def test_no_label_is_learnt_with_the_instruction():
    study = PARTS[0].study()
    assert study.draw == "random", "drawing by class would use labels"
    assert [labels for labels, _ in study.fitted_methods] == [None]
    assert {unit.n for unit in units(study)} == {8}
    assert len(units(study)) == 3


def test_a_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds something else \(thesis.txt\)"):
        compute_demo(tmp_path, load=lambda _name: pytest.fail("no model is needed to see that"))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_set_that_fails_fails_the_demo(tmp_path, capsys):
    def broken(_name):
        raise ValueError("no such weights")

    with pytest.raises(RuntimeError, match=r"failed; see .*failures/"):
        compute_demo(tmp_path / "demo", quick=True, load=broken)


def test_the_command_says_what_came_out_and_goes_on_where_it_was_stopped(model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("ia2.experiments.loading.load_model", lambda *_, **__: model)
    asked = ("demo", "--quick", "--out", str(tmp_path / "demo"))

    class StoppedError(KeyboardInterrupt):
        """Ctrl-C while the second study's first set is computed."""

    def stop_at_labels(experiment, *arguments, **options):
        if experiment.name == "demo-labelled":
            raise StoppedError
        return compute(experiment, *arguments, **options)

    compute = run_module.compute
    monkeypatch.setattr(run_module, "compute", stop_at_labels)
    status, out, err = run(capsys, *asked)
    assert (status, out) == (130, "")
    assert "Finished work is kept; run the same command again to continue" in err
    monkeypatch.setattr(run_module, "compute", compute)
    status, out, err = run(capsys, *asked)
    assert status == 0, err
    assert "in every prompt" in out
    assert "accuracy-and-calibration.png" in out
    # the first study was there already
    assert err.count("unit 1 of 2") == 1
