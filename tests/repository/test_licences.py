"""The licences of what `pip install ia2` brings; `python tests/repository/test_licences.py` writes their page anew."""

import importlib.metadata
from pathlib import Path

from packaging.requirements import Requirement

PAGE = Path(__file__).parents[2] / "docs" / "licences.md"
HEAD = """# Licences

`ia2` is licensed under the Apache License 2.0. Installing it also installs these packages, each under the licence
stated in its metadata. The CUDA build of torch also installs NVIDIA's libraries, under NVIDIA's own terms.

| package | licence |
| --- | --- |
"""
OF_CUDA = ("nvidia-", "cuda-", "triton")
"""How names of packages begin that torch brings for GPUs."""
FOREIGN = ("GPL-3", "GPLv3", "AGPL", "General Public License v3", "Affero")
"""What a package under Apache 2.0 can't be shipped beside without a second thought."""


def dependencies() -> list[str]:
    """Every package that the library needs without its extras, by name."""
    waiting, needed = ["ia2"], set()
    while waiting:
        name = waiting.pop()
        for text in importlib.metadata.requires(name) or []:
            requirement = Requirement(text)
            applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            key = requirement.name.lower().replace("_", "-")
            if applies and key not in needed:
                needed.add(key)
                waiting.append(key)
    return sorted(needed)


def licence(name: str) -> str:
    """A package's licence in a few words."""
    metadata = importlib.metadata.metadata(name)
    classifiers = metadata.get_all("Classifier") or []
    named = [text.rpartition(" :: ")[2] for text in classifiers if text.startswith("License :: ")]
    whole = (metadata.get("License") or "").strip()
    short = whole if whole and "\n" not in whole and len(whole) < 60 else ""
    return metadata.get("License-Expression") or ", ".join(named) or short


def page() -> str:
    rows = [f"| {name} | {licence(name)} |\n" for name in dependencies()]
    return HEAD + "".join(rows)


def test_every_dependency_says_its_licence_and_none_is_foreign():
    licences = {name: licence(name) for name in dependencies()}
    assert "torch" in licences
    assert all(text for name, text in licences.items() if not name.startswith(OF_CUDA)), licences
    assert not {name for name, text in licences.items() if any(part in text for part in FOREIGN)}


def test_the_page_lists_every_dependency():
    listed = {
        line.split(" | ")[0].removeprefix("| ") for line in PAGE.read_text().splitlines() if line.startswith("| ")
    }
    assert {name for name in dependencies() if not name.startswith(OF_CUDA)} <= listed


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
