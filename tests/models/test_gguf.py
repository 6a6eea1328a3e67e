import torch
from conftest import tiny_network

from ia2.models.gguf import dequantised_folder, first_line, folder_checksum


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
