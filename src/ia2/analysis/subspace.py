"""Subspace overlap: how much the output directions of two adapters' updates coincide (section 5, Figure 4)."""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ia2.adapters.adapter import Adapter
from ia2.adapters.lora import LowRank
from ia2.adapters.registry import effect_of
from ia2.errors import InputError

FACTOR = re.compile(r"(?:base_model\.model\.)?(?P<path>.+)\.lora_(?P<side>[AB])\.weight")
LAYER = re.compile(r"\.(\d+)\.(.+)")


@dataclass(frozen=True)
class Overlap:
    """The subspace overlap of two adapters, module by module."""

    by_module: Mapping[tuple[int, str], float]
    """By the layer, counted from 0, and the module's name in it (`self_attn.q_proj`); each in [0, 1]."""
    random_by_module: Mapping[tuple[int, str], float]
    """What two random subspaces of the same dimensions would share on average, module by module."""

    @property
    def by_layer(self) -> dict[int, float]:
        """The mean over the modules of each layer."""
        values: dict[int, list[float]] = defaultdict(list)
        for (layer, _), value in self.by_module.items():
            values[layer].append(value)
        return {layer: sum(layer_values) / len(layer_values) for layer, layer_values in sorted(values.items())}

    @property
    def mean(self) -> float:
        """Over modules and layers."""
        return sum(self.by_module.values()) / len(self.by_module)

    @property
    def mean_of_random(self) -> float:
        """The same of random subspaces."""
        return sum(self.random_by_module.values()) / len(self.random_by_module)


def subspace_overlap(first: Adapter, second: Adapter) -> Overlap:
    """The overlap of two LoRA adapters' weight updates at each module (section 5; PROTOCOL, Evaluation).

    Args:
        first: an adapter.
        second: one of the same rank on the same modules.

    Raises:
        InputError: one isn't a plain LoRA adapter, or they differ in rank or modules.

    Example:
        >>> adapter = fresh_adapter(model.network, LoRA(rank=2).configuration(model.network), seed=0)
        >>> adapter.weights.update({name: torch.randn_like(tensor) for name, tensor in adapter.weights.items()})
        >>> round(subspace_overlap(adapter, adapter).mean, 3)
        1.0
    """
    ours, theirs = _factors(first), _factors(second)
    if ours.keys() != theirs.keys():
        path = sorted(ours.keys() ^ theirs.keys())[0]
        raise InputError(
            f"subspace overlap: only one of the adapters has {path}. Compare adapters on the same modules."
        )
    overlaps, of_random = {}, {}
    for path, (b, a) in ours.items():
        their_b, their_a = theirs[path]
        if (b.shape, a.shape) != (their_b.shape, their_a.shape):
            raise InputError(
                f"subspace overlap: at {path} the adapters' factors are {tuple(b.shape)}, {tuple(a.shape)} and "
                f"{tuple(their_b.shape)}, {tuple(their_a.shape)}. Compare adapters of one rank for one model."
            )
        first_basis, second_basis, rank = update_basis(b, a), update_basis(their_b, their_a), b.shape[1]
        module = _layer_and_module(path)
        overlaps[module] = overlap_of(first_basis, second_basis, rank=rank)
        # each of k random unit vectors of d dimensions has the share l/d of its square in a space of l of them
        of_random[module] = first_basis.shape[1] * second_basis.shape[1] / len(b) / rank
    return Overlap(dict(sorted(overlaps.items())), dict(sorted(of_random.items())))


def update_basis(b: Float[Tensor, "out rank"], a: Float[Tensor, "rank in"]) -> Float[Tensor, "out kept"]:
    """The left singular vectors of the update BA, in float64; never forms the product of out × in.

    With B = QR and Aᵀ = PS the update is Q(RSᵀ)Pᵀ, so its left singular vectors are Q times those of the small RSᵀ.
    Vectors of singular values that are 0 but for rounding are left out, for any others would do as well: `kept` is the
    rank of the update, 0 where the module wasn't changed at all.

    Args:
        b: the factor that writes.
        a: the factor that reads.
    """
    q, r = torch.linalg.qr(b.double())
    small = r @ torch.linalg.qr(a.double().mT).R.mT
    vectors, values, _ = torch.linalg.svd(small)
    rounding = max(len(b), a.shape[1]) * torch.finfo(torch.float64).eps
    numerical_rank = int((values > rounding * values[0]).sum())
    basis: Tensor = q @ vectors[:, :numerical_rank]
    return basis


def overlap_of(first: Float[Tensor, "out k"], second: Float[Tensor, "out l"], *, rank: int) -> float:
    """(1/r)·‖U₁ᵀU₂‖²_F, in [0, 1]: 0 of orthogonal subspaces, 1 of the same where they have the full rank (section 5).

    Args:
        first: orthonormal columns.
        second: orthonormal columns.
        rank: r, the rank that the adapters were given; an update that has a lower one counts for less.
    """
    return min(1.0, float((first.mT @ second).square().sum()) / rank)


def _factors(adapter: Adapter) -> dict[str, tuple[Tensor, Tensor]]:
    """B and A of each module, by its path."""
    sides: dict[str, dict[str, Tensor]] = defaultdict(dict)
    matches = [(FACTOR.fullmatch(name), tensor) for name, tensor in adapter.weights.items()]
    if not isinstance(effect_of(adapter.configuration), LowRank) or not all(match for match, _ in matches):
        kind = adapter.as_record(None)["kind"]
        raise InputError(
            f"subspace overlap: an adapter of kind {kind} with these settings isn't a low-rank update alone. Compare "
            "plain LoRA adapters."
        )
    for match, tensor in matches:
        assert match is not None  # refused above
        sides[match["path"]][match["side"]] = tensor
    return {path: (factors["B"], factors["A"]) for path, factors in sides.items()}


def _layer_and_module(path: str) -> tuple[int, str]:
    match = LAYER.search(path)
    if match is None:
        raise InputError(f"subspace overlap: {path} lies in no numbered layer. Compare adapters on a model's layers.")
    return int(match[1]), match[2]
