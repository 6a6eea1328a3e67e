"""The public names, and the README's Python example as a newcomer would run it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import byte_level_tokenizer, tiny_network

import ia2

README = Path(__file__).parents[2] / "README.md"


def test_every_public_name_is_there_and_nothing_else():
    assert set(dir(ia2)) == set(ia2.__all__)
    for name in ia2.__all__:
        assert getattr(ia2, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = ia2.nonsense


def test_importing_the_package_imports_nothing_heavy():
    program = "import sys, ia2; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout.strip() == b"False"


def test_the_readmes_example_runs(tmp_path, monkeypatch, capsys):
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(example.strip().splitlines()) <= 15
    folder = tmp_path / "tiny"
    network = tiny_network("llama")
    network.config.max_position_embeddings = 4096  # so that it can read eight reviews in its small tokens
    network.save_pretrained(folder)
    byte_level_tokenizer().save_pretrained(folder)
    monkeypatch.setenv("IA2_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text(
        "text,label\n" + "".join(f"the film number {i} was {'fine' if i % 2 else 'dull'},{i % 2}\n" for i in range(20))
    )
    # as it stands, but for the model, which is a tiny one here
    assert '"smollm2-135m"' in example
    exec(example.replace('"smollm2-135m"', repr(str(folder))), {})
    assert (tmp_path / "adapter" / "adapter_config.json").is_file()
    assert "accuracy" in capsys.readouterr().out
