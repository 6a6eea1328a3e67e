import pytest
from command_line import records_of
from conftest import tiny_language_model, tiny_network

from ia2.cli.demo import compute_demo, demo_study
from ia2.errors import InputError
from ia2.experiments.plan import units


@pytest.fixture
def model():
    """The tiny Llama, which can read eight reviews in its small tokens."""
    network = tiny_network("llama")
    network.config.max_position_embeddings = 4096
    return tiny_language_model(network)


def test_the_demo_writes_what_it_promises_and_shows_it_again(model, tmp_path):
    folder = tmp_path / "demo"
    result = compute_demo(folder, quick=True, load=lambda _name: model)
    parts = {"records", "adapters", "predictions", "figures", "plan.json", "units"}
    assert {path.name for path in folder.iterdir()} == parts
    assert [record.method for record in result.records] == ["zero-shot", "icl", "sft", "ia2", "ia2-sft"]
    unit = units(demo_study(quick=True))[0].id
    assert {path.name for path in (folder / "adapters" / unit).iterdir()} == {
        f"lora_{method}_lr0.001" for method in ("sft", "ia2", "ia2-sft")
    }
    assert {path.suffix for path in result.figures} == {".png", ".svg"}
    assert {path.parent for path in result.figures} == {folder / "figures"}
    records = records_of(folder)
    for record in result.records:
        assert records[record.method]["method"] == record.method
        assert record.lr == (None if record.method in ("zero-shot", "icl") else pytest.approx(1e-3))
    trained = [stage for record in result.records for stage in record.stages]
    assert max(stage.steps for stage in trained) <= 4
    again = compute_demo(folder, quick=True, load=lambda _name: pytest.fail("nothing is missing"))
    assert again.records == result.records
    with pytest.raises(InputError, match=r"records of demo with other settings \(first_seed\)"):
        compute_demo(folder, quick=True, seed=1, load=lambda _name: model)
