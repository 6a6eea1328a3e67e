"""Alignment solved layer by layer in one forward pass, instead of descended by gradients (not in the paper).

W_O alone is updated. At a layer H are its inputs at the response positions of the training rows, as the layers below
already solved make them, and R is what the teacher's attention output has more than the student's. The update is the
ridge regression of R on H, cut to the adapter's rank.
"""

from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ia2.adapters.adapter import Adapter
from ia2.adapters.bank import Bank
from ia2.adapters.kind import PREFIX
from ia2.adapters.lora import A, B, LowRank
from ia2.adapters.registry import effect_of
from ia2.adapters.shift import BIAS, Shifted
from ia2.errors import InputError
from ia2.models.architectures import projection_names
from ia2.models.layout import Positions
from ia2.models.load import LanguageModel
from ia2.models.reader import Reader
from ia2.models.sites import ATTENTION_OUTPUT
from ia2.training.student import StageRows

RIDGES = tuple(10.0 ** (power / 2) for power in range(-6, 5))
"""The penalties that are tried, times the mean of the Gram matrix' diagonal; the dev rows choose."""


@torch.no_grad()
def solved(model: LanguageModel, rows: StageRows, start: Adapter) -> Adapter:
    """The adapter whose update in every layer, one after the other, solves alignment for these rows.

    Of a low-rank adapter it is the ridge regression, of a shift the mean of what the teacher has more.

    Args:
        model: the frozen model.
        rows: training and dev rows with the teacher's attention outputs.
        start: what is updated; its other modules stay as they are.

    Raises:
        InputError: the adapter has no low-rank update of W_O and no shift that the solution could be written to.
    """
    network, effect = model.network, effect_of(start.configuration)
    paths = projection_names(network, ("output",))
    reader = Reader(network)
    sequences = [*rows.train.sequences, *rows.dev.sequences]
    batch, adapter_of_row = reader.laid_out(sequences, [0] * len(sequences))
    solver: _Solver | _MeanSolver
    if isinstance(effect, LowRank) and all(_name(path, A) in start.weights for path in paths):
        solver = _Solver(rows, start, effect, batch.at())
    elif isinstance(effect, Shifted):
        solver = _MeanSolver(rows, start, effect, batch.at())
    else:
        raise InputError(
            "alignment is solved for a low-rank update of W_O or a shift: use LoRA with output among its modules."
        )
    with Bank(network, [start.weights], effect).attached(adapter_of_row), ExitStack() as hooks:
        # set behind the bank's, so that they are given what the adapter makes of a layer
        for layer, path in enumerate(paths):
            hook = network.get_submodule(path).register_forward_hook(solver.hook(layer, path))
            hooks.callback(hook.remove)
        reader.read(batch, {})
    return replace(start, weights=solver.weights)


class _MeanSolver:
    """Shifts layer after layer to the teacher's mean while the network runs (Turner et al. 2023, Todd et al. 2024).

    Each layer is given what the shifted layers below make. A row counts the mean of its own response tokens, as in the
    loss, whose least squares the mean is.
    """

    def __init__(self, rows: StageRows, start: Adapter, effect: Shifted, at: Positions) -> None:
        assert rows.train.targets is not None, "the stage reads the teacher"
        self.effect, self.at, self.targets = effect, at, rows.train.targets
        self.weights = dict(start.weights)
        self.taught = at.example < len(rows.train.sequences)
        tokens = torch.bincount(at.example)
        self.weight = (1 / (tokens[at.example] * len(rows.train.sequences))).double()[self.taught, None]

    def hook(self, layer: int, path: str) -> Any:
        """Shifts one layer when its W_O has given its outputs, and gives them as they are after that."""
        name = _name(path, BIAS)

        def shift(_module: nn.Module, _arguments: tuple[Any, ...], output: Tensor) -> Tensor:
            # a model's layers may lie on several devices
            taught, weight = self.taught.to(output.device), self.weight.to(output.device)
            wanted = self.targets.layer(ATTENTION_OUTPUT, layer).to(output.device).double()
            missing = ((wanted - self.at.taken(output).double()[taught]) * weight).sum(0)
            self.weights[name] = self.weights[name] + (missing / self.effect.scaling).float().cpu()
            return output + missing.to(output.dtype)

        return shift


