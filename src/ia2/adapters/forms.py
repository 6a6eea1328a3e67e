"""The forms that adapters take: what each does to the modules it is attached to, or which tokens it puts before texts.

A form is told of adapters as groups: tensors with a first axis over adapters, or over the rows of a batch, each with
its adapter's own, so that many act in one batched product.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.pytorch_utils import Conv1D

Values = Mapping[str, Float[Tensor, "groups *shape"]]
"""An adapter's tensors at one module, named as behind the module's name in PEFT's file, for each group."""


class Form:
    """What adapters of one kind do; a form that says nothing else changes nothing."""

    suffixes: ClassVar[tuple[str, ...]]
    """How the tensors' names end in PEFT's file."""
    by_adapter: ClassVar[bool] = False
    """Whether the rows of an adapter form one group, as whole matrices are too large for a copy with each row. For
    others it is simpler, and as fast, that each row is a group."""

    @property
    def virtual_tokens(self) -> int:
        """Tokens that stand before every text."""
        return 0

    @property
    def left_out(self) -> float:
        """The share of inputs that is left out while training."""
        return 0.0

    def update(
        self,
        module: nn.Module,
        inputs: Float[Tensor, "groups tokens inputs"],
        output: Float[Tensor, "groups tokens outputs"],
        values: Values,
    ) -> Float[Tensor, "groups tokens outputs"]:
        """What a module gives with adapters, from what it gives alone."""
        return output

    def cache(self, network: PreTrainedModel, values: Values) -> Cache | None:
        """Keys and values of the virtual tokens, a row for each group; None where there are none."""
        return None


@dataclass(frozen=True)
class LowRank(Form):
    """W + scaling · BA (Hu et al. 2021)."""

    scaling: float
    dropout: float = 0.0
    suffixes: ClassVar[tuple[str, ...]] = ("lora_A.weight", "lora_B.weight")

    @property
    def left_out(self) -> float:
        """The share of A's inputs that is left out while training."""
        return self.dropout

    def update(self, module: nn.Module, inputs: Tensor, output: Tensor, values: Values) -> Tensor:
        """The module's output plus that of the two factors."""
        a, b = (values[suffix] for suffix in LowRank.suffixes)
        return torch.baddbmm(output, torch.bmm(inputs, a.mT), b.mT, alpha=self.scaling)


@dataclass(frozen=True)
class Decomposed(Form):
    """m · (W + scaling · BA) / ‖W + scaling · BA‖, the norms taken as constants (DoRA, Liu et al. 2024)."""

    scaling: float
    suffixes: ClassVar[tuple[str, ...]] = (*LowRank.suffixes, "lora_magnitude_vector")
    by_adapter: ClassVar[bool] = True

    @staticmethod
    def fresh_magnitude(module: nn.Module) -> Float[Tensor, " outputs"]:
        """The magnitudes that leave a module as it is."""
        norms: Tensor = torch.linalg.vector_norm(_weight(module).detach().to(torch.float32), dim=1)
        return norms

    def update(self, module: nn.Module, inputs: Tensor, output: Tensor, values: Values) -> Tensor:
        """What the module and the factors give, each output at its own magnitude; a bias stays as it is."""
        a, b, magnitude = (values[suffix] for suffix in self.suffixes)
        weight, bias = _weight(module), _bias(module)
        with torch.no_grad():
            norm = torch.baddbmm(weight.to(b.dtype).expand(len(b), *weight.shape), b, a, alpha=self.scaling).norm(dim=2)
        alone = output if bias is None else output - bias
        whole = torch.baddbmm(alone, torch.bmm(inputs, a.mT), b.mT, alpha=self.scaling)
        scaled: Tensor = whole * (magnitude / norm)[:, None]
        return scaled if bias is None else scaled + bias


