"""Grouped-query attention on a CPU without copying keys and values for every query head.

With a mask, transformers repeats keys and values for each query head, as torch's GPU kernels require. The CPU kernel
doesn't need the copies. `make bench ARGS="icl_shared_prefill_n32"` gains most, since few queries attend to many keys.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "ia2_grouped"
"""Name under which this attention is registered with transformers."""
_UNSUPPORTED = ("softcap", "position_bias")


def grouped_attention(
    module: nn.Module,
    query: Float[Tensor, "rows heads q size"],
    key: Float[Tensor, "rows groups k size"],
    value: Float[Tensor, "rows groups k value_size"],
    attention_mask: Bool[Tensor, "rows 1 q k"] | Float[Tensor, "rows 1 q k"] | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **keywords: Any,
) -> tuple[Float[Tensor, "rows q heads value_size"], None]:
    """Scaled dot-product attention of query heads that share keys and values in groups (Ainslie et al. 2023).

    Cases in which transformers makes no copies are passed on to it: a single query token, and attention without a mask.

    Args:
        module: the attention block.
        query: queries of each head.
        key: keys of each group; a group serves consecutive heads.
        value: values of each group.
        attention_mask: the keys that each query token may attend to, or what is added to its scores; the same for all
            heads.
        dropout: dropout rate of the attention weights.
        scaling: factor on the products of queries and keys; by default 1 / √size.
        keywords: further arguments of transformers' own function.

    Raises:
        ValueError: scores are to be capped (Gemma 2), which no kernel of scaled dot-product attention does.
    """
    needs_copies = key.shape[1] < query.shape[1] and query.shape[2] > 1
    if attention_mask is None or not needs_copies or any(keywords.get(name) is not None for name in _UNSUPPORTED):
        return sdpa_attention_forward(  # type: ignore[no-any-return]
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **keywords
        )
    output = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=attention_mask, dropout_p=dropout, scale=scaling, enable_gqa=True
    )
    return output.transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, grouped_attention)
# if no mask is passed, transformers makes the same one as for its own function
AttentionMaskInterface.register(NAME, sdpa_mask)


def attend_in_groups(network: PreTrainedModel) -> None:
    """Make a network on a CPU use this attention, if it uses scaled dot-product attention with grouped queries."""
    config = network.config.get_text_config(decoder=True)
    heads = getattr(config, "num_attention_heads", None) or 0
    groups = getattr(config, "num_key_value_heads", None) or heads
    on_cpu = network.device.type == "cpu"
    if on_cpu and network.config._attn_implementation == "sdpa" and groups < heads:
        network.set_attn_implementation(NAME)