class _Solver:
    """Solves layer after layer while the network runs, each with what the solved layers below give."""

    def __init__(self, rows: StageRows, start: Adapter, effect: LowRank, at: Positions) -> None:
        self.effect, self.at = effect, at
        self.weights = dict(start.weights)
        self.targets = [part.targets for part in (rows.train, rows.dev) if part.targets is not None]
        tokens = torch.bincount(at.example)
        # each example counts the mean of its own tokens, as in the loss
        self.weight = (1 / tokens[at.example]).double().sqrt()[:, None]
        self.is_dev = at.example >= len(rows.train.sequences)

    def hook(self, layer: int, path: str) -> Any:
        """Solves one layer when its W_O has given its outputs, and gives them as they are after that."""
        down, up = _name(path, A), _name(path, B)

        def solve(_module: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> Tensor:
            inputs: Tensor = arguments[0].to(output.device)
            weight, is_dev = self.weight.to(output.device), self.is_dev.to(output.device)
            scaling = self.effect.scaling
            a, b = (self.weights[name].to(output.device, torch.float64) for name in (down, up))
            features = self.at.taken(inputs).double() * weight
            # of long responses all layers together may be more than memory holds
            wanted = torch.cat([rows.layer(ATTENTION_OUTPUT, layer) for rows in self.targets]).to(output.device)
            missing = (wanted.double() - self.at.taken(output).double()) * weight
            left, right = ridge(features, missing, is_dev)
            # the update so far is cut together with what is added to it
            factors = cut(torch.cat([left, a.T], dim=1), torch.cat([right, scaling * b.T]), a, scaling)
            self.weights[down], self.weights[up] = (factor.float().cpu() for factor in factors)
            change = scaling * (factors[1] @ factors[0] - b @ a)
            return output + inputs @ change.T.to(inputs.dtype)

        return solve


def _name(path: str, factor: str) -> str:
    return f"{PREFIX}{path}.{factor}"


def ridge(
    features: Float[Tensor, "n inputs"], wanted: Float[Tensor, "n outputs"], is_dev: Bool[Tensor, " n"]
) -> tuple[Float[Tensor, "inputs k"], Float[Tensor, "k outputs"]]:
    """Two factors of the coefficients of the ridge regression whose penalty the dev rows like best.

    The smaller of the two equivalent systems is solved, in float64: over rows, or over inputs.

    Args:
        features: what is regressed on.
        wanted: what is to be had from them.
        is_dev: which rows only choose the penalty.
    """
    x, y = features[~is_dev], wanted[~is_dev]
    dual = len(x) <= x.shape[1]
    gram = x @ x.T if dual else x.T @ x
    values, vectors = torch.linalg.eigh(gram)
    left = x.T @ vectors if dual else vectors
    right = vectors.T @ y if dual else vectors.T @ (x.T @ y)
    scale = gram.diagonal().mean()
    values = values.clamp_min(0)
    choices = [right / (values + penalty * scale)[:, None] for penalty in RIDGES]
    seen = features[is_dev] @ left
    errors = [(seen @ choice - wanted[is_dev]).square().sum().item() for choice in choices]
    return left, choices[min(range(len(choices)), key=errors.__getitem__)]


def cut(
    left: Float[Tensor, "inputs k"], right: Float[Tensor, "k outputs"], a: Float[Tensor, "rank inputs"], scaling: float
) -> tuple[Float[Tensor, "rank inputs"], Float[Tensor, "outputs rank"]]:
    """The factors of LoRA whose scaled product is nearest to (left · right)ᵀ at their rank.

    Args:
        left: the first factor of the coefficients.
        right: the second.
        a: the factor A before, whose rows are kept where the product has not as many of its own.
        scaling: what the product of LoRA's factors is multiplied by.
    """
    (q_left, r_left), (q_right, r_right) = torch.linalg.qr(left), torch.linalg.qr(right.T)
    u, s, vt = torch.linalg.svd(r_left @ r_right.T)
    count = min(len(a), int((s > s[0] * 1e-12).sum()))
    root = s[:count].sqrt()
    down, up = a.clone(), torch.zeros(right.shape[1], len(a), dtype=a.dtype, device=a.device)
    down[:count] = root[:, None] * (q_left @ u[:, :count]).T
    up[:, :count] = (q_right @ vt[:count].T) * root / scaling
    return down, up
