"""Interpretation of the MODEL argument, and the checks possible before anything slow is imported or fetched."""

import json
import re
from pathlib import Path
from typing import Any, Literal

from ia2.errors import InputError, nothing_at
from ia2.models.packaged import PACKAGED
from ia2.unpacking import check_size

Kind = Literal["packaged", "folder", "gguf", "hub"]
"""A built-in model, a folder in the hub's layout, a GGUF file, or a model hub's id."""

CONFIGURATION = "config.json"
WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
PICKLED = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt")
TOKENIZERS = ("tokenizer.json", "*.model", "vocab.json", "vocab.txt", "tekken.json", "*.tiktoken")
SETTINGS, MOST_SETTINGS = (".json", ".jinja", ".txt", ".model"), 2**28
"""Endings of files that are read whole, and their most bytes; the largest tokenizers have some tens of megabytes."""
GGUF_MAGIC = b"GGUF"

HUB_ID = re.compile(r"(?!.*(--|\.\.))[A-Za-z0-9_](?:[\w.-]*\w)?(?:/[A-Za-z0-9_](?:[\w.-]*\w)?)?", re.ASCII)
LONGEST_HUB_ID = 96


def check_model_name(name: str | Path) -> None:
    """Refuse a MODEL that can't be loaded, as far as the name and the files on disk show.

    Imports and fetches nothing, so it can run before anything slow. An unknown hub id is only found later.

    Raises:
        InputError: the path doesn't exist or holds no model that can be loaded, or the name can't be a hub id.
    """
    kind = kind_of(name)
    if kind == "folder":
        check_folder(path_of(name), str(name))
    elif kind == "gguf":
        _check_gguf_file(path_of(name), str(name))
    elif kind == "hub" and (not HUB_ID.fullmatch(str(name)) or len(str(name)) > LONGEST_HUB_ID):
        raise InputError(
            f"{str(name)!r}: this is neither a built-in model ({', '.join(PACKAGED)}), nor a folder or GGUF file that "
            "exists, nor can it be a hub id such as org/name."
        )


def kind_of(name: str | Path) -> Kind:
    """Return the kind of a MODEL. Anything that looks like a path is one, and is never looked up on the hub.

    A built-in name takes precedence over a folder of that name, which can be given as `./name`.
    """
    if isinstance(name, str):
        if name in PACKAGED:
            return "packaged"
        if not _is_path_like(name):
            return "hub"
    path = path_of(name)
    return "gguf" if path.is_file() or (path.suffix.lower() == ".gguf" and not path.is_dir()) else "folder"


def path_of(name: str | Path) -> Path:
    """Return the path a MODEL names, with `~` expanded."""
    try:
        return Path(name).expanduser()
    except RuntimeError as error:
        raise InputError(f"{name}: this machine has no home folder of that user.") from error


def _is_path_like(name: str) -> bool:
    return (
        name.startswith((".", "/", "~"))
        or "\\" in name
        or name.lower().endswith((".gguf", ".safetensors", ".bin"))
        or name.endswith("/")
        or name.count("/") > 1
        or (bool(name) and Path(name).exists())
    )


def check_folder(folder: Path, name: str) -> None:
    """Refuse a folder that isn't a causal language model in the hub's layout with safetensors weights.

    Args:
        folder: the model's folder.
        name: the name the user gave.

    Raises:
        InputError: a file is missing or damaged; the error names the folder and the file.
    """
    if not folder.exists():
        raise nothing_at(name, "there is no such file or folder.", hub="model")
    if not (folder / CONFIGURATION).is_file():
        hint = "Name a folder in the hub's layout, a GGUF file, or a hub id."
        if (folder / "adapter_config.json").is_file():
            hint = "It holds an adapter; name the model it was trained on, and this folder as the adapter."
        elif files := sorted(folder.glob("*.gguf")):
            hint = f"Name the GGUF file in it: {files[0]}."
        raise InputError(f"{name}: this folder holds no model: {CONFIGURATION} is missing. {hint}")
    for file in (file for file in sorted(folder.iterdir()) if file.suffix in SETTINGS):
        try:
            check_size(file, MOST_SETTINGS)
        except ValueError as error:
            raise InputError(f"{file}: this file is damaged, {error}.") from error
    configuration = read_json(folder / CONFIGURATION)
    if configuration.get("is_encoder_decoder"):
        raise InputError(
            f"{name}: this is an encoder-decoder model, and only causal (decoder-only) language models can be used."
        )
    _check_weights(folder, name)
    if not any(any(folder.glob(pattern)) for pattern in TOKENIZERS):
        raise InputError(
            f"{name}: this folder holds no tokenizer: tokenizer.json is missing. Save the model's tokenizer into it."
        )


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a model's file.

    Raises:
        InputError: the file holds no JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # ValueError includes bytes that aren't UTF-8
        raise InputError(f"{path}: this file is damaged, it isn't JSON ({error}).") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: this file is damaged, it doesn't hold a JSON object.")
    return value


def check_shards(folder: Path) -> tuple[str, ...]:
    """Return the weight files in a folder's index, if it has one; they are safetensors in that folder.

    Raises:
        InputError: the index is damaged, or names other files.
    """
    if not (folder / WEIGHTS_INDEX).is_file():
        return ()
    shards = read_json(folder / WEIGHTS_INDEX).get("weight_map")
    if not isinstance(shards, dict):
        raise InputError(f"{folder / WEIGHTS_INDEX}: this file is damaged, it has no weight_map.")
    for shard in shards.values():
        if not isinstance(shard, str) or Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise InputError(
                f"{folder / WEIGHTS_INDEX}: this names weights in {shard!r}, and only .safetensors files beside it are "
                "read. Save the model again."
            )
    return tuple(sorted(set(shards.values())))


def _check_weights(folder: Path, name: str) -> None:
    if (folder / WEIGHTS).is_file():
        return
    if shards := check_shards(folder):
        if missing := [shard for shard in shards if not (folder / shard).is_file()]:
            raise InputError(f"{name}: weights are missing: {', '.join(missing)}. Complete the folder.")
        return
    if any(any(folder.glob(pattern)) for pattern in PICKLED):
        raise InputError(
            f"{name}: this folder holds pickled weights only, which can run code when they are read and are never "
            "opened. Save the model again as safetensors (save_pretrained does)."
        )
    raise InputError(f"{name}: this folder holds no weights: {WEIGHTS} is missing. Complete the folder.")


def _check_gguf_file(path: Path, name: str) -> None:
    if not path.exists():
        raise nothing_at(name, "there is no such file or folder.", hub="model")
    with path.open("rb") as file:
        magic = file.read(len(GGUF_MAGIC))
    if magic != GGUF_MAGIC:
        raise InputError(
            f"{name}: this isn't a GGUF file (it doesn't begin with GGUF). Name one, or the folder of a model."
        )
