"""Choice of a network's row form at load time, by comparing batched logits with those of each text alone.

Packed rows are tried first, then padded ones. Packing fails with ALiBi, which takes distances from columns, and with
recurrent layers, which can't share a row. Encoders and prefix language models attend to later tokens and are refused.
"""

import inspect
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

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
    row_form_of,
    set_row_form,
)
from ia2.models.sequences import TokenSequence
from ia2.models.sites import LOGITS
from ia2.models.stacked_cache import stack, stacks

PREFIX, TEXTS = 6, (5, 9)
"""Lengths of the test prefix and of the two test texts, in tokens."""
TOLERANCE = {torch.float32: 2e-4, torch.bfloat16: 0.2, torch.float16: 0.2}
"""Rounding tolerance: maximum difference of logits, relative to their deviation from their mean."""
MIXING_TOLERANCE = 0.05
"""Upper limit of the tolerance where rows of different lengths are mixed: without mixing, decoding is only slower."""
SHORT_WINDOW = 4
"""Sliding window of a second trial, shorter than the test texts."""
CHOOSING = ("index_topk", "keep_window_size")
"""Settings of networks that attend only to this number of keys, those with the highest scores."""
Tokens = tuple[int, ...]
Read = Callable[[PreTrainedModel, Tokens, Sequence[Tokens]], Tensor]


def chooses_keys(network: PreTrainedModel) -> bool:
    """Return whether a network attends only to the keys with the highest scores, once there are enough.

    Another text in the row takes some of these places even if it is masked, and which of several equal scores are
    chosen depends on the rest of the batch.
    """
    config = network.config.get_text_config(decoder=True)
    return any(getattr(config, name, None) for name in CHOOSING)


@torch.no_grad()
def check_agreement(network: PreTrainedModel, name: str) -> RowForm:
    """Set the network's row form to the first one whose logits equal those of each text alone, and return it.

    Args:
        network: a causal language model.
        name: the model's name in errors.

    Raises:
        InputError: no row form gives the logits of each text alone, or the network can't be run at all.
    """
    generator = random.Random(0)
    prefix, *texts = (
        tuple(generator.choices(range(network.get_input_embeddings().weight.shape[0]), k=count))
        for count in (PREFIX, *TEXTS)
    )
    # products with quantised weights may be in half precision, whatever the network's dtype
    tolerance = TOLERANCE[network.dtype if quantisation_of(network) is None else torch.float16]
    forms = (
        (PACKED, _packed),
        (PADDED, _padded_behind_prefix),
        (PADDED_BY_POSITION, _padded_behind_prefix),
        (PADDED_FROM_THE_START, _padded),
        (PADDED_WITHOUT_CACHE, _padded_without_cache),
    )
    problem: Exception | None = None
    # the test texts are shorter than the number of keys that such networks choose
    for form, logits_of in forms[chooses_keys(network) :]:
        set_row_form(network, form)
        try:
            if _agrees(network, logits_of, prefix, texts, tolerance):
                set_row_form(network, form, mixes_lengths=_mixes_lengths(network, prefix, texts[-1], tolerance))
                return form
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # architectures without masks, positions or a cache fail in different ways
            problem = error
            continue
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


def _agrees(
    network: PreTrainedModel, logits_of: Read, prefix: Tokens, texts: Sequence[Tokens], tolerance: float
) -> bool:
    """Return whether texts that are batched have the logits of each text alone, also beyond a sliding window."""
    for window in _windows(network):
        with window:
            alone = _alone(network, [prefix + text for text in texts])
            together = logits_of(network, prefix, texts).view(-1, *alone.shape)  # some forms read each text twice
        if not _close(together, alone, tolerance):
            return False
    return True


def _close(
    together: Float[Tensor, "*texts vocabulary"], alone: Float[Tensor, "texts vocabulary"], tolerance: float
) -> bool:
    """Return whether the logits of batched texts are those of each text alone, but for rounding."""
    deviation = (together - alone).norm(dim=-1) / (alone - alone.mean(-1, keepdim=True)).norm(dim=-1)
    return bool((deviation < tolerance).all())


