import errno
import os
import re
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from matplotlib import pyplot
from safetensors import SafetensorError

from ia2.cache import (
    cache_folder,
    folder_written_whole,
    full_disk_named,
    shown_size,
    size_of,
    written_whole,
)
from ia2.errors import FullDiskError, InputError
from ia2.locks import alone_in


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


def names(folder):
    return sorted(os.listdir(folder)) if folder.exists() else None  # noqa: PTH208 - hidden ones, too


@pytest.mark.parametrize("before", [None, "empty"])
def test_a_new_folder_is_there_whole_or_as_it_was(tmp_path, before):
    folder = tmp_path / "deep" / "folder"
    if before:
        folder.mkdir(parents=True)
    kept = names(folder)
    with pytest.raises(RuntimeError, match="mishap"), folder_written_whole(folder) as partial:
        (partial / "new").write_text("half")
        raise RuntimeError("mishap")
    assert names(folder) == kept
    with folder_written_whole(folder) as partial:
        (partial / "new").write_text("whole")
        assert not (folder / "new").exists()
    assert names(folder) == ["new"]
    assert names(folder.parent) == ["folder"]


def test_what_a_person_has_is_never_overwritten_nor_mixed_with_ours(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "theirs").write_text("theirs")
    (tmp_path / "file").write_text("theirs")
    for name, said in (("full", "isn't empty"), ("file", "this is a file")):
        with pytest.raises(InputError, match=said), folder_written_whole(tmp_path / name):
            pytest.fail("the work was begun")


@pytest.mark.parametrize("before", [False, True])
def test_what_appears_meanwhile_is_not_overwritten_either(tmp_path, before):
    folder = tmp_path / "folder"
    if before:
        folder.mkdir()
    with pytest.raises(InputError, match="(isn.t empty|is not overwritten)"), folder_written_whole(folder) as partial:
        (partial / "new").write_text("ours")
        folder.mkdir(exist_ok=True)
        (folder / "new").write_text("theirs")
    assert names(folder) == ["new"]
    assert (folder / "new").read_text() == "theirs"
    assert names(tmp_path) == ["folder"]


@pytest.mark.parametrize("before", [None, "empty", "full"])
def test_a_cached_folder_is_replaced_whole_or_stays(tmp_path, before):
    folder = tmp_path / "deep" / "folder"
    if before:
        folder.mkdir(parents=True)
    if before == "full":
        (folder / "old").write_text("old")
    kept = names(folder)
    with pytest.raises(RuntimeError, match="mishap"), folder_written_whole(folder, replace=True) as partial:
        (partial / "new").write_text("half")
        raise RuntimeError("mishap")
    assert names(folder) == kept
    with folder_written_whole(folder, replace=True) as partial:
        (partial / "new").write_text("whole")
        assert names(folder) == kept
    assert names(folder) == ["new"]
    assert names(folder.parent) == ["folder"]


def test_what_is_written_has_ordinary_permissions(tmp_path):
    (tmp_path / "plain").write_text("")
    (tmp_path / "plain folder").mkdir()
    with written_whole(tmp_path / "file") as partial:
        partial.write_text("")
    with folder_written_whole(tmp_path / "folder"):
        pass
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert (tmp_path / "folder").stat().st_mode == (tmp_path / "plain folder").stat().st_mode


def test_a_folder_that_the_system_does_not_make_is_refused_by_name(tmp_path, monkeypatch):
    def refused(*_arguments, **_keywords):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refused)
    told = r"new: this folder can't be made \(Read-only file system\)"
    with pytest.raises(InputError, match=told), folder_written_whole(tmp_path / "new"):
        pass


def write_json(path):
    with path.open("w") as file:
        file.write("x" * 100_000)


def write_table(path):
    pyarrow.parquet.write_table(pyarrow.table({"value": list(range(100_000))}), path)


def write_figure(path):
    figure, axes = pyplot.subplots()
    axes.plot([1, 2])
    try:
        figure.savefig(path, format="png")
    finally:
        pyplot.close(figure)


def write_tensors(path):
    # what it raises where a disk is full
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize("write", [write_json, write_table, write_figure, write_tensors])
def test_a_full_disk_is_named_by_its_folder_and_leaves_things_as_they_were(tmp_path, write):
    for whole, written in [
        (written_whole, lambda partial: partial),
        (folder_written_whole, lambda partial: partial / "a"),
    ]:
        name = tmp_path / whole.__name__ / "result"
        name.parent.mkdir()
        with pytest.raises(FullDiskError) as refusal, whole(name) as partial:
            (partial.parent if written(partial) == partial else partial).joinpath("before").write_bytes(b"1" * 2000)
            # a device that is always full
            written(partial).symlink_to("/dev/full")
            write(written(partial))
        assert str(refusal.value).startswith(f"{name.parent}: the disk of this folder is full (")
        assert "result needs more than the " + ("0 bytes" if whole is written_whole else "2.0 kB") in str(refusal.value)
        assert not name.exists()
        assert [entry.name for entry in name.parent.iterdir()] == ["before"] * (whole is written_whole)


def test_another_failure_is_no_full_disk(tmp_path):
    with pytest.raises(OSError, match="^damaged$"), written_whole(tmp_path / "file"):
        raise OSError("damaged")


def test_sizes_as_people_read_them(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "a").write_bytes(b"1" * 1200)
    (tmp_path / "folder" / "b").write_bytes(b"1" * 300)
    (tmp_path / "folder" / "link").symlink_to(tmp_path / "a")
    assert size_of(tmp_path) == 1500
    assert size_of(tmp_path / "absent") == 0
    assert [shown_size(size) for size in (999, 1500, 2_340_000, 5 * 10**9, 10**13)] == [
        "999 bytes", "1.5 kB", "2.3 MB", "5.0 GB", "10.0 TB",
    ]  # fmt: skip


def test_a_folder_that_can_not_be_made_is_a_mistake_of_the_persons(tmp_path, monkeypatch):
    def refused(*_arguments, **_keywords):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    monkeypatch.setattr(Path, "mkdir", refused)
    refusal = pytest.raises(InputError, match=r"new: this folder can't be made \(No such file or directory\)")
    with refusal, alone_in(tmp_path / "new"):
        pass


def test_without_a_home_a_folder_for_the_cache_is_asked_for(monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    for name in ("IA2_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(InputError, match="no home folder for the cache. Set IA2_CACHE_DIR"):
        cache_folder()


def test_a_library_that_writes_into_a_folder_of_its_own_finds_the_full_disk_named(tmp_path):
    # tokenizers' own error has neither a number nor a file
    full, folder = Exception("No space left on device (os error 28)"), tmp_path / "adapter"
    folder.mkdir()
    (folder / "tokenizer.json").write_text("abc")
    message = (
        rf"^{re.escape(str(tmp_path))}: the disk of this folder is full \(.*\)\. adapter needs more than the 3 bytes"
    )
    with pytest.raises(FullDiskError, match=message), full_disk_named(folder):
        raise full
