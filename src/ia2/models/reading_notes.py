"""Notes on how a network is run and adapted, if that differs from a plain decoder."""

from transformers import PreTrainedModel

from ia2.errors import InputError
from ia2.models.architecture_table import ONLY_INPUTS_ADAPTED
from ia2.models.architectures import Architecture, architecture_of
from ia2.models.context_length import context_notes
from ia2.models.row_forms import PACKED, row_form_of


def reading_notes(network: PreTrainedModel, name: str, attention: str | None = None) -> tuple[str, ...]:
    """Return one sentence for each choice; none for a plain decoder with packed rows.

    Args:
        network: a model whose row form has been set.
        name: the model's name in the notes.
        attention: the attention implementation the user asked for, if any.
    """
    notes = [*context_notes(network.config, name)]
    form = row_form_of(network)
    if form is not PACKED:
        reason = "sharing a row would change its output"
        notes.append(f"Model {name}: each text has its own row ({form.name}), as {reason}.")
    if attention is None and network.config._attn_implementation == "eager":
        notes.append(f"Model {name}: attention is eager, as this architecture allows nothing faster.")
    try:
        architecture = architecture_of(network)
    except InputError:  # raised again when the parts are needed
        return tuple(notes)
    if architecture.is_inferred:
        _, parts = architecture.mixing[0]
        modules = ", ".join(dict.fromkeys(filter(None, (parts.query, parts.key, parts.value, parts.output))))
        notes.append(
            f"Model {name}: this architecture is not in the table; by their names, shapes and contribution to the "
            f"residual stream, {parts.block} is taken as a layer's attention and {modules} as its projections."
        )
    return (*notes, *_mixer_notes(architecture, network.config.model_type, name))


def _mixer_notes(architecture: Architecture, kind: str, name: str) -> list[str]:
    """Return notes on the modules used as W_Q, W_K, W_V and W_O in recurrent layers, and on layers without a mixer."""
    layers: dict[str, int] = {}
    for _, parts in architecture.mixing:
        if parts.recurrent:
            inputs = ", ".join(dict.fromkeys(filter(None, (parts.query, parts.key, parts.value))))
            modules = f"{parts.block}.{inputs} for query, key and value, {parts.block}.{parts.output} for output"
            if kind in ONLY_INPUTS_ADAPTED:
                modules += ", on which PEFT puts no adapter"
            layers[modules] = layers.get(modules, 0) + 1
    total = len(architecture.parts)
    notes = [
        f"Model {name}: {count} of {total} layers mix tokens through a recurrent state; their projections are "
        f"{modules}."
        for modules, count in layers.items()
    ]
    if idle := total - len(architecture.mixing):
        notes.append(f"Model {name}: {idle} of {total} layers mix no tokens and are neither aligned nor adapted.")
    return notes
