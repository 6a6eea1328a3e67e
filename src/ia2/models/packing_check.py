"""How a network can be given rows: tried when it is loaded, against each text read alone.

Packed rows are tried first, and padded ones where a network reads those otherwise: ALiBi takes distances from where
keys stand in a row, and layers with a state of their own can't share a row at all. Encoders and prefix language models
look ahead, and are refused.
"""

import inspect
import random
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from ia2.errors import InputError
from ia2.models.forward import logits_behind_rows, response_logits
from ia2.models.layout import lay_out
from ia2.models.prefix import prefill
from ia2.models.quantised import quantisation_of
from ia2.models.reader import Reader
from ia2.models.row_forms import (
    PACKED,
    PADDED,
    PADDED_BY_POSITION,
    PADDED_FROM_THE_START,
    PADDED_WITHOUT_CACHE,
    RowForm,
    empty_cache,
    give_rows,
    row_form_of,
)
from ia2.models.sequences import TokenSequence
from ia2.models.sites import LOGITS
from ia2.models.stacked_cache import stack, stacks

PREFIX, TEXTS = 6, (5, 9)
"""Tokens of what is tried."""
TOLERANCE = {torch.float32: 2e-4, torch.bfloat16: 0.2, torch.float16: 0.2}
"""How far logits may be apart by rounding, as a share of how far they are from their mean."""
MIXING_TOLERANCE = 0.05
"""The same at the most where rows of different lengths go on together: those of one length alone are only slower."""
CHOOSING = ("index_topk", "keep_window_size")
"""Settings of networks that attend to so many keys alone, those of the highest score."""
Tokens = tuple[int, ...]


def chooses_keys(network: PreTrainedModel) -> bool:
    """Whether a network attends to the keys of the highest score alone, once there are more than it chooses.

    A text that shares its row takes places among them, however it is masked; and which of equal scores are chosen
    depends on what else is computed.
    """
    config = network.config.get_text_config(decoder=True)
    return any(getattr(config, name, None) for name in CHOOSING)


@torch.no_grad()
def check_agreement(network: PreTrainedModel, name: str) -> RowForm:
    """Choose how a network is given rows from now on, and refuse one that reads none of them as each text alone.

    Args:
        network: a causal language model.
        name: what an error calls it.

    Raises:
        InputError: it gives other logits than for each text alone in padded rows too, or can't run like this.
    """
    numbers = random.Random(0)
    prefix, *texts = (
        tuple(numbers.choices(range(network.get_input_embeddings().weight.shape[0]), k=count))
        for count in (PREFIX, *TEXTS)
    )
    # quantised weights may be multiplied in half precision, whatever the rest of the network computes in
    tolerance = TOLERANCE[network.dtype if quantisation_of(network) is None else torch.float16]
    forms = (
        (PACKED, _packed),
        (PADDED, _padded_behind_prefix),
        (PADDED_BY_POSITION, _padded_behind_prefix),
        (PADDED_FROM_THE_START, _padded),
        (PADDED_WITHOUT_CACHE, _padded_without_cache),
    )
    problem: Exception | None = None
    # what is tried is shorter than what such a network chooses
    for form, read in forms[chooses_keys(network) :]:
        give_rows(network, form)
        try:
            alone = _alone(network, [prefix + text for text in texts])
            together = read(network, prefix, texts).view(-1, *alone.shape)  # each text in one way or several
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # each architecture has its own way of not taking masks, positions or a cache
            problem = error
            continue
        if _agree(together, alone, tolerance):
            give_rows(network, form, mixes_lengths=_mixes_lengths(network, prefix, texts[-1], tolerance))
            return form
        problem = None
    kind, instead = network.config.model_type, "Use a causal decoder such as Llama, Qwen or Gemma."
    if problem is not None:
        raise InputError(
            f"{name}: models of the kind {kind} can't be run here ({_first_line(problem)}). {instead}"
        ) from problem
    if _looks_ahead(network, prefix + texts[-1], tolerance):
        reason = "look ahead: later tokens change their output at earlier positions, as in encoders and prefix models"
    else:
        reason = "compute a text differently if another text, or padding, is in the same batch"
    raise InputError(f"{name}: models of the kind {kind} {reason}. {instead}")


def _agree(read: Float[Tensor, "*texts vocabulary"], alone: Float[Tensor, "texts vocabulary"], most: float) -> bool:
    """Whether logits are as those of each text alone but for rounding."""
    apart = (read - alone).norm(dim=-1) / (alone - alone.mean(-1, keepdim=True)).norm(dim=-1)
    return bool((apart < most).all())