def _windows(network: PreTrainedModel) -> list[AbstractContextManager[None]]:
    """Return contexts with the network's own sliding window and with a short one, so that short texts test it.

    A network whose layers ignore the change disagrees with our masks, and isn't given packed rows.
    """
    config = network.config.get_text_config(decoder=True)
    slides = (getattr(config, "sliding_window", None) or 0) > SHORT_WINDOW
    return [nullcontext(), *[_with_window(config, SHORT_WINDOW)] * slides]


@contextmanager
def _with_window(config: PreTrainedConfig, tokens: int) -> Iterator[None]:
    usual = config.sliding_window
    config.sliding_window = tokens
    try:
        yield
    finally:
        config.sliding_window = usual


def _mixes_lengths(network: PreTrainedModel, short: Tokens, rest: Tokens, tolerance: float) -> bool:
    """Return whether rows that have read different numbers of tokens can read two more in one pass."""
    if row_form_of(network).packs or not row_form_of(network).caches or chooses_keys(network):
        return False
    texts = [short[:3], short + rest]
    for window in _windows(network):
        with window:
            together = _logits_of_mixed_lengths(network, texts)
            if together is None or not _close(together, _alone(network, texts), min(tolerance, MIXING_TOLERANCE)):
                return False
    return True


def _logits_of_mixed_lengths(network: PreTrainedModel, texts: Sequence[Tokens]) -> Tensor | None:
    """Return the logits after two texts whose last two tokens are read in one pass; None if that isn't possible."""
    caches = [empty_cache(network) for _ in texts]
    for cache, text in zip(caches, texts, strict=True):
        begun = lay_out([TokenSequence(text[:-2], (0,))], layout="right", device=network.device)
        response_logits(network, begun, cache)
    cache, other = caches
    if not stacks(cache):
        return None
    stack(cache, other)
    try:
        for left in (2, 1):
            token = torch.tensor([text[-left] for text in texts], device=network.device)
            logits = logits_behind_rows(network, token, cache, [len(text) - left for text in texts])
    except torch.OutOfMemoryError:
        raise
    except Exception:  # architectures without positions or masks fail in different ways
        return None
    return logits


def _looks_ahead(network: PreTrainedModel, text: Tokens, tolerance: float) -> bool:
    """Return whether changing the last token changes the logits at earlier positions."""
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
    """Return last-position logits of texts that share one row after a prefilled prefix."""
    if "position_ids" not in inspect.signature(network.base_model.forward).parameters:
        # its logits may still agree within tolerance if only distances depend on the columns
        raise ValueError("it takes no positions")
    sequences = [TokenSequence(prefix + text, (0,)) for text in texts]
    batch = lay_out(sequences, rows=[[0, 1]], skip=len(prefix), device=network.device)
    return Reader(network, prefix=prefill(network, prefix)).read(batch, {LOGITS: batch.at()})[LOGITS]


def _padded_behind_prefix(
    network: PreTrainedModel, prefix: Tokens, texts: Sequence[Tokens]
) -> Float[Tensor, "twice_the_texts vocabulary"]:
    """Return last-position logits of padded rows, first as `_padded`, then after a prefilled prefix."""
    reader = Reader(network, prefix=prefill(network, prefix))
    batch, _ = reader.laid_out([TokenSequence(prefix + text, (0,)) for text in texts], [0, 0])
    return torch.cat([_padded(network, prefix, texts), reader.read(batch, {LOGITS: batch.at()})[LOGITS]])


def _padded(network: PreTrainedModel, prefix: Tokens, texts: Sequence[Tokens]) -> Float[Tensor, "texts vocabulary"]:
    """Return last-position logits of padded rows; the longer text's last token is decoded from a cache."""
    logits = _padded_without_cache(network, prefix, texts)
    *first, last = prefix + texts[-1]
    prompt = lay_out([TokenSequence(tuple(first), (0,))], layout="right", device=network.device)
    cache = empty_cache(network)
    response_logits(network, prompt, cache)
    last_logits = logits_behind_rows(network, torch.tensor([last], device=network.device), cache)
    return torch.cat([logits[:-1], last_logits])


def _padded_without_cache(
    network: PreTrainedModel, prefix: Tokens, texts: Sequence[Tokens]
) -> Float[Tensor, "texts vocabulary"]:
    """Return last-position logits of padded rows, without a cache."""
    sequences = [TokenSequence(prefix + text, (0,)) for text in texts]
    batch = lay_out(sequences, layout="right", device=network.device)
    return Reader(network).read(batch, {LOGITS: batch.at()})[LOGITS]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
