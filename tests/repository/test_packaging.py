"""The wheel and the source distribution are built, checked and installed as a package index would serve them."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
CONSTRAINTS = REPOSITORY / "constraints.txt"

pytestmark = pytest.mark.slow


def output(*command, folder):
    """What a command prints, outside of the repository and of its environment."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    completed = subprocess.run(
        [str(part) for part in command], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    return completed.stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """The folder with a wheel and a source distribution, the wheel built from the latter."""
    folder = tmp_path_factory.mktemp("distributions")
    venv.create(folder / "tools", with_pip=True)
    python = folder / "tools" / "bin" / "python"
    output(python, "-m", "pip", "install", "-q", "-c", CONSTRAINTS, "build", "hatchling", "twine", folder=folder)
    output(python, "-m", "build", "--no-isolation", "--outdir", folder / "dist", REPOSITORY, folder=folder)
    output(python, "-m", "twine", "check", "--strict", *(folder / "dist").iterdir(), folder=folder)
    return folder / "dist"


def files_of_the_package():
    """Every file of the package that git knows, as the wheel should name it."""
    listed = output("git", "-C", REPOSITORY, "ls-files", "src/ia2", folder=REPOSITORY)
    return {path.removeprefix("src/") for path in listed.splitlines()}


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(distributions):
    (wheel,) = distributions.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == files_of_the_package()
    assert {Path(name).suffix for name in held} >= {".py", ".jinja", ".css", ".js", ".csv", ".typed"}


def test_the_same_source_makes_the_same_wheel_to_the_bit(distributions, tmp_path):
    (first,) = distributions.glob("*.whl")
    (source,) = distributions.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    for file in folder.rglob("*"):
        os.utime(file, (0, 1e9))
    python = distributions.parent / "tools" / "bin" / "python"
    output(python, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path / "again", folder, folder=tmp_path)
    (second,) = (tmp_path / "again").glob("*.whl")
    assert second.read_bytes() == first.read_bytes()


def test_the_source_distribution_holds_what_its_tests_need(distributions):
    (source,) = distributions.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert {f"src/{name}" for name in files_of_the_package()} <= held
    assert {
        "LICENSE",
        "README.md",
        "constraints.txt",
        "tests/conftest.py",
        "experiments/quick.yaml",
        "docs/install.md",
    } <= held


def test_the_wheel_runs_in_an_environment_of_its_own(distributions, tmp_path):
    (wheel,) = distributions.glob("*.whl")
    venv.create(tmp_path / "fresh", with_pip=True)
    commands = tmp_path / "fresh" / "bin"
    output(commands / "python", "-m", "pip", "install", "-q", "--no-deps", wheel, folder=tmp_path)
    # dependencies are those of this environment, which `make install` has resolved: torch alone would take minutes
    site = Path(
        output(
            commands / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=tmp_path
        ).strip()
    )
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    where = output(commands / "python", "-c", "import ia2; print(ia2.__file__)", folder=tmp_path)
    assert Path(where.strip()) == site / "ia2" / "__init__.py"
    version = output(sys.executable, "-c", "import importlib.metadata as m; print(m.version('ia2'))", folder=tmp_path)
    assert output(commands / "ia2", "--version", folder=tmp_path).strip().endswith(version.strip())
    assert "reviews" in output(commands / "ia2", "tasks", folder=tmp_path)
