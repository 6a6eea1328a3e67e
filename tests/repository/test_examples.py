"""The examples in docstrings are run, and the public names have one."""

import ast
import doctest
import importlib
from pathlib import Path

import pytest
import torch

import ia2

SOURCE = Path(__file__).parents[2] / "src"
# a public name whose docstring has no example yet; it may only get shorter
WITHOUT_EXAMPLE = {"METHODS"}  # a mapping has no docstring that Python knows


def docstrings(path):
    """Each docstring of a file that holds an example, with the name and line of what it belongs to.

    They are read from the source: doctest passes over functions that a decorator has wrapped.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, documented) and ">>> " in (text := ast.get_docstring(node) or ""):
            yield getattr(node, "name", path.stem), getattr(node, "lineno", 1), text


MODULES = [path for path in sorted((SOURCE / "ia2").rglob("*.py")) if ">>> " in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", MODULES, ids=[str(path.relative_to(SOURCE)) for path in MODULES])
def test_the_examples_of_a_module_give_what_they_show(path, tiny_model, toy_task, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IA2_CACHE_DIR", str(tmp_path / "cache"))
    dotted = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
    names = vars(importlib.import_module(dotted))
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS, verbose=False)
    told, ran = [], 0
    for name, line, text in docstrings(path):
        public = {public: getattr(ia2, public) for public in ia2.__all__}
        known = {"Path": Path, "torch": torch, "model": tiny_model, "task": toy_task, **public, **names}
        test = doctest.DocTestParser().get_doctest(text, known, f"{dotted}.{name}", str(path), line)
        runner.run(test, out=told.append)
        ran += len(test.examples)
    assert ran == sum(line.lstrip().startswith(">>> ") for line in path.read_text(encoding="utf-8").splitlines())
    assert runner.failures == 0, "".join(told)


def test_public_names_have_an_example():
    lacking = {
        name for name in ia2.__all__ if ">>> " not in (getattr(ia2, name).__doc__ or "").partition("Example:")[2]
    }
    assert lacking == WITHOUT_EXAMPLE
