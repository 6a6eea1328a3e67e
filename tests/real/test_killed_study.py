"""The smallest study, through the command line, killed again and again: its records are those of an undisturbed run."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from small_study import content

from ia2.cache import cache_folder

STUDY = Path(__file__).parents[2] / "experiments" / "quick.yaml"
FIRST, SECOND = "smollm2-135m-reviews-n4-set0", "smollm2-135m-reviews-n4-set1"


PATIENCE = 1200
"""Seconds that a run may take before it counts as one that hangs; it takes about one minute."""


def started(folder: Path, cache: Path) -> subprocess.Popen[bytes]:
    """`ia2 run`, with a cache of its own for all but models, which would be fetched anew."""
    models = cache_folder() / "models"
    models.mkdir(parents=True, exist_ok=True)
    cache.mkdir(exist_ok=True)
    if not (cache / "models").exists():
        (cache / "models").symlink_to(models)
    command = [sys.executable, "-c", "import sys; from ia2.cli.main import main; sys.exit(main())", "run", str(STUDY)]
    environment = {**os.environ, "IA2_CACHE_DIR": str(cache)}
    return subprocess.Popen([*command, "--out", str(folder)], env=environment)


def ended(folder: Path, cache: Path) -> int:
    """The status of an undisturbed run."""
    with started(folder, cache) as process:
        try:
            return process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def killed_when(folder: Path, cache: Path, moment: Callable[[], bool]) -> bool:
    """Whether a run was killed at a moment, before it ended."""
    begun = time.monotonic()
    process = started(folder, cache)
    while process.poll() is None:
        killed = moment()
        if killed or time.monotonic() - begun > PATIENCE:
            process.kill()
            process.wait()
            assert killed, f"a run hangs: {PATIENCE} s have passed"
            return True
        time.sleep(0.001)
    return False


@pytest.mark.slow
def test_the_smallest_study_killed_at_many_moments_ends_with_the_same_records(tmp_path):
    assert ended(tmp_path / "whole", tmp_path / "cache-whole") == 0
    torn, cache = tmp_path / "torn", tmp_path / "cache-torn"

    def there(part: str, unit: str) -> bool:
        return (torn / part / unit).is_dir()

    def measured(unit: str, name: str) -> bool:
        return (torn / "unfinished" / unit / "records" / unit / f"{name}_on_reviews.json").exists()

    moments: list[Callable[[], bool]] = [
        # as it begins, as it measures, as the teacher answers, and before training
        lambda: (torn / "plan.json").exists(),
        lambda: measured(FIRST, "zero-shot"),
        lambda: any((cache / "targets").glob("*/*.safetensors")),
        lambda: measured(FIRST, "icl"),
        # as the first unit is taken in
        lambda: there("predictions", FIRST),
        # at the second
        lambda: there("records", FIRST) and measured(SECOND, "icl"),
        lambda: there("adapters", SECOND),
    ]
    assert [killed_when(torn, cache, moment) for moment in moments] == [True] * len(moments)
    assert ended(torn, cache) == 0
    assert content(torn) == content(tmp_path / "whole")
    assert not list((torn / "unfinished").iterdir())
    # once more, and nothing is computed again
    before = {path: path.stat().st_mtime_ns for path in torn.glob("records/*/*.json")}
    assert ended(torn, cache) == 0
    assert {path: path.stat().st_mtime_ns for path in torn.glob("records/*/*.json")} == before
