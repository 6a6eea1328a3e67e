"""Grouped-query attention on a CPU without a copy of keys and values for every query head.

Under a mask, transformers repeats keys and values until there are as many as query heads: torch's kernels for GPUs want
that. The one for CPUs reads each where it stands. `make bench ARGS="icl_shared_prefill_n32"` gains most, as many keys
are read by few queries.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "ia2_grouped"
"""What transformers calls this way to attend."""
_OTHERS = ("softcap", "position_bias")


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

    What transformers has no copies for already is left to it: a single query token, and attention without a mask.

    Args:
        module: the attention block.
        query: what each head asks.
        key: a group's keys, each group's for as many heads one after another.
        value: a group's values.
        attention_mask: which keys each query token may attend to, or what is added to its scores; all heads alike.
        dropout: the share of attention that is left out.
        scaling: what the products of queries and keys are multiplied by; by default 1 / √size.
        keywords: what transformers passes to its own function.

    Raises:
        ValueError: scores are to be capped, which no kernel of scaled dot-product attention does (Gemma 2).
    """
    several = key.shape[1] < query.shape[1] and query.shape[2] > 1
    if attention_mask is None or not several or any(keywords.get(name) is not None for name in _OTHERS):
        return sdpa_attention_forward(  # type: ignore[no-any-return]
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **keywords
        )
    output = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=attention_mask, dropout_p=dropout, scale=scaling, enable_gqa=True
    )
    return output.transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, grouped_attention)
# without a mask of ours, transformers makes the one that it makes for its own
AttentionMaskInterface.register(NAME, sdpa_mask)


def attend_in_groups(network: PreTrainedModel) -> None:
    """Have a network on a CPU attend this way, if it attends by scaled dot products and its heads share keys."""
    config = network.config.get_text_config(decoder=True)
    heads = getattr(config, "num_attention_heads", None) or 0
    groups = getattr(config, "num_key_value_heads", None) or heads
    on_cpu = network.device.type == "cpu"
    if on_cpu and network.config._attn_implementation == "sdpa" and groups < heads:
        network.set_attn_implementation(NAME)
