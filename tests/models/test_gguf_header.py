import struct

import numpy as np
import pytest
from gguf import GGUFWriter

from ia2.errors import InputError
from ia2.models.gguf import dequantised
from ia2.models.gguf_header import check_gguf_header
from ia2.progress import SILENT


def small_gguf(path, *, layers=1, swapped=False):
    """A GGUF file with a value of each form and two tensors."""
    endian = {"endianess": 1} if swapped else {}
    writer = GGUFWriter(path, "llama", **endian)
    writer.add_block_count(layers)
    writer.add_context_length(512)
    writer.add_uint8("some.byte", 3)
    writer.add_bool("some.truth", True)
    writer.add_float64("some.number", 0.5)
    writer.add_array("tokenizer.ggml.tokens", ["a", "é", "c d"])
    writer.add_array("tokenizer.ggml.scores", [0.5, 1.5, 2.5])
    writer.add_tensor("blk.0.attn_q.weight", np.ones((4, 8), np.float32))
    writer.add_tensor("output.weight", np.ones((3, 8), np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def header(*, tensors=0, values=0, more=b"", version=3):
    return b"GGUF" + struct.pack("<IQQ", version, tensors, values) + more


def text(value):
    return struct.pack("<Q", len(value)) + value


def test_a_whole_file_passes_and_every_cut_one_is_refused(tmp_path):
    path = small_gguf(tmp_path / "m.gguf")
    check_gguf_header(path)
    content = path.read_bytes()
    # the last tensor is filled up to a multiple of 32 bytes
    for length in range(len(content) - 16):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match="damaged or cut short"):
            check_gguf_header(path)


def test_a_file_of_the_other_byte_order_passes(tmp_path):
    check_gguf_header(small_gguf(tmp_path / "m.gguf", swapped=True))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"GGUX", "doesn't begin with GGUF"),
        (header(version=1), "its version is 1"),
        (header(), "it holds no tensors"),
        (header(values=2**60), f"{2**60} values are to follow"),
        (header(tensors=2**60), f"{2**60} tensors are to follow"),
        (header(values=1, more=struct.pack("<Q", 2**63) + b"a" * 30), f"{2**63} bytes are to follow"),
        # arrays that would be counted for ever: of numbers, of texts, of arrays
        (header(values=1, more=text(b"a") + struct.pack("<IIQ", 9, 4, 2**62)), f"{2**62} numbers are to follow"),
        (header(values=1, more=text(b"a") + struct.pack("<IIQ", 9, 8, 2**62)), f"{2**62} texts are to follow"),
        (header(values=1, more=text(b"a") + struct.pack("<IIQ", 9, 9, 2**62)), "a value is of the type 9"),
        (header(values=1, more=text(b"\xff") + struct.pack("<IQ", 10, 1)), "a name is no UTF-8 text"),
        (header(values=1, more=text(b"a") + struct.pack("<IQ", 77, 1)), "a value is of the type 77"),
        (
            header(values=1, more=text(b"general.alignment") + struct.pack("<II", 4, 0)),
            "its alignment is 0, no power of two",
        ),
        (header(tensors=1, more=text(b"w") + struct.pack("<I", 2**31) + bytes(24)), f"the tensor w has {2**31} axes"),
        (header(tensors=1, more=text(b"w") + struct.pack("<IQIQ", 1, 2**40, 0, 0)), "its tensors end at byte"),
        (header(tensors=1, more=text(b"w") + struct.pack("<IQIQ", 1, 1, 99, 0)), "of the type 99"),
    ],
)
def test_headers_that_promise_more_than_there_is_are_refused(tmp_path, content, reason):
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    with pytest.raises(InputError, match=reason) as raised:
        dequantised(path, "0" * 64, tmp_path / "cache", SILENT)
    assert str(raised.value).startswith(str(path))
    assert not (tmp_path / "cache").exists()


def test_more_layers_than_tensors_are_refused_before_they_are_built(tmp_path):
    path = small_gguf(tmp_path / "m.gguf", layers=10**9)
    with pytest.raises(InputError, match=f"llama.block_count is {10**9}, and there are 2 tensors"):
        check_gguf_header(path)
