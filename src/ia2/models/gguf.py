"""GGUF files, which are dequantised once into a cache folder and then loaded like any other model."""

import hashlib
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from ia2.cache import folder_written_whole
from ia2.errors import InputError
from ia2.models.gguf_header import check_gguf_header
from ia2.models.packaged import sha256_of
from ia2.progress import Progress

CHECKSUM_FILE = "weights.sha256"


def dequantised_folder(file: Path, sha256: str, cache_dir: Path) -> Path:
    """Return the folder for a GGUF file's dequantised weights and tokenizer, inside the cache folder `cache_dir`."""
    return cache_dir / "models" / f"{file.stem}-{sha256[:16]}"


def dequantised(file: Path, sha256: str, cache_dir: Path, progress: Progress) -> Path:
    """Return the folder of a GGUF file's dequantised weights and tokenizer, creating it at first use.

    Raises:
        InputError: the file is damaged, or transformers can't read it.
    """
    folder = dequantised_folder(file, sha256, cache_dir)
    if folder.is_dir():
        try:
            if (folder / CHECKSUM_FILE).read_text() == folder_checksum(folder):
                return folder
        except OSError:
            pass
        progress.say(f"{folder}: the dequantised model is truncated or was changed; making it again.")
    check_gguf_header(file)
    progress.say(f"Dequantising {file.name} (only once) …")
    # transformers' GGUF reader shows a progress bar that can't be disabled
    with folder_written_whole(folder, replace=True) as partial, quiet(), redirect_stderr(io.StringIO()):
        try:
            gguf_settings = {"gguf_file": file.name, "trust_remote_code": False}
            network, loading_info = AutoModelForCausalLM.from_pretrained(
                file.parent, dtype=torch.float32, output_loading_info=True, **gguf_settings
            )
            tokenizer = AutoTokenizer.from_pretrained(file.parent, **gguf_settings)
        except Exception as error:  # the reader fails in many ways on truncated files and unknown architectures
            raise InputError(f"{file}: transformers can't read this GGUF file ({first_line(error)}).") from error
        check_no_weight_missing(loading_info, str(file))
        # the dequantised model is a plain one, and is saved as such
        network.hf_quantizer = None
        if hasattr(network.config, "quantization_config"):
            del network.config.quantization_config
        network.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        (partial / CHECKSUM_FILE).write_text(folder_checksum(partial))
    return folder


def folder_checksum(folder: Path) -> str:
    """Return the SHA-256 of a model folder's configuration and weights, in hexadecimal."""
    digest = hashlib.sha256()
    for file in (folder / "config.json", *sorted(folder.glob("*.safetensors"))):
        digest.update(f"{file.name} {sha256_of(file)}\n".encode())
    return digest.hexdigest()


def check_no_weight_missing(loading_info: Mapping[str, Any], name: str) -> None:
    """Refuse a model that lacks weights, which transformers would initialise at random.

    Args:
        loading_info: what transformers reports about loading it.
        name: the name of the model in the error.

    Raises:
        InputError: a weight is missing.
    """
    if absent := sorted(loading_info["missing_keys"]):
        raise InputError(f"{name}: {len(absent)} of its weights are missing, {absent[0]} among them.")


def first_line(error: Exception) -> str:
    """Return the first line of a library's error, without its full stop, to quote in a message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' progress bars and warnings, which concern things handled here."""
    verbosity = transformers.logging.get_verbosity()
    bars = transformers.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(verbosity)
        if bars:
            transformers.logging.enable_progress_bar()
