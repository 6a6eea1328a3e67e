"""Reading and checking of an adapter's PEFT configuration, which may come from an untrusted file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from peft import PeftConfig
from peft.tuners.tuners_utils import check_target_module_exists
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from torch import nn

from ia2.errors import InputError
from ia2.time_limit import TimeLimitError, time_limit
from ia2.unpacking import check_size

FILE = "adapter_config.json"
MOST_BYTES = 2**24
"""Of that file; those that name every module have some hundred kilobytes."""
PATIENCE = 5
"""Time limit in seconds for matching patterns of module names against all modules of a network."""
NOT_RUN = ("alora_invocation_tokens", "layer_replication", "megatron_config")
"""PEFT's settings that need more than modules: each row's whole text, replicated layers, or a library named in the
configuration."""
LOADING = ("XLORA", "SHADOW")
"""PEFT's kinds whose configuration names other adapters or models, which PEFT would load from anywhere."""

_Size = Annotated[int, Field(ge=1, le=2**31)]
_Names = str | list[str] | set[str] | None
_Name = Annotated[str, Field(min_length=1)]
"""Of a module that is replaced: PEFT takes an empty one for every module, and puts the network into itself."""
_VALUES: Mapping[str, Any] = {
    "r": Annotated[int, Field(ge=0, le=2**31)] | None,
    "lora_alpha": Annotated[float, Field(ge=-(2**31), le=2**31)] | None,
    "lora_dropout": Annotated[float, Field(ge=0, le=1)],
    "d_initial": float,
    "projection_prng_key": Annotated[int, Field(ge=0, lt=2**63)],
    "target_modules": _Names,
    "exclude_modules": _Names,
    "modules_to_save": list[_Name] | set[_Name] | None,
    "feedforward_modules": _Names,
    "layers_pattern": _Names,
    "layers_to_transform": int | list[int] | None,
    "num_virtual_tokens": _Size | None,
    **dict.fromkeys(("use_dora", "use_rslora", "fan_in_fan_out", "save_projection", "lora_bias"), bool),
    **dict.fromkeys(("rank_pattern", "alpha_pattern"), dict[str, Any] | None),
    **dict.fromkeys(("base_model_name_or_path", "revision"), str | None),
}
"""Types and ranges of the settings read here, by name."""
_DIVIDING: Mapping[str, Any] = {"r": _Size, "lora_alpha": Annotated[float, Field(ge=-(2**31), le=2**31)]}
"""Stricter types for LoRA, whose update is scaled by the ratio of these two."""
_STRICT = ConfigDict(strict=True, allow_inf_nan=False)
_KNOWN = {name: TypeAdapter(kind, config=_STRICT) for name, kind in _VALUES.items()}
_KNOWN_OF_LORA = _KNOWN | {name: TypeAdapter(kind, config=_STRICT) for name, kind in _DIVIDING.items()}


def read_configuration(folder: Path) -> PeftConfig:
    """Read the configuration of an adapter's folder.

    Raises:
        InputError: it can't be read, a setting has an invalid value, or it names other adapters or models to load.
    """
    try:
        check_size(folder / FILE, MOST_BYTES)
        configuration = PeftConfig.from_pretrained(str(folder))
    except Exception as error:  # PEFT has no exception class for damaged files
        raise _unreadable(folder, str(error) or type(error).__name__) from error
    kind = getattr(configuration.peft_type, "value", configuration.peft_type)
    if kind is None:
        raise _unreadable(folder, "it says no peft_type")
    if kind in LOADING:
        raise InputError(
            f"{folder / FILE}: adapters of PEFT's kind {kind} load others from wherever their configuration says, and "
            "aren't loaded here. Run them with PEFT alone."
        )
    for name, known in (_KNOWN_OF_LORA if kind == "LORA" else _KNOWN).items():
        value = getattr(configuration, name, None)
        if hasattr(configuration, name) and not _is_valid(known, value):
            raise _unreadable(folder, f"{name} is {_shortened(value)}")
    return configuration


def check_patterns(network: nn.Module, configuration: PeftConfig) -> None:
    """Refuse a configuration whose patterns of module names are invalid, or take too long on a network's modules.

    Raises:
        InputError: a pattern is invalid or too slow; the error quotes it.
    """
    setting = getattr(configuration, "target_modules", None)
    if not hasattr(configuration, "target_modules") or setting is None:
        return
    try:
        with time_limit(PATIENCE):
            for path, _ in network.named_modules():
                check_target_module_exists(configuration, path)
    except TimeLimitError as error:
        raise InputError(
            f"the adapter's configuration has patterns of module names that take over {PATIENCE} seconds: "
            f"{_shortened(setting)}. Name the modules instead."
        ) from error
    except Exception as error:  # an invalid pattern, or a list of something else than names
        raise InputError(f"the adapter's configuration names modules in a way that can't be read ({error}).") from error


def check_runs_here(configuration: PeftConfig) -> None:
    """Refuse PEFT settings that aren't supported here.

    Raises:
        InputError: such a setting is used; the error names it.
    """
    for setting in NOT_RUN:
        if getattr(configuration, setting, None) is not None:
            raise InputError(f"adapters with PEFT's setting {setting} can't be run here; run them with PEFT alone.")


def check_rank(configuration: PeftConfig, numbers: Sequence[int]) -> None:
    """Refuse a rank for which PEFT would allocate larger matrices than the adapter has.

    Args:
        configuration: the PEFT configuration.
        numbers: number of elements of each of the adapter's tensors.

    Raises:
        InputError: the rank exceeds the number of elements of the largest tensor.
    """
    ranks = [getattr(configuration, "r", None) or 0, *(getattr(configuration, "rank_pattern", None) or {}).values()]
    for rank in ranks:
        if not isinstance(rank, int) or rank > max(numbers, default=0):
            raise InputError(f"the adapter's configuration says rank {_shortened(rank)}, and no matrix is that large.")


def _is_valid(known: Any, value: Any) -> bool:
    try:
        known.validate_python(value)
    except ValidationError:
        return False
    return True


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _unreadable(folder: Path, reason: str) -> InputError:
    return InputError(f"{folder}: the adapter can't be read ({FILE}: {reason.splitlines()[0][:200]}).")