@dataclass(frozen=True)
class ScaledOutputs(Form):
    """Every output of a module times a learned number ((IA)³, Liu et al. 2022)."""

    suffixes: ClassVar[tuple[str, ...]] = ("ia3_l",)

    def update(self, module: nn.Module, inputs: Tensor, output: Tensor, values: Values) -> Tensor:
        """The scaled output."""
        return output * values["ia3_l"].mT


@dataclass(frozen=True)
class ScaledInputs(Form):
    """Every input of a module times a learned number, as the paper's scripts use (IA)³."""

    suffixes: ClassVar[tuple[str, ...]] = ("ia3_l",)

    def update(self, module: nn.Module, inputs: Tensor, output: Tensor, values: Values) -> Tensor:
        """The output for scaled inputs."""
        scaled: Tensor = (inputs * values["ia3_l"]) @ _weight(module).to(inputs.dtype).T
        bias = _bias(module)
        return scaled if bias is None else scaled + bias


@dataclass(frozen=True)
class Replaced(Form):
    """Weights of their own instead of the module's: full fine-tuning."""

    suffixes: ClassVar[tuple[str, ...]] = ("weight", "bias")
    by_adapter: ClassVar[bool] = True

    def update(self, module: nn.Module, inputs: Tensor, output: Tensor, values: Values) -> Tensor:
        """The output of these weights."""
        weight = values["weight"] if isinstance(module, Conv1D) else values["weight"].mT
        if "bias" not in values:
            return torch.bmm(inputs, weight)
        return torch.baddbmm(values["bias"][:, None], inputs, weight)


@dataclass(frozen=True)
class _BeforeTexts(Form):
    """A form that changes no module, and puts tokens before every text."""

    tokens: int
    suffixes: ClassVar[tuple[str, ...]] = ("prompt_embeddings",)

    @property
    def virtual_tokens(self) -> int:
        """Tokens that stand before every text."""
        return self.tokens


@dataclass(frozen=True)
class LearnedPrefix(_BeforeTexts):
    """Keys and values of virtual tokens in every layer (prefix tuning, Li and Liang 2021)."""

    def cache(self, network: PreTrainedModel, values: Values) -> Cache | None:
        """The learned keys and values, as PEFT lays them out: tokens, then layers, keys before values, heads."""
        layers, heads, size = key_shape(network)
        own = values["prompt_embeddings"].to(network.dtype)
        states = own.view(len(own), self.virtual_tokens, layers, 2, heads, size).permute(2, 3, 0, 4, 1, 5)
        cache = DynamicCache()
        for layer, (keys, content) in enumerate(states):
            cache.update(keys, content, layer)
        return cache

    @staticmethod
    def flat(states: Sequence[tuple[Tensor, Tensor]]) -> Float[Tensor, "tokens values"]:
        """Keys and values of each layer, (1, heads, tokens, size), in the layout of PEFT's file."""
        stacked = torch.stack([torch.stack([keys[0], content[0]]) for keys, content in states])
        return stacked.permute(3, 0, 1, 2, 4).flatten(1)


@dataclass(frozen=True)
class LearnedPrompt(_BeforeTexts):
    """Embeddings of virtual tokens, which the network reads like any others (prompt tuning, Lester et al. 2021)."""

    def cache(self, network: PreTrainedModel, values: Values) -> Cache | None:
        """What the network keeps of them."""
        cache = DynamicCache()
        embeddings = values["prompt_embeddings"].to(network.dtype)
        network.base_model(inputs_embeds=embeddings, cache=cache, use_cache=True)
        return cache


def key_shape(network: PreTrainedModel) -> tuple[int, int, int]:
    """Layers, heads of keys in each, and numbers a head."""
    config = network.config.get_text_config(decoder=True)
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return config.num_hidden_layers, heads, size


def _weight(module: nn.Module) -> Float[Tensor, "outputs inputs"]:
    weight: Tensor = module.weight  # type: ignore[assignment]
    return weight.T if isinstance(module, Conv1D) else weight


def _bias(module: nn.Module) -> Float[Tensor, " outputs"] | None:
    bias: Tensor | None = module.bias  # type: ignore[assignment]
    return bias
