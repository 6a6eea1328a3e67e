import json

import numpy as np
import pytest
import torch
from conftest import byte_level_tokenizer, tiny_network
from gguf import GGUFWriter
from safetensors.torch import load_file

from ia2.errors import InputError
from ia2.models.gguf import dequantised, dequantised_folder, first_line, folder_checksum
from ia2.progress import SILENT

OUTSIDE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
INSIDE = {
    **{"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v"},
    **{"self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up"},
    **{"mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"},
}
"""What GGUF calls the parts of a Llama."""


def gguf_of(network, path, without=""):
    """A file of the tiny Llama with its tokenizer, but for one tensor."""
    config, tokenizer = network.config, byte_level_tokenizer()
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    vocabulary = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    vocabulary += [f"<unused {number}>" for number in range(config.vocab_size - len(vocabulary))]
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(vocabulary)
    writer.add_token_types([1] * len(vocabulary))
    writer.add_token_merges([" ".join(merge) for merge in merges])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    names = {f"{ours}.weight": f"{theirs}.weight" for ours, theirs in OUTSIDE.items()}
    for layer in range(config.num_hidden_layers):
        names |= {f"model.layers.{layer}.{ours}.weight": f"blk.{layer}.{of}.weight" for ours, of in INSIDE.items()}
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in network.state_dict().items():
        values = tensor.numpy().astype(np.float32)
        if (part := name.split(".")[-2]) in heads:
            # the halves that a rotation turns together stand in turn there
            halves = values.reshape(heads[part], 2, -1, values.shape[1])
            values = halves.swapaxes(1, 2).reshape(values.shape)
        if names[name] != without:
            writer.add_tensor(names[name], np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_files_tensors_become_a_networks_weights(tmp_path, tiny_llama):
    file = gguf_of(tiny_llama, tmp_path / "m.gguf")
    folder = dequantised(file, "0" * 64, tmp_path / "cache", SILENT)
    weights = load_file(folder / "model.safetensors")
    assert weights.keys() == tiny_llama.state_dict().keys()
    assert all(torch.equal(weights[name], tensor) for name, tensor in tiny_llama.state_dict().items())


def test_a_file_that_lacks_a_tensor_is_refused_and_nothing_is_left_of_it(tmp_path, tiny_llama):
    file = gguf_of(tiny_llama, tmp_path / "m.gguf", without="blk.1.attn_v.weight")
    with pytest.raises(
        InputError,
        match=r"m\.gguf: 1 of its weights are missing, model\.layers\.1\.self_attn\.v_proj\.weight among them",
    ):
        dequantised(file, "0" * 64, tmp_path / "cache", SILENT)
    assert not dequantised_folder(file, "0" * 64, tmp_path / "cache").exists()


def test_a_folders_checksum_is_that_of_its_configuration_and_weights(tmp_path):
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        tiny_network("llama", seed).save_pretrained(tmp_path / name)
    (tmp_path / "same" / "notes.txt").write_text("says nothing of the weights")
    one, same, other = (folder_checksum(tmp_path / name) for name in ("one", "same", "other"))
    assert one == same != other
    configuration = tmp_path / "same" / "config.json"
    configuration.write_text(configuration.read_text().replace('"hidden_act": "silu"', '"hidden_act": "gelu"'))
    assert folder_checksum(tmp_path / "same") != one


def test_files_of_one_name_and_other_content_have_folders_of_their_own(tmp_path):
    first, second = (dequantised_folder(tmp_path / "model.gguf", digit * 64, tmp_path) for digit in "01")
    assert first == tmp_path / "models" / f"model-{'0' * 16}"
    assert second != first


def test_a_librarys_words_become_the_end_of_a_sentence():
    assert first_line(ValueError("  no such tensor.\nat line 3")) == "no such tensor"
    assert first_line(torch.OutOfMemoryError()) == "OutOfMemoryError"
