"""The public names, and the README's Python example as a newcomer would run it."""

import ast
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import byte_level_tokenizer, tiny_network

import ia2

README = Path(__file__).parents[2] / "README.md"


def written():
    """What src/ia2/__init__.py says by itself: the module that each name is imported from, `__all__` and `_HOMES`."""
    statements = ast.parse(Path(ia2.__file__).read_text(encoding="utf-8")).body
    (guarded,) = [one for one in statements if isinstance(one, ast.If) and ast.unparse(one.test) == "TYPE_CHECKING"]
    values = {
        one.targets[0].id: ast.literal_eval(one.value)
        for one in statements
        if isinstance(one, ast.Assign) and isinstance(one.targets[0], ast.Name)
    }
    imported = [(alias.asname or alias.name, one.module) for one in guarded.body for alias in one.names]
    return imported, values["__all__"], values["_HOMES"]


def test_what_type_checkers_see_is_what_is_listed_and_what_is_loaded():
    imported, listed, homes = written()
    assert dict(imported) == homes
    assert len(imported) == len(homes)
    assert sorted(listed) == sorted(homes)
    assert len(set(listed)) == len(listed) > 0
    assert set(dir(ia2)) >= set(listed)


@pytest.mark.parametrize("name", ia2.__all__)
def test_each_public_name_is_the_object_of_the_module_that_defines_it(name):
    _, _, homes = written()
    public = getattr(ia2, name)
    assert public is vars(importlib.import_module(homes[name]))[name]
    # a class or a function says itself where it was defined; a value such as METHODS is assigned there
    if isinstance(public, type) or callable(public):
        assert (public.__module__, public.__qualname__) == (homes[name], name)
    else:
        tree = ast.parse(Path(importlib.import_module(homes[name]).__file__).read_text(encoding="utf-8"))
        assigned = [one for one in tree.body if isinstance(one, ast.Assign | ast.AnnAssign)]
        targets = [target for one in assigned for target in getattr(one, "targets", None) or [one.target]]
        assert name in [target.id for target in targets if isinstance(target, ast.Name)]


def test_a_name_that_is_not_public_is_no_attribute():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = ia2.nonsense


def test_importing_the_package_loads_none_of_its_modules_and_nothing_heavy():
    program = (
        "import json, sys; before = set(sys.modules); import ia2; print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    loaded = json.loads(run.stdout)
    assert [name for name in loaded if name.startswith("ia2")] == ["ia2"]
    assert not {"torch", "transformers", "numpy"} & set(loaded)


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
