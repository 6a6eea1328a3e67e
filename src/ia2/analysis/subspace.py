"""Subspace overlap of the output spaces of two adapters' weight updates (section 5, Figure 4)."""

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
    """The subspace overlap of two adapters at each module."""

    by_module: Mapping[tuple[int, str], float]
    """Overlap in [0, 1] by layer index, from 0, and the module's name in the layer (`self_attn.q_proj`)."""
    random_by_module: Mapping[tuple[int, str], float]
    """Expected overlap of two random subspaces of the same dimensions at each module."""

    @property
    def by_layer(self) -> dict[int, float]:
        """Mean over the modules of each layer."""
        values: dict[int, list[float]] = defaultdict(list)
        for (layer, _), value in self.by_module.items():
            values[layer].append(value)
        return {layer: sum(layer_values) / len(layer_values) for layer, layer_values in sorted(values.items())}

    @property
    def mean(self) -> float:
        """Mean overlap over modules and layers."""
        return sum(self.by_module.values()) / len(self.by_module)

    @property
    def mean_of_random(self) -> float:
        """Mean expected overlap of random subspaces over modules and layers."""
        return sum(self.random_by_module.values()) / len(self.random_by_module)


def subspace_overlap(first: Adapter, second: Adapter) -> Overlap:
    """Return the overlap of two LoRA adapters' weight updates at each module (section 5; PROTOCOL, Evaluation).

    Args:
        first: an adapter.
        second: an adapter of the same rank on the same modules.

    Raises:
        InputError: an adapter isn't plain LoRA, or the two differ in rank or modules.

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
    overlaps, random_overlaps = {}, {}
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
        # a random unit vector in d dimensions has an expected squared projection of l/d onto an l-dimensional subspace
        random_overlaps[module] = first_basis.shape[1] * second_basis.shape[1] / len(b) / rank
    return Overlap(dict(sorted(overlaps.items())), dict(sorted(random_overlaps.items())))


def update_basis(b: Float[Tensor, "out rank"], a: Float[Tensor, "rank in"]) -> Float[Tensor, "out kept"]:
    """Return the left singular vectors of the update BA in float64, without forming the (out, in) product.

    With B = QR and Aᵀ = PS, the update is Q(RSᵀ)Pᵀ, so its left singular vectors are Q times those of the small RSᵀ.
    Vectors whose singular value is 0 up to rounding are arbitrary and are dropped: `kept` is the rank of the update, 0
    for an unchanged module.

    Args:
        b: the factor B.
        a: the factor A.
    """
    q, r = torch.linalg.qr(b.double())
    small = r @ torch.linalg.qr(a.double().mT).R.mT
    vectors, values, _ = torch.linalg.svd(small)
    rounding = max(len(b), a.shape[1]) * torch.finfo(torch.float64).eps
    numerical_rank = int((values > rounding * values[0]).sum())
    basis: Tensor = q @ vectors[:, :numerical_rank]
    return basis


def overlap_of(first: Float[Tensor, "out k"], second: Float[Tensor, "out l"], *, rank: int) -> float:
    """Return (1/r)·‖U₁ᵀU₂‖²_F, in [0, 1] (section 5).

    It is 0 for orthogonal subspaces, and 1 for identical subspaces of full rank.

    Args:
        first: orthonormal columns.
        second: orthonormal columns.
        rank: r, the configured rank of the adapters; an update of lower rank has a lower overlap.
    """
    return min(1.0, float((first.mT @ second).square().sum()) / rank)


def _factors(adapter: Adapter) -> dict[str, tuple[Tensor, Tensor]]:
    """Return B and A of each module, by its path."""
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
