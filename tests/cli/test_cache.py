import os
import time

import pytest
from command_line import run

from ia2.cli.cache import DAY, entries, prune
from ia2.locks import mark_in_use


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache folder with three entries: used 40 days ago, 5 days ago and now; and something of the person's."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("IA2_CACHE_DIR", str(folder))
    for path, size, days in [
        ("models/old.gguf", 3000, 40),
        ("targets/abc/00000.safetensors", 1500, 5),
        ("stages/def/bank.safetensors", 500, 0),
        ("mine/letter.txt", 10, 400),
    ]:
        file = folder / path
        file.parent.mkdir(parents=True)
        file.write_bytes(b"1" * size)
        then = time.time() - days * DAY
        for part in (file, *([file.parent] if file.parent.parent.parent == folder else ())):
            os.utime(part, (then, then))
    return folder


def test_what_is_kept_is_listed_by_kind_with_its_size(capsys, cache):
    status, out, err = run(capsys, "cache")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"{cache}: 5.0 kB"
    shown = {line.split()[0]: line.split()[1:4] for line in lines[2:]}
    assert shown == {"models": ["1", "3.0", "kB"], "targets": ["1", "1.5", "kB"], "stages": ["1", "500", "bytes"]}


def test_where_it_is(capsys, cache):
    assert run(capsys, "cache", "where") == (0, f"{cache}\n", "")


@pytest.mark.parametrize(
    ("days", "left", "said"),
    [
        (["--days", "41"], {"old.gguf", "abc", "def"}, "removed 0 entries (0 bytes), 5.0 kB left."),
        ([], {"abc", "def"}, "removed 1 entry (3.0 kB), 2.0 kB left."),
        (["--days", "4"], {"def"}, "removed 2 entries (4.5 kB), 500 bytes left."),
        (["--days", "0"], set(), "removed 3 entries (5.0 kB), 0 bytes left."),
    ],
)
def test_what_was_not_used_for_long_is_taken_away_and_nothing_else(capsys, cache, days, left, said):
    assert run(capsys, "cache", "prune", *days) == (0, f"{cache}: {said}\n", "")
    assert {entry.path.name for entry in entries(cache)} == left
    assert (cache / "mine" / "letter.txt").exists()


def test_a_link_is_taken_away_and_not_what_it_leads_to(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").touch()
    (tmp_path / "cache" / "targets").mkdir(parents=True)
    link = tmp_path / "cache" / "targets" / "link"
    link.symlink_to(tmp_path / "elsewhere")
    assert [entry.path for entry in prune(tmp_path / "cache", 0, time.time() + 1)] == [link]
    assert not link.is_symlink()
    assert (tmp_path / "elsewhere" / "file").exists()


def test_no_cache_is_an_empty_one(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("IA2_CACHE_DIR", str(tmp_path / "absent"))
    status, out, _ = run(capsys, "cache")
    assert (status, out.splitlines()[0]) == (0, f"{tmp_path / 'absent'}: 0 bytes")
    assert run(capsys, "cache", "prune")[0] == 0
    assert run(capsys, "cache", "list", "--days", "3")[::2] == (2, "--days 3: this goes with prune: ia2 cache prune.\n")
    assert run(capsys, "cache", "prune", "--days", "-1")[2] == "--days -1: this must be 0 or more.\n"


class User:
    """Whoever uses a folder of the cache."""


@pytest.mark.parametrize("jump", [-3600, 0, 366 * DAY])
def test_what_is_in_use_stays_whatever_the_clock_says(cache, jump):
    user = User()
    mark_in_use(cache / "targets" / "abc", user)
    assert "abc" not in {entry.path.name for entry in prune(cache, 0, time.time() + jump)}
    assert {entry.path.name for entry in entries(cache)} == {"abc"} | ({"def"} if jump < 0 else set())
    del user
    assert [entry.path.name for entry in prune(cache, 0, time.time() + 366 * DAY) if entry.kind == "targets"] == ["abc"]
