import pytest
from command_line import run


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            b"lr: !!python/object/apply:os.system ['touch ran']",
            "this is not valid YAML (could not determine a constructor",
        ),
        (b"lr: [1e-3", "this is not valid YAML ("),
        (b"lr: \xff", "this is not valid YAML ("),
        (None, "this file can't be read (No such file or directory)."),
    ],
)
def test_a_file_that_is_no_yaml_of_plain_values_is_refused(tmp_path, capsys, monkeypatch, content, reason):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / "a.yaml").write_bytes(content)
    status, _, err = run(capsys, "adapt", "--config", "a.yaml")
    assert status == 2
    assert err.startswith(f"--config a.yaml: {reason}")
    assert err.splitlines()[1:] == ["See ia2 adapt --help."]
    assert not (tmp_path / "ran").exists()


def test_the_options_of_a_file_are_taken(tmp_path, capsys):
    (tmp_path / "a.yaml").write_text("model: smollm2-135m\ndata: nothing.csv\nlr: [1e-3]\n")
    status, _, err = run(capsys, "adapt", "--config", tmp_path / "a.yaml", "--out", tmp_path / "out")
    assert status == 2
    assert "nothing.csv: no such file" in err
