"""Alignment in closed form: solved layer by layer in one forward pass, without gradient descent (not in the paper).

Only W_O is updated. At each layer, H are the inputs of W_O at the response positions of the training rows, given the
solved layers below, and R is the teacher's attention output minus the student's. The update is the ridge regression
of R on H, truncated to the adapter's rank.
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
"""Candidate penalties, in units of the mean diagonal of the Gram matrix; the dev rows select one."""


@torch.no_grad()
def solved(model: LanguageModel, rows: StageRows, start: Adapter) -> Adapter:
    """Return the adapter that solves alignment for these rows, layer by layer from the bottom.

    For a low-rank adapter the solution is a ridge regression; for a shift it is the mean difference between the
    teacher and the student.

    Args:
        model: the frozen model.
        rows: training and dev rows with the teacher's attention outputs.
        start: the adapter to update; modules other than W_O are unchanged.

    Raises:
        InputError: the adapter has neither a low-rank update of W_O nor a shift.
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
        # registered after the bank's hooks, so that they receive the adapted outputs of a layer
        for layer, path in enumerate(paths):
            hook = network.get_submodule(path).register_forward_hook(solver.hook(layer, path))
            hooks.callback(hook.remove)
        reader.read(batch, {})
    return replace(start, weights=solver.weights)


class _MeanSolver:
    """Shifts each layer to the teacher's mean during a forward pass (Turner et al. 2023, Todd et al. 2024).

    Each layer sees the outputs of the shifted layers below. Tokens are weighted so that each row counts once, as in the
    loss; the weighted mean is its least-squares solution.
    """

    def __init__(self, rows: StageRows, start: Adapter, effect: Shifted, at: Positions) -> None:
        assert rows.train.targets is not None, "the stage reads the teacher"
        self.effect, self.at, self.targets = effect, at, rows.train.targets
        self.weights = dict(start.weights)
        self.is_train = at.example < len(rows.train.sequences)
        tokens = torch.bincount(at.example)
        self.weight = (1 / (tokens[at.example] * len(rows.train.sequences))).double()[self.is_train, None]

    def hook(self, layer: int, path: str) -> Any:
        """Return a forward hook on W_O that shifts a layer and returns the shifted outputs."""
        name = _name(path, BIAS)

        def shift(_module: nn.Module, _arguments: tuple[Any, ...], output: Tensor) -> Tensor:
            # a model's layers may be on several devices
            is_train, weight = self.is_train.to(output.device), self.weight.to(output.device)
            wanted = self.targets.layer(ATTENTION_OUTPUT, layer).to(output.device).double()
            mean_difference = ((wanted - self.at.taken(output).double()[is_train]) * weight).sum(0)
            self.weights[name] = self.weights[name] + (mean_difference / self.effect.scaling).float().cpu()
            return output + mean_difference.to(output.dtype)

        return shift


class _Solver:
    """Solves one layer after another during a forward pass, each on the outputs of the solved layers below."""

    def __init__(self, rows: StageRows, start: Adapter, effect: LowRank, at: Positions) -> None:
        self.effect, self.at = effect, at
        self.weights = dict(start.weights)
        self.targets = [part.targets for part in (rows.train, rows.dev) if part.targets is not None]
        tokens = torch.bincount(at.example)
        # tokens are weighted so that each example counts once, as in the loss
        self.weight = (1 / tokens[at.example]).double().sqrt()[:, None]
        self.is_dev = at.example >= len(rows.train.sequences)

    def hook(self, layer: int, path: str) -> Any:
        """Return a forward hook on W_O that solves a layer and returns the updated outputs."""
        down, up = _name(path, A), _name(path, B)

        def solve(_module: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> Tensor:
            inputs: Tensor = arguments[0].to(output.device)
            weight, is_dev = self.weight.to(output.device), self.is_dev.to(output.device)
            scaling = self.effect.scaling
            a, b = (self.weights[name].to(output.device, torch.float64) for name in (down, up))
            features = self.at.taken(inputs).double() * weight
            # one layer at a time: for long responses, all layers together may not fit in memory
            wanted = torch.cat([rows.layer(ATTENTION_OUTPUT, layer) for rows in self.targets]).to(output.device)
            residual = (wanted.double() - self.at.taken(output).double()) * weight
            left, right = ridge(features, residual, is_dev)
            # the adapter's existing update and the new one are truncated together
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
    """Return ridge regression coefficients as two factors, with the penalty that has the lowest dev error.

    Solves the smaller of the primal system (over inputs) and the dual system (over rows), in float64.

    Args:
        features: the inputs of the regression.
        wanted: the targets of the regression.
        is_dev: rows that are not fitted and only select the penalty.
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
    dev_projections = features[is_dev] @ left
    errors = [(dev_projections @ choice - wanted[is_dev]).square().sum().item() for choice in choices]
    return left, choices[min(range(len(choices)), key=errors.__getitem__)]


def cut(
    left: Float[Tensor, "inputs k"], right: Float[Tensor, "k outputs"], a: Float[Tensor, "rank inputs"], scaling: float
) -> tuple[Float[Tensor, "rank inputs"], Float[Tensor, "outputs rank"]]:
    """Return the LoRA factors A and B whose scaled product is the best approximation of (left · right)ᵀ at their rank.

    Args:
        left: first factor of the coefficients.
        right: second factor of the coefficients.
        a: the previous factor A, whose remaining rows are kept if the product has a lower rank.
        scaling: LoRA's scaling of the product B A.
    """
    (q_left, r_left), (q_right, r_right) = torch.linalg.qr(left), torch.linalg.qr(right.T)
    u, s, vt = torch.linalg.svd(r_left @ r_right.T)
    count = min(len(a), int((s > s[0] * 1e-12).sum()))
    root = s[:count].sqrt()
    down, up = a.clone(), torch.zeros(right.shape[1], len(a), dtype=a.dtype, device=a.device)
    down[:count] = root[:, None] * (q_left @ u[:, :count]).T
    up[:, :count] = (q_right @ vt[:count].T) * root / scaling
    return down, up
