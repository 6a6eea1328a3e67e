"""A bank: many adapters over one frozen network, run and trained in one forward and backward pass.

Each row of a batch belongs to one adapter. The adapters' tensors are stacked on a first axis, so that what they do to a
module is a few batched products, whatever their number.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ia2.adapters.dropout import Dropout
from ia2.adapters.forms import Form, Values
from ia2.errors import InputError
from ia2.models.layout import Batch
from ia2.models.sites import attention_blocks

PREFIX = "base_model.model."


class Bank:
    """K adapters of one form on the same modules; their values are one matrix with a row for each adapter."""

    def __init__(self, network: PreTrainedModel, adapters: Sequence[Mapping[str, Tensor]], form: Form) -> None:
        """Stack adapters.

        Args:
            network: the frozen model.
            adapters: each adapter's tensors, named and shaped as in PEFT's file; all of the same names and shapes.
            form: what they do.

        Raises:
            ValueError: there are no adapters, their names or shapes differ, or they are not of this form.
        """
        self.network, self.form = network, form
        self.shapes = {name: tensor.shape for name, tensor in adapters[0].items()} if adapters else {}
        if not self.shapes or any({n: t.shape for n, t in one.items()} != self.shapes for one in adapters):
            raise ValueError("a bank needs adapters of the same names and shapes, at least one")
        flat = [torch.cat([one[name].reshape(-1) for name in self.shapes]) for one in adapters]
        self.values: Float[Tensor, "adapters values"] = torch.stack(flat).to(network.device, torch.float32)
        """Every adapter's tensors end to end; what an optimiser changes."""
        self._places = {name: _place(name, form) for name in self.shapes}
        self._modules = {
            path: network.get_submodule(path) for path in dict.fromkeys(p for p, _ in self._places.values())
        }

    def __len__(self) -> int:
        """How many adapters there are."""
        return len(self.values)

    def keep(self, indices: Sequence[int]) -> None:
        """Go on with these adapters only, in this order."""
        trained = self.values.requires_grad
        self.values = self.values.detach()[list(indices)].requires_grad_(trained)

    def weights(self, index: int) -> dict[str, Tensor]:
        """A copy of one adapter's tensors on the CPU, named as in PEFT's file."""
        return self.named(self.values[index].detach())

    def named(self, values: Float[Tensor, " values"]) -> dict[str, Tensor]:
        """One adapter's values, cut and named as in PEFT's file, copied to the CPU."""
        parts = values.split_with_sizes([shape.numel() for shape in self.shapes.values()])
        return {
            name: part.reshape(shape).to("cpu", copy=True)
            for part, (name, shape) in zip(parts, self.shapes.items(), strict=True)
        }

    @property
    def virtual_tokens(self) -> int:
        """Tokens that stand before every text, in the cache that `prefix` gives."""
        return self.form.virtual_tokens

    def prefix(self, adapter_of_row: Int[Tensor, " rows"]) -> Cache | None:
        """Keys and values of the virtual tokens, each row's with its own adapter; None where there are none."""
        if not self.virtual_tokens:
            return None
        (values,) = self._by_module(self.values).values()
        made = self.form.cache(self.network, values)
        assert made is not None, "a form with virtual tokens has a cache of them"
        for layer in made.layers:
            layer.keys, layer.values = (_taken(states, adapter_of_row) for states in (layer.keys, layer.values))
        return made

    @contextmanager
    def attached(
        self,
        adapter_of_row: Int[Tensor, " rows"] | None = None,
        *,
        one_token: bool = False,
        dropout: Dropout | None = None,
    ) -> Iterator[None]:
        """Run the network with the adapters; it is as it was when the block is left.

        Args:
            adapter_of_row: which adapter each row of a batch belongs to; by default row i is adapter i's.
            one_token: rows have one token each, as in decoding. The rows of an adapter then form one group, where
                otherwise each row is a group with a copy of its adapter's tensors, unless the form says that those are
                too large; the outcome is the same.
            dropout: which inputs the adapters don't see; the modules themselves see all.
        """
        if self.virtual_tokens:
            yield
            return
        if adapter_of_row is None:
            adapter_of_row = torch.arange(len(self), device=self.values.device)
        groups, values = None, self.values
        if one_token:
            groups = _Groups(adapter_of_row, len(self))
        elif self.form.by_adapter:
            present, group_of_row = adapter_of_row.unique(return_inverse=True)  # type: ignore[no-untyped-call]
            groups = _Groups(group_of_row, len(present))
            values = values if len(present) == len(self) else _taken(values, present)
        else:
            values = _taken(values, adapter_of_row)
        by_module = self._by_module(values)
        handles = [
            module.register_forward_hook(self._hook(by_module[path], groups, dropout, number))
            for number, (path, module) in enumerate(self._modules.items())
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def leaves_out(self, noise: Sequence[int | None]) -> bool:
        """Whether inputs of some sequences are left out; `noise` as in `reading`."""
        return self.form.left_out > 0 and any(number is not None for number in noise)

    @contextmanager
    def reading(
        self, batch: Batch, adapter_of_row: Int[Tensor, " rows"], noise: Sequence[int | None] = ()
    ) -> Iterator[tuple[Batch, Cache | None]]:
        """Run the network on a batch with the adapters: gives the batch and the cache to run it with.

        Args:
            batch: what is read.
            adapter_of_row: which adapter each of its rows belongs to.
            noise: where adapters have dropout, a number for each sequence, from which its masks follow; None for those
                that aren't learnt from.
        """
        cache = self.prefix(adapter_of_row)
        dropout = Dropout.of(batch, self.form.left_out, noise) if self.leaves_out(noise) else None
        with self.attached(adapter_of_row, dropout=dropout):
            yield batch.behind(self.virtual_tokens), cache

    def _by_module(self, values: Float[Tensor, "groups values"]) -> dict[str, Values]:
        # one split has one gradient, where as many slices would each make one of the whole
        parts = values.split_with_sizes([shape.numel() for shape in self.shapes.values()], dim=1)
        found: dict[str, dict[str, Tensor]] = {path: {} for path in self._modules}
        for part, (name, shape) in zip(parts, self.shapes.items(), strict=True):
            path, suffix = self._places[name]
            found[path][suffix] = part.view(len(values), *shape)
        return dict(found)

    def _hook(self, values: Values, groups: "_Groups | None", dropout: Dropout | None, number: int) -> Any:
        def update(module: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> Tensor:
            inputs = arguments[0].to(torch.float32)
            before = output.to(torch.float32)
            if dropout is not None:
                inputs = dropout.applied(inputs, number)
            if groups is None:
                return self.form.update(module, inputs, before, values).to(output.dtype)
            after = self.form.update(module, groups.gathered(inputs), groups.gathered(before), values)
            return groups.scattered(after, inputs.shape[1]).to(output.dtype)

        return update


def _place(name: str, form: Form) -> tuple[str, str]:
    """The module that a tensor belongs to, and what it is there; ValueError where the form has no such tensor."""
    suffix = next((suffix for suffix in form.suffixes if name.endswith(suffix)), None)
    if suffix is None:
        raise ValueError(f"a bank of the form {form} has no tensor {name}")
    return name.removesuffix(suffix).removesuffix(".").removeprefix(PREFIX), suffix


@torch.no_grad()
def can_hold(network: PreTrainedModel, names: Iterable[str], form: Form) -> bool:
    """Whether a bank can run adapters that have these tensors: on linear modules that are given whole rows.

    By rows a bank tells adapters apart. Some families' feed-forward blocks are given tokens without their rows, experts
    those that are sent to them, and the head response positions alone.

    Args:
        network: the frozen model; where modules lie outside attention, its decoder reads one token, to see what they
            are given.
        names: the tensors' names in PEFT's file.
        form: what the adapters do.
    """
    if form.virtual_tokens:
        return True
    try:
        modules = {network.get_submodule(_place(name, form)[0]) for name in names}
    except ValueError:
        return False
    if not all(isinstance(module, nn.Linear | Conv1D) for module in modules):
        return False
    with suppress(InputError):  # of a family whose attention isn't known
        modules -= {module for block in attention_blocks(network) for module in block.modules()}
    if not modules:
        return True
    given: set[nn.Module] = set()

    def note(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        if arguments[0].ndim == 3:
            given.add(module)

    handles = [module.register_forward_pre_hook(note) for module in modules]
    try:
        network.base_model(input_ids=torch.zeros(1, 1, dtype=torch.long, device=network.device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return given == modules


def _taken(values: Float[Tensor, "adapters *shape"], indices: Int[Tensor, " rows"]) -> Float[Tensor, "rows *shape"]:
    """`values[indices]`, with a gradient that is the same each time to the last bit."""
    # threads add up the gradient of an index in whatever order they come; this is also faster
    return values.index_select(0, indices)


class _Groups:
    """The rows that share an adapter, side by side as one group each: all their tokens as if of one row."""

    def __init__(self, group_of_row: Int[Tensor, " rows"], groups: int) -> None:
        own = torch.nn.functional.one_hot(group_of_row, groups)
        counts = own.sum(0)
        size = int(counts.max())
        order = group_of_row.argsort(stable=True)
        # a group with fewer rows than others is filled up with its last one, so that nothing of another gets in
        last = counts.cumsum(0)[:, None] - 1
        place = (last - counts[:, None] + 1 + torch.arange(size, device=own.device)).minimum(last)
        self.rows = order[place.clamp_min(0).flatten()]
        self.at = group_of_row * size + ((own.cumsum(0) * own).sum(1) - 1)
        self.count = groups
        self.in_order = torch.equal(self.rows, torch.arange(len(own), device=own.device))

    def gathered(self, values: Float[Tensor, "rows width n"]) -> Float[Tensor, "groups tokens n"]:
        """The tokens in groups."""
        taken = values if self.in_order else _taken(values, self.rows)
        return taken.reshape(self.count, -1, values.shape[-1])

    def scattered(self, values: Float[Tensor, "groups tokens n"], width: int) -> Float[Tensor, "rows width n"]:
        """The tokens in rows again, each of which has so many."""
        rows = values.reshape(-1, width, values.shape[-1])
        return rows if self.in_order else _taken(rows, self.at)


class Adam:
    """Adam (Kingma and Ba 2015) for a bank: an independent step of each adapter at its own learning rate."""

    BETAS = (0.9, 0.999)
    EPSILON = 1e-8

    def __init__(self, values: Float[Tensor, "adapters values"], learning_rates: Sequence[float]) -> None:
        """Begin for these adapters, each with its learning rate."""
        self.learning_rate = torch.tensor(learning_rates, dtype=torch.float64, device=values.device)[:, None]
        self.mean, self.square = torch.zeros_like(values), torch.zeros_like(values)
        self.steps = 0

    @torch.no_grad()
    def step(self, values: Float[Tensor, "adapters values"], gradient: Float[Tensor, "adapters values"]) -> None:
        """Change the values in place by their gradient."""
        self.steps += 1
        first, second = self.BETAS
        self.mean.lerp_(gradient, 1 - first)
        self.square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        size = (self.learning_rate / (1 - first**self.steps)).to(values.dtype)
        # in place, as a bank of whole matrices has gigabytes of values
        root = self.square.sqrt().div_((1 - second**self.steps) ** 0.5).add_(self.EPSILON).div_(size)
        values.addcdiv_(self.mean, root, value=-1)

    def keep(self, indices: Sequence[int]) -> None:
        """Go on with these adapters only, in this order."""
        kept = list(indices)
        self.learning_rate = self.learning_rate[kept]
        self.mean, self.square = self.mean[kept], self.square[kept]