def _mixes_lengths(network: PreTrainedModel, short: Tokens, rest: Tokens, tolerance: float) -> bool:
    """Whether rows that have read different numbers of tokens can read two more in one pass."""
    if row_form_of(network).packs or not row_form_of(network).caches or chooses_keys(network):
        return False
    texts = [short[:3], short + rest]
    caches = [empty_cache(network) for _ in texts]
    for cache, text in zip(caches, texts, strict=True):
        begun = lay_out([TokenSequence(text[:-2], (0,))], layout="right", device=network.device)
        response_logits(network, begun, cache)
    cache, other = caches
    if not stacks(cache):
        return False
    stack(cache, other)
    try:
        for left in (2, 1):
            token = torch.tensor([text[-left] for text in texts], device=network.device)
            read = logits_behind_rows(network, token, cache, [len(text) - left for text in texts])
    except torch.OutOfMemoryError:
        raise
    except Exception:  # each architecture has its own way of not taking positions or a mask
        return False
    return _agree(read, _alone(network, texts), min(tolerance, MIXING_TOLERANCE))


def _looks_ahead(network: PreTrainedModel, text: Tokens, tolerance: float) -> bool:
    """Whether another last token changes the logits behind those before it."""
    *first, last = text
    rows = [
        network(input_ids=torch.tensor([tokens], device=network.device), use_cache=False).logits[0, :-1].float()
        for tokens in (text, (*first, (last + 1) % network.get_input_embeddings().weight.shape[0]))
    ]
    return bool((rows[0] - rows[1]).norm() > tolerance * (rows[0] - rows[0].mean(-1, keepdim=True)).norm())


def _alone(network: PreTrainedModel, texts: Sequence[Tokens]) -> Float[Tensor, "texts vocabulary"]:
    rows = [network(input_ids=torch.tensor([text], device=network.device), use_cache=False) for text in texts]
    return torch.stack([row.logits[0, -1] for row in rows]).float()


def _packed(network: PreTrainedModel, prefix: Tokens, texts: Sequence[Tokens]) -> Float[Tensor, "texts vocabulary"]:
    """Texts that share a row behind a prefix that was read beforehand."""
    if "position_ids" not in inspect.signature(network.base_model.forward).parameters:
        # it may agree nearly, where it takes distances alone from where tokens stand
        raise ValueError("it takes no positions")
    sequences = [TokenSequence(prefix + text, (0,)) for text in texts]
    batch = lay_out(sequences, rows=[[0, 1]], skip=len(prefix), device=network.device)
    return Reader(network, prefix=prefill(network, prefix)).read(batch, {LOGITS: batch.at()})[LOGITS]


def _padded_behind_prefix(
    network: PreTrainedModel, prefix: Tokens, texts: Sequence[Tokens]
) -> Float[Tensor, "twice_the_texts vocabulary"]:
    """The same, and once more behind a prefix that was read beforehand."""
    reader = Reader(network, prefix=prefill(network, prefix))
    batch, _ = reader.laid_out([TokenSequence(prefix + text, (0,)) for text in texts], [0, 0])
    return torch.cat([_padded(network, prefix, texts), reader.read(batch, {LOGITS: batch.at()})[LOGITS]])


def _padded(network: PreTrainedModel, prefix: Tokens, texts: Sequence[Tokens]) -> Float[Tensor, "texts vocabulary"]:
    """The same, but that the longer text's last token is read behind a cache of those before it."""
    read = _padded_without_cache(network, prefix, texts)
    *first, last = prefix + texts[-1]
    begun = lay_out([TokenSequence(tuple(first), (0,))], layout="right", device=network.device)
    cache = empty_cache(network)
    response_logits(network, begun, cache)
    behind = logits_behind_rows(network, torch.tensor([last], device=network.device), cache)
    return torch.cat([read[:-1], behind])


def _padded_without_cache(
    network: PreTrainedModel, prefix: Tokens, texts: Sequence[Tokens]
) -> Float[Tensor, "texts vocabulary"]:
    """Texts in a row each, the shorter one's with padding behind it."""
    sequences = [TokenSequence(prefix + text, (0,)) for text in texts]
    batch = lay_out(sequences, layout="right", device=network.device)
    return Reader(network).read(batch, {LOGITS: batch.at()})[LOGITS]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
