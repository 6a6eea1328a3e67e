"""A network spread over two devices that this machine hasn't got, which is read with every kind of adapter.

The devices hold no numbers: torch's fake tensors know shapes and devices alone, and an operation that mixes two devices
raises as on GPUs. Registering such devices changes torch for the whole process, so that this is a program of its own.
"""

import os
import sys

import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from conftest import tiny_network
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend
from transformers import DynamicCache

from ia2.adapters.adapter import fresh_adapter
from ia2.adapters.bank import Bank
from ia2.adapters.full import FullFineTuning
from ia2.adapters.ia3 import IA3
from ia2.adapters.kind import AdapterKind
from ia2.adapters.lora import LoRA
from ia2.adapters.prefix import PrefixTuning
from ia2.adapters.prompt import PromptTuning
from ia2.adapters.registry import effect_of
from ia2.adapters.shift import Shift
from ia2.adapters.vera import VeRA
from ia2.models.reader import Reader
from ia2.models.sequences import TokenSequence
from ia2.models.sites import LOGITS, Site
from ia2.models.slot_cache import SlotCache

FIRST, SECOND = "nowhere:0", "nowhere:1"
KINDS = (
    *(
        None,
        LoRA(),
        LoRA(dora=True),
        LoRA(dropout=0.5),
        LoRA(modules=("value",), rslora=True),
        IA3(),
        IA3(scale="input"),
    ),
    *(VeRA(), FullFineTuning(), PrefixTuning(), PromptTuning(), Shift()),
)
SITES = [Site("attention-output"), Site("residual"), Site("mlp-output"), Site("heads"), LOGITS]
SEQUENCES = [TokenSequence((5, 9, 13, 7), (7, 3)), TokenSequence((5, 9, 8), (6,)), TokenSequence((5, 9, 8, 20), (6,))]


def fake_tensor(data: object, *, dtype: torch.dtype | None = None, device: object = None, **_: object) -> torch.Tensor:
    """torch.tensor where its numbers can't be copied to a device that there isn't."""
    alone = real_tensor(data, dtype=dtype)
    return alone if device is None else torch.empty(alone.shape, dtype=alone.dtype, device=device)


def spread(network: nn.Module, mode: FakeTensorMode) -> nn.Module:
    """The network with its second half on the second device, and hooks between them as accelerate sets them."""
    layers = list(network.model.layers)
    half = len(layers) // 2
    parts = {FIRST: [network.model.embed_tokens, *layers[:half]]}
    parts[SECOND] = [*layers[half:], network.model.norm, network.lm_head]
    device_of = {module: device for device, of in parts.items() for part in of for module in part.modules()}
    for module in network.modules():
        device = device_of.get(module, FIRST)
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(mode.from_tensor(parameter.data).to(device), requires_grad=False))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, mode.from_tensor(buffer).to(device))
    for device, of in parts.items():
        for part in of:
            add_hook_to_module(part, AlignDevicesHook(device))
    return add_hook_to_module(network, AlignDevicesHook(FIRST, io_same_device=True))


def check_read(kind: AdapterKind | None, *, behind_a_prefix: bool, noise: bool) -> None:
    """Read sequences; whatever is read comes to the device of the inputs."""
    network, mode = tiny_network("llama"), FakeTensorMode(allow_non_fake_inputs=True)
    configuration = None if kind is None else kind.configuration(network)
    adapters = [] if kind is None else [fresh_adapter(network, configuration, seed).weights for seed in (0, 1)]
    with mode, torch.no_grad():
        spread(network, mode)
        reader = Reader(network)
        if configuration is not None:
            fakes = [{name: mode.from_tensor(tensor) for name, tensor in tensors.items()} for tensors in adapters]
            reader = Reader(network, Bank(network, fakes, effect_of(configuration)))
        if behind_a_prefix:
            reader = reader.with_common_prefix(SEQUENCES)
            assert reader.prefix.tokens == (5, 9)
        adapter_of = [number % max(1, len(adapters)) for number in range(3)]
        batch, adapter_of_row = reader.laid_out(SEQUENCES, adapter_of, share=not noise)
        read = reader.read(batch, {site: batch.at() for site in SITES}, adapter_of_row, [7, 8, 9] if noise else ())
        for site in SITES:
            assert str(read[site].device) == FIRST, f"{kind}: {site} is on {read[site].device}"


def check_slots() -> None:
    """Go on with responses from a cache whose layers lie on both devices."""
    with FakeTensorMode(), torch.no_grad():
        read = DynamicCache()
        for layer, device in enumerate((FIRST, SECOND)):
            read.update(torch.zeros(3, 1, 4, 2, device=device), torch.zeros(3, 1, 4, 2, device=device), layer)
        slots = SlotCache(read, room=8)
        slots.keep(torch.arange(2).to(FIRST))
        slots.next_token(torch.arange(2).to(FIRST), width=5)
        for layer, device in enumerate((FIRST, SECOND)):
            token = torch.ones(2, 1, 1, 2, device=device)
            keys, values = slots.update(token, token, layer)
            assert (str(keys.device), str(values.device)) == (device, device)


if __name__ == "__main__":
    _setup_privateuseone_for_python_backend("nowhere")
    real_tensor, torch.tensor = torch.tensor, fake_tensor
    # of fake tensors nobody can say whether their numbers are the same
    torch.equal = lambda _first, _second: True
    for tried in KINDS:
        dropped = isinstance(tried, LoRA) and tried.dropout > 0
        check_read(tried, behind_a_prefix=tried is None, noise=dropped)
        sys.stdout.write(f"{tried}\n")
    check_slots()
    sys.stdout.write("slots\n")
    sys.stdout.flush()
    # such devices are an experiment of torch's, which may crash as the interpreter ends
    os._exit(0)
