"""GGUF files: dequantised once into a folder of the cache, from which they load like any other model."""

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path

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
    """Where a GGUF file's dequantised weights and tokenizer are kept, in the cache folder `kept`."""
    return cache_dir / "models" / f"{file.stem}-{sha256[:16]}"


def dequantised(file: Path, sha256: str, cache_dir: Path, progress: Progress) -> Path:
    """The folder of a GGUF file's dequantised weights and tokenizer, made the first time it is needed."""
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
    # the reader draws a bar of its own, which can't be told not to
    with folder_written_whole(folder, replace=True) as partial, quiet(), redirect_stderr(io.StringIO()):
        try:
            of_file = {"gguf_file": file.name, "trust_remote_code": False}
            network = AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **of_file)
            tokenizer = AutoTokenizer.from_pretrained(file.parent, **of_file)
        except Exception as error:  # the reader has many ways to fail on a file that is cut short or of an unknown kind
            raise InputError(f"{file}: transformers can't read this GGUF file ({first_line(error)}).") from error
        # what was dequantised is a plain model, and is saved as one
        network.hf_quantizer = None
        if hasattr(network.config, "quantization_config"):
            del network.config.quantization_config
        network.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        (partial / CHECKSUM_FILE).write_text(folder_checksum(partial))
    return folder


def folder_checksum(folder: Path) -> str:
    """The SHA-256 of a model folder's configuration and weights, in hexadecimal."""
    digest = hashlib.sha256()
    for file in (folder / "config.json", *sorted(folder.glob("*.safetensors"))):
        digest.update(f"{file.name} {sha256_of(file)}\n".encode())
    return digest.hexdigest()


def first_line(error: Exception) -> str:
    """What a library says went wrong, for one sentence of ours."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' own bars and advice, which speak of things that are handled here."""
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
