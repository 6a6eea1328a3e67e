"""Sites: places in a network where activations are read, and recording them during a forward pass.

A site is a value that teacher, student, analysis and decoding all use. The first axis of an activation is always
positions.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
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
    """Where a network's activations are read: a place in each layer, and positions of a sequence.

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
"""The activations at each site, positions first: (n, layers, width), and logits (n, vocabulary)."""

FINAL_FEED_FORWARD: frozenset[SiteName] = frozenset({"residual", "mlp-output"})
"""Sites behind the last layer's feed-forward block, which otherwise serves the language-model head alone."""


class Recording:
    """What hooks have kept of a forward pass: a tensor for each site and layer."""

    def __init__(self, at: Mapping[Site, Positions]) -> None:
        self.at = at
        """Where each site is read."""
        self.layers = dict.fromkeys(at, 0)
        """In how many layers each site is read: all, or those that mix tokens."""
        self._outputs: dict[Site, dict[int, Tensor]] = {site: {} for site in at}

    def keep(self, site: Site, layer: int, hidden: Tensor) -> Tensor:
        """Keep one layer's output at the site's positions.

        Args:
            site: where it was read.
            layer: the layer, from 0.
            hidden: (rows, width, size); some families give (rows · width, size).

        Returns:
            The output to go on with: the same numbers, whose gradient is found together with that of what was kept.

        Raises:
            InputError: the layer was run before in this pass, so that there are several outputs of it.
        """
        if layer in self._outputs[site]:
            raise InputError(f"layer {layer} ran twice in one pass: networks that repeat layers can't be aligned.")
        at = self.at[site]
        if at.token is not None and hidden.requires_grad:
            hidden, taken = _Taken.apply(hidden, at.token.to(hidden.device))  # type: ignore[no-untyped-call]
        else:
            taken = at.taken(hidden)
        # layers may lie on several devices
        self._outputs[site][layer] = taken.to(at.example.device)
        return hidden

    def taken(self) -> dict[Site, Float[Tensor, "n layers width"]]:
        """The outputs of the last pass at all sites; the recording is empty afterwards.

        Raises:
            RuntimeError: a layer has recorded nothing: no forward pass was run, or it went around the module.
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
    """A tensor as it is, and what stands at some positions of it, with the gradients of both added up where they meet.

    Autograd would make a tensor of zeros as large as the first, and add it, for every layer.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, token: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(token)
        # no view, as some layers add to what they are given in place
        return hidden.detach(), hidden.reshape(-1, hidden.shape[-1]).index_select(0, token)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        of_hidden, of_taken = gradients
        (token,) = ctx.saved_tensors
        flat = of_hidden.reshape(-1, of_hidden.shape[-1])
        return flat.index_add(0, token, of_taken).view(of_hidden.shape), None


@contextmanager
def record(network: PreTrainedModel, at: Mapping[Site, Positions]) -> Iterator[Recording]:
    """Record sites in every layer during the forward passes in the block; the hooks are removed at its end.

    Args:
        network: a causal language model, with or without an adapter injected into it.
        at: the sites, each with its positions; not logits, which come from the head.

    Raises:
        InputError: a layer's module can't be found.

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
    """Set a hook; what is returned takes it away."""

    def output_hook(_module: nn.Module, _arguments: Any, output: Any) -> Any:
        # a layer may say its attention's scores as well, a mixture of experts what its router chose
        if isinstance(output, tuple):
            return (recorded.keep(site, layer, output[0]), *output[1:])
        return recorded.keep(site, layer, output)

    def input_hook(_module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        return (recorded.keep(site, layer, arguments[0]), *arguments[1:])

    if site.name == "heads":
        return module.register_forward_pre_hook(input_hook).remove
    return module.register_forward_hook(output_hook).remove
