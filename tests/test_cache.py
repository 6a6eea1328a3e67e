import os
from pathlib import Path

import pytest

from ia2.cache import cache_folder, folder_written_whole, written_whole


def test_the_cache_folder_is_the_users_choice(monkeypatch, tmp_path):
    monkeypatch.setenv("IA2_CACHE_DIR", str(tmp_path / "mine"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("IA2_CACHE_DIR")
    assert cache_folder() == tmp_path / "xdg" / "ia2"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "ia2"


@pytest.mark.parametrize("before", [None, "old"])
def test_a_file_is_there_whole_or_as_it_was(tmp_path, before):
    path = tmp_path / "deep" / "file.txt"
    if before:
        path.parent.mkdir()
        path.write_text(before)
    with pytest.raises(RuntimeError, match="mishap"), written_whole(path) as partial:
        partial.write_text("half")
        assert (path.read_text() if path.exists() else None) == before
        raise RuntimeError("mishap")
    assert (path.read_text() if path.exists() else None) == before
    with written_whole(path) as partial:
        partial.write_text("whole")
    assert path.read_text() == "whole"
    assert os.listdir(path.parent) == ["file.txt"]  # noqa: PTH208 - hidden ones, too


@pytest.mark.parametrize("before", [None, "empty", "full"])
def test_a_folder_is_there_whole_or_as_it_was(tmp_path, before):
    folder = tmp_path / "deep" / "folder"
    if before:
        folder.mkdir(parents=True)
    if before == "full":
        (folder / "old").write_text("old")

    def content():
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else None

    kept = content()
    with pytest.raises(RuntimeError, match="mishap"), folder_written_whole(folder) as partial:
        (partial / "new").write_text("half")
        raise RuntimeError("mishap")
    assert content() == kept
    with folder_written_whole(folder) as partial:
        (partial / "new").write_text("whole")
        assert content() == kept
    assert content() == ["new"]
    assert os.listdir(folder.parent) == ["folder"]  # noqa: PTH208


def test_what_is_written_has_ordinary_permissions(tmp_path):
    (tmp_path / "plain").write_text("")
    (tmp_path / "plain folder").mkdir()
    with written_whole(tmp_path / "file") as partial:
        partial.write_text("")
    with folder_written_whole(tmp_path / "folder"):
        pass
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert (tmp_path / "folder").stat().st_mode == (tmp_path / "plain folder").stat().st_mode
