"""A bank: many adapters on one frozen network, run and trained in one forward and backward pass.

Each row of a batch belongs to one adapter. The adapters' tensors are stacked along the first axis, so a module needs
only a few batched matrix products, whatever the number of adapters.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel

from ia2.adapters.dropout import Dropout
from ia2.adapters.kind import PREFIX, AdditiveEffect, Effect, ModuleEffect, Values, VirtualTokens
from ia2.adapters.lora import A, B, LowRank
from ia2.adapters.low_rank_products import JointReduction
from ia2.adapters.row_groups import RowGroups, taken
from ia2.models.architectures import siblings_of
from ia2.models.attachment import AdapterOfRow, Attachment
from ia2.models.layout import Batch
from ia2.models.linear_modules import features
from ia2.models.transfer import on_device
from ia2.models.whole_rows import take_whole_rows


class Bank(Attachment):
    """K adapters of one kind on the same modules; their values form one matrix with one row per adapter.

    Example:
        >>> configuration = LoRA(rank=2).configuration(model.network)
        >>> bank = bank_of(model.network, [fresh_adapter(model.network, configuration, seed) for seed in (0, 1, 2)])
        >>> bank.keep([0, 2])
        >>> len(bank)
        2
    """

    def __init__(self, network: PreTrainedModel, adapters: Sequence[Mapping[str, Tensor]], effect: Effect) -> None:
        """Stack adapters.

        Args:
            network: the frozen model.
            adapters: each adapter's tensors, named and shaped as in PEFT's file; all with the same names and shapes.
            effect: the computation that they add to the network.

        Raises:
            ValueError: there are no adapters, their names or shapes differ, they don't have this effect, or their
                shared tensors differ.
        """
        self.network = network
        trained = [
            {name: tensor for name, tensor in tensors.items() if name not in effect.shared} for tensors in adapters
        ]
        self.shapes = {name: tensor.shape for name, tensor in trained[0].items()} if trained else {}
        if not self.shapes or any({n: t.shape for n, t in tensors.items()} != self.shapes for tensors in trained):
            raise ValueError("a bank needs adapters of the same names and shapes, at least one")
        shared = {name: tensor for name, tensor in adapters[0].items() if name in effect.shared}
        if any(not torch.equal(tensors[name], tensor) for tensors in adapters for name, tensor in shared.items()):
            raise ValueError("a bank needs adapters whose shared tensors are the same")
        self.effect = effect.bound({name: tensor.to(network.device, torch.float32) for name, tensor in shared.items()})
        """The adapters' computation, with the tensors that all modules share."""
        self._places = {name: _place(name, effect) for name in self.shapes}
        self._modules = {
            path: network.get_submodule(path) for path in dict.fromkeys(p for p, _ in self._places.values())
        }
        self.sections = self._joined_sections()
        """Names in the order of the values; tensors whose names are together can be read as one."""
        names = [name for section in self.sections for name in section]
        flat = [torch.cat([tensors[name].reshape(-1) for name in names]) for tensors in trained]
        self.values: Float[Tensor, "adapters values"] = torch.stack(flat).to(network.device, torch.float32)
        """Each adapter's tensors, concatenated; the optimiser's parameters."""

    def __len__(self) -> int:
        """Return the number of adapters."""
        return len(self.values)

    def keep(self, indices: Sequence[int]) -> None:
        """Keep only these adapters, in this order."""
        trained = self.values.requires_grad
        staying = on_device(list(indices), self.values.device)
        self.values = self.values.detach().index_select(0, staying).requires_grad_(trained)

    def weights(self, index: int) -> dict[str, Tensor]:
        """Copy one adapter's tensors to the CPU, named as in PEFT's file."""
        return self.named(self.values[index].detach())

    def named(self, values: Float[Tensor, " values"]) -> dict[str, Tensor]:
        """Split one adapter's values into tensors named as in PEFT's file, copied to the CPU."""
        parts = {name: part[0] for (name,), part in self._split(values[None], self._apart).items()}
        return {name: parts[name].to("cpu", copy=True) for name in self.shapes}

    @property
    def virtual_tokens(self) -> int:
        """Return the number of virtual tokens before every text, in the cache that `prefix` returns."""
        return self.effect.virtual_tokens

    def prefix(self, adapter_of_row: AdapterOfRow) -> Cache | None:
        """Return keys and values of the virtual tokens, for each row those of its adapter; None if there are none."""
        if not isinstance(self.effect, VirtualTokens):
            return None
        (values,) = self._by_module(self.values).values()
        cache = self.effect.cache(self.network, values)
        rows = on_device(adapter_of_row, self.values.device)
        for layer in cache.layers:
            layer.keys, layer.values = (taken(states, rows.to(states.device)) for states in (layer.keys, layer.values))
        return cache

    def shares_tokens(self, noise: Sequence[int | None]) -> bool:
        """Return False if any sequence has dropout, because each has its own mask."""
        return self.effect.dropout_rate == 0 or all(number is None for number in noise)

    @contextmanager
    def attached(
        self, adapter_of_row: AdapterOfRow | None = None, *, one_token: bool = False, dropout: Dropout | None = None
    ) -> Iterator[None]:
        """Run the network with the adapters inside the `with` block; it is unchanged afterwards.

        Args:
            adapter_of_row: index of each row's adapter; by default row i has adapter i.
            one_token: rows have one token each, as in decoding. Then an adapter's rows always form one group, as they
                also do if they are adjacent and equally many for each adapter. Otherwise each row is a group with a
                copy of its adapter's tensors, unless the effect says that those are too large; the result is the same.
            dropout: dropout of the adapters' inputs; the modules' own inputs have none.
        """
        if isinstance(self.effect, VirtualTokens):
            yield
            return
        rows = range(len(self)) if adapter_of_row is None else adapter_of_row
        groups = RowGroups.of(rows, gather=one_token or self.effect.by_adapter, device=self.values.device)
        values = self.values
        if groups.adapters != list(range(len(self))):
            values = taken(values, on_device(groups.adapters, values.device))
        values = values.to(self._dtype)
        if isinstance(self.effect, LowRank) and groups.rows is None and dropout is None:
            hooks = self._joint_hooks(self.effect, values, groups)
        else:
            by_module = self._by_module(values)
            hooks = {
                path: partial(self._changed, by_module[path], groups, dropout, number)
                for number, path in enumerate(self._modules)
            }
        # runs before all other hooks, which then see the adapted output
        handles = [module.register_forward_hook(hooks[path], prepend=True) for path, module in self._modules.items()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def reading(
        self, batch: Batch, adapter_of_row: AdapterOfRow, noise: Sequence[int | None] = ()
    ) -> Iterator[tuple[Batch, Cache | None]]:
        """Run the network on a batch with the adapters; see `Attachment.reading`."""
        cache = self.prefix(adapter_of_row)
        dropout = None if self.shares_tokens(noise) else Dropout.of(batch, self.effect.dropout_rate, noise)
        with self.attached(adapter_of_row, dropout=dropout):
            yield batch.behind(self.virtual_tokens), cache

    def _joined_sections(self) -> tuple[tuple[str, ...], ...]:
        """Return the tensors' names; those of LoRA's A that multiply the same inputs are together."""
        if not isinstance(self.effect, LowRank):
            return tuple((name,) for name in self.shapes)
        reducing = {path: name for name, (path, suffix) in self._places.items() if suffix == A}
        sections: dict[str, tuple[str, ...]] = {name: (name,) for name in self.shapes}
        for siblings in siblings_of(self.network, reducing):
            names = tuple(reducing[path] for path in siblings)
            if len({self.shapes[name] for name in names}) == 1:
                sections |= dict.fromkeys(names, names)
        return tuple(dict.fromkeys(sections.values()))

    @property
    def _apart(self) -> tuple[tuple[str, ...], ...]:
        return tuple((name,) for section in self.sections for name in section)

    def _split(
        self, values: Float[Tensor, "groups values"], sections: Sequence[tuple[str, ...]]
    ) -> dict[tuple[str, ...], Tensor]:
        """Return each section's tensor, with a row of groups in front; several names share one along their rows."""
        # a split has a single gradient; slices would each allocate one of the full size
        parts = values.split_with_sizes([sum(self.shapes[name].numel() for name in names) for names in sections], dim=1)
        return {
            names: part.view(len(values), -1, *self.shapes[names[0]][1:])
            for names, part in zip(sections, parts, strict=True)
        }

    def _by_module(self, values: Float[Tensor, "groups values"]) -> dict[str, Values]:
        by_module: dict[str, dict[str, Tensor]] = {path: {} for path in self._modules}
        for (name,), tensor in self._split(values, self._apart).items():
            path, suffix = self._places[name]
            by_module[path][suffix] = tensor
        return dict(by_module)

    def _joint_hooks(
        self, effect: LowRank, values: Float[Tensor, "groups values"], groups: RowGroups
    ) -> dict[str, Callable[..., Tensor]]:
        """Return the hook of each module; modules that read the same inputs share the product with A."""
        b, reductions = dict[str, Tensor](), dict[str, tuple[JointReduction, int]]()
        for names, tensor in self._split(values, self.sections).items():
            paths = [self._places[name][0] for name in names]
            if self._places[names[0]][1] == B:
                b[paths[0]] = tensor
            else:
                reduction = effect.joint_reduction(tensor, len(paths))
                reductions |= {path: (reduction, member) for member, path in enumerate(paths)}
        return {path: partial(self._jointly_changed, *reductions[path], b[path], groups) for path in self._modules}

    def _jointly_changed(
        self,
        reduction: JointReduction,
        member: int,
        b: Tensor,
        groups: RowGroups,
        module: nn.Module,
        arguments: tuple[Any, ...],
        output: Tensor,
    ) -> Tensor:
        """Return a module's output with its updates, as its hook, whose own arguments come last."""
        source, shape = arguments[0], output.shape
        # a model's layers may be on several devices, and latent attention gives (rows, 1, width, n)
        if not reduction.has_read(source):
            reduction.read(source, groups.gathered(source.to(output.device, self._dtype)))
        return reduction.added(member, module, groups.gathered(output), b.to(output.device)).view(shape)

    @property
    def _dtype(self) -> torch.dtype:
        """Return the dtype in which the adapters compute."""
        half = self.effect.in_bfloat16 and self.network.dtype == torch.bfloat16
        return torch.bfloat16 if half else torch.float32

    def _changed(
        self,
        of_module: Values,
        of_groups: RowGroups,
        dropout: Dropout | None,
        number: int,
        module: nn.Module,
        arguments: tuple[Any, ...],
        output: Tensor,
    ) -> Tensor:
        """Return a module's output with its adapters, as its hook, whose own arguments come last."""
        effect, dtype = self.effect, self._dtype
        # a model's layers may be on several devices
        shape, inputs, groups = output.shape, arguments[0].to(output.device, dtype), of_groups.on(output.device)
        values = {suffix: tensor.to(output.device) for suffix, tensor in of_module.items()}
        if inputs.ndim > 3:  # latent attention gives (rows, 1, width, n)
            inputs, output = inputs.flatten(1, -2), output.flatten(1, -2)
        if dropout is not None:
            inputs = dropout.applied(inputs, number)
        width, inputs = inputs.shape[1], groups.gathered(inputs)
        if isinstance(effect, AdditiveEffect):
            if groups.rows is None:
                return effect.added(module, inputs, groups.gathered(output), values).view(shape)
            added = output + groups.scattered(effect.delta(module, inputs, values), width).to(output.dtype)
            return added.view(shape)
        assert isinstance(effect, ModuleEffect), "virtual tokens change no module"
        after = effect.update(module, inputs, groups.gathered(output.to(dtype)), values)
        return groups.scattered(after, width).to(output.dtype).view(shape)


def _place(name: str, effect: Effect) -> tuple[str, str]:
    """Return a tensor's module and its name within the module; ValueError if the effect has no such tensor."""
    suffix = next((suffix for suffix in effect.suffixes if name.endswith(suffix)), None)
    if suffix is None:
        raise ValueError(f"a bank of the effect {effect} has no tensor {name}")
    return name.removesuffix(suffix).removesuffix(".").removeprefix(PREFIX), suffix


def can_hold(network: PreTrainedModel, names: Iterable[str], effect: Effect) -> bool:
    """Return whether a bank can run adapters with these tensors: modules must be linear and take whole rows as input.

    A bank assigns adapters by row.

    Args:
        network: the frozen model.
        names: the tensors' names in PEFT's file.
        effect: the adapters' computation.
    """
    if isinstance(effect, VirtualTokens):
        return True
    try:
        modules = {network.get_submodule(_place(name, effect)[0]) for name in names}
    except ValueError:
        return False
    if not all(features(module) for module in modules):
        return False
    return take_whole_rows(network, modules)
