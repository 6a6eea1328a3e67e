"""Sites: places in a network where activations are read, and hooks that record them during a forward pass.

Teacher, student, analysis and decoding all identify activations by site. The first axis of an activation is always
positions.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from ia2.errors import InputError
from ia2.models.architectures import attention_outputs, feed_forward_outputs, layers_of, output_projections
from ia2.models.layout import Positions
from ia2.models.sequences import Where

SiteName = Literal["attention-output", "attention-layers", "residual", "mlp-output", "heads", "logits"]
"""In this order: the self-attention output after W_O (the paper's Z, equation 1), and in hybrid models its counterpart
in recurrent layers; the same for attention layers only; the residual stream after a layer; the feed-forward block's
output; the heads' outputs before W_O, concatenated; next-token logits."""


@dataclass(frozen=True)
class Site:
    """Where to read a network's activations: a place in each layer, and positions of a sequence.

    Example:
        >>> print(Site("mlp-output"), Site("residual", "all"))
        mlp-output residual at all
    """

    name: SiteName
    positions: Where = "response"
    """`response`: positions that predict response tokens; `prompt`: the query's tokens before them; `all`: both."""

    def __post_init__(self) -> None:
        for field, value, choices in (("site", self.name, SiteName), ("positions", self.positions, Where)):
            if value not in get_args(choices):
                raise InputError(f"{field} {value!r}: choose from {', '.join(get_args(choices))}.")
        if self.name == "logits" and self.positions != "response":
            raise InputError(f"positions {self.positions!r}: logits are read where response tokens are predicted.")

    def __str__(self) -> str:
        return self.name if self.positions == "response" else f"{self.name} at {self.positions}"


ATTENTION_OUTPUT = Site("attention-output")
ATTENTION_LAYERS = Site("attention-layers")
LOGITS = Site("logits")

Activations = Mapping[Site, Float[Tensor, "n *size"]]
"""Activations by site, positions first: (n, layers, width), or (n, vocabulary) for logits."""

FINAL_FEED_FORWARD: frozenset[SiteName] = frozenset({"residual", "mlp-output"})
"""Sites that need the last layer's feed-forward block, which otherwise affects only the language-model head."""


class Recording:
    """Activations captured by hooks during a forward pass: one tensor per site and layer."""

    def __init__(self, at: Mapping[Site, Positions]) -> None:
        self.at = at
        """The positions at which each site is read."""
        self.layers = dict.fromkeys(at, 0)
        """Number of layers in which each site is read: all layers, or only those with a mixer."""
        self._outputs: dict[Site, dict[int, Tensor]] = {site: {} for site in at}

    def keep(self, site: Site, layer: int, hidden: Tensor) -> Tensor:
        """Store one layer's output at the site's positions.

        Args:
            site: where the output was read.
            layer: the layer's index.
            hidden: (rows, width, size), or (rows · width, size) in some families.

        Returns:
            The output to pass on: the same values; its gradient is computed together with that of the stored positions.

        Raises:
            InputError: the layer has already run in this pass, so it has several outputs.
        """
        if layer in self._outputs[site]:
            raise InputError(f"layer {layer} ran twice in one pass: networks that repeat layers can't be aligned.")
        at = self.at[site]
        if at.token is not None and hidden.requires_grad:
            hidden, taken = _Taken.apply(hidden, at.token.to(hidden.device))  # type: ignore[no-untyped-call]
        else:
            taken = at.taken(hidden)
        # layers may be on several devices
        self._outputs[site][layer] = taken.to(at.example.device)
        return hidden

    def taken(self) -> dict[Site, Float[Tensor, "n layers width"]]:
        """Return the activations of the last pass at all sites, and clear the recording.

        Raises:
            RuntimeError: a layer recorded nothing: no forward pass was run, or it bypassed the module.
        """
        for site, outputs in self._outputs.items():
            if missing := [layer for layer in range(self.layers[site]) if layer not in outputs]:
                raise RuntimeError(f"layers {missing} recorded no {site}: was a forward pass run?")
        read, self._outputs = self._outputs, {site: {} for site in self.at}
        return {
            site: torch.stack([by_layer[layer] for layer in range(self.layers[site])], dim=1)
            for site, by_layer in read.items()
        }


class _Taken(torch.autograd.Function):
    """The identity, and a selection of positions as second output; backward adds the two gradients in one step.

    Autograd would allocate a zero tensor of the full size and add it, for every layer.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, token: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(token)
        # not a view, because some layers modify their input in place
        return hidden.detach(), hidden.reshape(-1, hidden.shape[-1]).index_select(0, token)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        of_hidden, of_taken = gradients
        (token,) = ctx.saved_tensors
        flat = of_hidden.reshape(-1, of_hidden.shape[-1])
        return flat.index_add(0, token, of_taken).view(of_hidden.shape), None


@contextmanager
def record(network: PreTrainedModel, at: Mapping[Site, Positions]) -> Iterator[Recording]:
    """Record sites in every layer during forward passes inside the `with` block; the hooks are removed afterwards.

    Args:
        network: a causal language model, with or without an injected adapter.
        at: the sites and the positions of each; without logits, which come from the head.

    Raises:
        InputError: a layer's module can't be identified.

    Example:
        >>> from ia2.models.forward import response_logits
        >>> from ia2.models.layout import lay_out
        >>> batch = lay_out([TokenSequence((5, 6, 7), (8,))])
        >>> with record(model.network, {ATTENTION_OUTPUT: batch.at()}) as recording, torch.no_grad():
        ...     _ = response_logits(model.network, batch)
        >>> recording.taken()[ATTENTION_OUTPUT].shape  # response positions, layers, width
        torch.Size([1, 3, 32])
    """
    recorded = Recording(at)
    with ExitStack() as hooks:
        for site in at:
            for layer, module in enumerate(_modules(network, site)):
                hooks.callback(_hooked(module, site, layer, recorded))
                recorded.layers[site] = layer + 1
        yield recorded


def _modules(network: PreTrainedModel, site: Site) -> Iterable[nn.Module]:
    of: dict[str, Callable[[PreTrainedModel], list[nn.Module]]] = {
        "attention-output": output_projections,
        "attention-layers": attention_outputs,
        "residual": layers_of,
        "mlp-output": feed_forward_outputs,
        "heads": output_projections,
    }
    return of[site.name](network)


def _hooked(module: nn.Module, site: Site, layer: int, recorded: Recording) -> Callable[[], None]:
    """Register a hook, and return the function that removes it."""
    keep = partial(recorded.keep, site, layer)
    if site.name == "heads":
        return module.register_forward_pre_hook(partial(_keep_input, keep)).remove
    return module.register_forward_hook(partial(_keep_output, keep)).remove


def _keep_output(keep: Callable[[Tensor], Tensor], _module: nn.Module, _arguments: Any, output: Any) -> Any:
    # layers may also return attention weights, and mixtures of experts router outputs
    return (keep(output[0]), *output[1:]) if isinstance(output, tuple) else keep(output)


def _keep_input(keep: Callable[[Tensor], Tensor], _module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return (keep(arguments[0]), *arguments[1:])
