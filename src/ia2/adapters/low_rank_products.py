"""Low-rank updates beside frozen products, forward and backward, in as few operations as possible.

A module's output becomes inputs Wᵀ + scaling · inputs Aᵀ Bᵀ. Autograd's version would also scale and transpose whole
tensors, sum gradients, and multiply by the A of every projection separately, even if they have the same inputs. On a
GPU each operation is a kernel to launch.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ia2.models.linear_modules import frozen_weight


class JointReduction:
    """scaling · inputs Aᵀ for all modules that read the same inputs, such as queries and keys, in one product."""

    def __init__(self, a: Float[Tensor, "groups joined inputs"], members: int, scaling: float) -> None:
        """Hold the factors.

        Args:
            a: the modules' matrices A, each (groups, rank, inputs), joined along their rows.
            members: number of modules.
            scaling: factor of the update.
        """
        self.a, self.members, self.scaling = a, members, scaling
        self._source: Tensor | None = None
        self._inputs: Tensor | None = None
        self._reduced: tuple[Tensor, ...] = ()
        self._joint = _Joint(members)
        self._used = 0

    def has_read(self, source: Tensor) -> bool:
        """Return whether these are the inputs of the last product."""
        return self._source is source

    def read(self, source: Tensor, inputs: Float[Tensor, "groups tokens inputs"]) -> None:
        """Multiply new inputs.

        Args:
            source: the tensor that the modules are called with.
            inputs: its tokens in groups.
        """
        self._joint = _Joint(self.members)
        self._inputs, *reduced = _Reduced.apply(inputs, self.a.to(inputs.device), self.scaling, self._joint)  # type: ignore[no-untyped-call]
        self._source, self._reduced, self._used = source, tuple(reduced), 0

    def added(
        self,
        member: int,
        module: nn.Module,
        output: Float[Tensor, "groups tokens outputs"],
        b: Float[Tensor, "groups outputs rank"],
    ) -> Float[Tensor, "groups tokens outputs"]:
        """Return a module's output plus its update, in the output's dtype.

        Args:
            member: the module's position among those whose A are joined.
            module: the module.
            output: its output for the inputs that were read.
            b: its matrix B.
        """
        assert self._inputs is not None, "inputs are read first"
        inputs, reduced, joint = self._inputs, self._reduced[member], self._joint
        self._used += 1
        if self._used == self.members:
            # nothing is kept longer than the graph needs it
            self._source, self._inputs, self._reduced, self._joint = None, None, (), _Joint(self.members)
        if output.dtype != reduced.dtype:
            return output + torch.bmm(reduced, b.mT).to(output.dtype)
        weight = frozen_weight(module, inputs)
        output = output if weight is None else output.detach()
        return _Expanded.apply(output, inputs, reduced, weight, b, joint, member)  # type: ignore[no-any-return, no-untyped-call]


class _Joint:
    """A joint product. In the backward pass the gradient of each part takes the part's place."""

    def __init__(self, members: int) -> None:
        self.members = members
        self.product: Tensor | None = None
        self._replaced: set[int] = set()

    def part(self, member: int) -> Tensor:
        """Return the part of a member, before its gradient replaces it.

        Raises:
            RuntimeError: it was replaced: this is the second backward pass.
        """
        if self.product is None or member in self._replaced:
            raise RuntimeError(
                "the update's forward values are gone: a second backward pass needs a second forward pass"
            )
        return self.product.chunk(self.members, dim=2)[member]

    def replace(self, member: int, gradient: Tensor, b: Tensor) -> Tensor:
        """Put the gradient of a part in its place, and return it."""
        part = self.part(member)
        self._replaced.add(member)
        return torch.bmm(gradient, b, out=part)

    def gradient(self, parts: tuple[Tensor | None, ...]) -> Tensor:
        """Return the gradient of the product, given those of its parts; None for a part that has none."""
        product, self.product = self.product, None
        assert product is not None, "a backward pass comes after a forward pass"
        for slot, part in zip(product.chunk(self.members, dim=2), parts, strict=True):
            if part is None:
                slot.zero_()
            elif part.data_ptr() != slot.data_ptr():
                slot.copy_(part)
        return product


class _Reduced(torch.autograd.Function):
    """The inputs unchanged, and scaling · inputs Aᵀ in a part for each module.

    The modules' frozen products are given these inputs, so that all gradients of the inputs meet here and the update's
    is added to them in the product that computes it.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, a: Tensor, scaling: float, joint: _Joint) -> tuple[Tensor, ...]:
        reduced = torch.bmm(inputs, a.mT)
        if scaling != 1:
            reduced = reduced.mul_(scaling)
        ctx.save_for_backward(inputs, a)
        ctx.scaling, ctx.joint, joint.product = scaling, joint, reduced
        ctx.set_materialize_grads(False)
        alike = inputs.view_as(inputs)
        if not ctx.needs_input_grad[0]:
            ctx.mark_non_differentiable(alike)
        return alike, *reduced.chunk(joint.members, dim=2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        of_alike, *of_parts = gradients
        inputs, a = ctx.saved_tensors
        to_inputs, to_a, *_ = ctx.needs_input_grad
        of_reduced = ctx.joint.gradient(tuple(of_parts))
        if ctx.scaling != 1:
            of_reduced = of_reduced.mul_(ctx.scaling)
        of_a = torch.bmm(of_reduced.mT, inputs) if to_a else None
        of_inputs = None
        if to_inputs:
            of_inputs = torch.bmm(of_reduced, a) if of_alike is None else of_alike.baddbmm_(of_reduced, a)
        return of_inputs, of_a, None, None


class _Expanded(torch.autograd.Function):
    """output + reduced Bᵀ.

    If the module's weight is given, backward also computes the gradient of its product, output = inputs Wᵀ.
    """

    @staticmethod
    def forward(
        ctx: Any,
        output: Tensor,
        inputs: Tensor,
        reduced: Tensor,
        weight: Tensor | None,
        b: Tensor,
        joint: _Joint,
        member: int,
    ) -> Tensor:
        del inputs
        ctx.save_for_backward(weight, b)
        ctx.joint, ctx.member = joint, member
        return torch.baddbmm(output, reduced, b.mT)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        weight, b = ctx.saved_tensors
        to_output, to_inputs, to_reduced, _, to_b, *_ = ctx.needs_input_grad
        of_b = torch.bmm(gradient.mT, ctx.joint.part(ctx.member)) if to_b else None
        of_reduced = ctx.joint.replace(ctx.member, gradient, b) if to_reduced else None
        of_inputs = torch.matmul(gradient, weight) if to_inputs and weight is not None else None
        return gradient if to_output else None, of_inputs, of_reduced, None, of_b, None, None
