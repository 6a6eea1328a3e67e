"""The pages of the site say what the project has: every public name, every extra, and commands that exist."""

import re
import tomllib
from collections import Counter
from pathlib import Path

import yaml

import ia2

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
INSTALL = (DOCS / "install.md").read_text(encoding="utf-8")


def test_each_public_name_stands_on_one_page_of_the_reference():
    shown = Counter()
    for page in (DOCS / "api").glob("*.md"):
        shown.update(re.findall(r"^::: ia2\.(\w+)$", page.read_text(encoding="utf-8"), re.MULTILINE))
    assert shown == Counter(ia2.__all__)


def test_the_references_first_page_links_each_name_to_its_page():
    links = re.findall(r"\[`(\w+)`\]\((\w+\.md)#ia2\.(\w+)\)", (DOCS / "api" / "index.md").read_text(encoding="utf-8"))
    assert sorted(name for name, _, _ in links) == sorted(ia2.__all__)
    for name, page, anchor in links:
        assert name == anchor
        assert f"\n::: ia2.{name}\n" in (DOCS / "api" / page).read_text(encoding="utf-8")


def test_the_pages_of_the_reference_say_where_model_and_task_come_from():
    for page in (DOCS / "api").glob("*.md"):
        text = page.read_text(encoding="utf-8")
        assert [words for words in ("`model`", "`task`", "load_model", "load_task") if words not in text] == [], page


def test_installing_names_the_processor_build_first_and_every_extra():
    (table,) = re.findall(r"^\| extra \|.*?(?=\n\n|\Z)", INSTALL, re.DOTALL | re.MULTILINE)
    named = {name for row in table.splitlines()[2:] for name in re.findall(r"`([a-z]+)`", row.split("|")[1])}
    assert named == set(PROJECT["optional-dependencies"])
    installs = re.findall(r"^pip install .*$", INSTALL, re.MULTILINE)
    assert installs == ["pip install torch --index-url https://download.pytorch.org/whl/cpu", *["pip install ."] * 2]
    (minor,) = re.findall(r"Python 3\.(\d+) or newer", INSTALL)
    assert PROJECT["requires-python"] == f">=3.{minor}"


def test_the_makefile_has_each_target_that_a_page_names():
    targets = set(re.findall(r"^([a-z-]+)(?: [a-z-]+)*:", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.M))
    targets |= {"test-slow"}  # shares a rule with test
    pages = [*DOCS.glob("*.md"), *REPOSITORY.glob("*.md")]
    asked = {
        target
        for page in pages
        for target in re.findall(
            r"(?:^|`|\s)make ([a-z][a-z-]*)(?=`|$| #| ARGS|\s{2,})", page.read_text(encoding="utf-8"), re.M
        )
    }
    assert asked >= {"demo", "test", "docs", "install"}
    assert asked <= targets


def test_links_from_the_first_folder_lead_to_files_of_the_repository():
    links = [
        link
        for page in REPOSITORY.glob("*.md")
        for link in re.findall(r"\]\(([^)#:]+)(?:#[\w-]*)?\)", page.read_text(encoding="utf-8"))
    ]
    assert len(links) > 10
    assert [link for link in links if not (REPOSITORY / link).exists()] == []


def test_changes_and_citation_name_the_version_that_is_built():
    changes = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    unreleased, latest, *_ = re.findall(r"^## \[?([\w.]+)\]?", changes, re.MULTILINE)
    assert (unreleased, latest) == ("Unreleased", PROJECT["version"])
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])
    # the README names the paper too
    (paper,) = citation["references"]
    readme = " ".join((REPOSITORY / "README.md").read_text(encoding="utf-8").split())
    assert f"*{paper['title']}* ({', '.join(author['family-names'] for author in paper['authors'])})" in readme
