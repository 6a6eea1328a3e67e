"""What no file beside a model may do, an adapter's or a journal's: end in anything but a result or one sentence."""

import json
import struct
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from conftest import tiny_language_model
from fuzz_inputs import SCALARS, TEXT, fuzzed, nested, spliced, written
from hypothesis import given
from hypothesis import strategies as st

from ia2.adapters.adapter import CONFIGURATION_FILE, WEIGHTS_FILE, Adapter, adapted, fresh_adapter
from ia2.adapters.lora import LoRA
from ia2.adapters.provenance import FILE, Provenance
from ia2.errors import InputError
from ia2.inference.journal import journal_of
from ia2.models.gguf_header import check_gguf_header

pytestmark = pytest.mark.slow

NUMBERS = st.integers() | st.integers(-3, 40) | st.sampled_from([2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1, 10**30])
VALUES = nested(SCALARS | NUMBERS)

MODEL = tiny_language_model()
NETWORK = MODEL.network
ADAPTER = fresh_adapter(NETWORK, LoRA(rank=2).configuration(NETWORK), seed=0)


def saved(adapter):
    with tempfile.TemporaryDirectory() as folder:
        adapter.save(Path(folder) / "adapter")
        return {path.name: path.read_bytes() for path in (Path(folder) / "adapter").iterdir()}


FILES = saved(ADAPTER)
CONFIGURATION = json.loads(FILES[CONFIGURATION_FILE])
HEADER_LENGTH = struct.unpack("<Q", FILES[WEIGHTS_FILE][:8])[0]
HEADER = json.loads(FILES[WEIGHTS_FILE][8 : 8 + HEADER_LENGTH])
DATA = FILES[WEIGHTS_FILE][8 + HEADER_LENGTH :]


def run(files):
    """Load an adapter of these files and ask the model with it, which gives an answer or a sentence."""
    try:
        with adapted(MODEL, [Adapter.load(written(files))]):
            NETWORK(torch.tensor([[1, 2]]))
    except InputError as error:
        sentence = str(error)
    else:
        sentence = ""
    assert "\n" not in sentence
    assert not getattr(NETWORK, "peft_config", None)


@st.composite
def changed(draw, whole, values=VALUES):
    """An object with some of its values replaced, some taken out, and some put in."""
    value = dict(whole)
    for name in draw(st.lists(st.sampled_from(sorted(whole)), max_size=3)):
        value[name] = draw(values)
    for name in draw(st.lists(st.sampled_from(sorted(whole)), max_size=1)):
        value.pop(name, None)
    return value | draw(st.dictionaries(TEXT, values, max_size=1))


def weights_file(header, data=DATA, length=None):
    text = json.dumps(header).encode()
    return struct.pack("<Q", (len(text) if length is None else length) % 2**64) + text + data


TENSOR = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F16", "BF16", "F64", "I64", "BOOL", "F8_E4M3", "U8", "X"]) | SCALARS,
        "shape": st.lists(NUMBERS, max_size=3) | SCALARS,
        "data_offsets": st.lists(NUMBERS, min_size=2, max_size=2) | SCALARS,
    }
)


@fuzzed
@given(
    content=st.binary(max_size=100)
    | changed(HEADER, TENSOR | VALUES).map(weights_file)
    | st.builds(weights_file, changed(HEADER, TENSOR), length=NUMBERS)
    | spliced(FILES[WEIGHTS_FILE])
)
def test_an_adapters_weights(content):
    run({**FILES, WEIGHTS_FILE: content})


WORDS = st.sampled_from(["LORA", "IA3", "PROMPT_TUNING", "LOHA", "all-linear", "q_proj", ".*", "(", "none", "all", ""])


@fuzzed
@given(
    content=st.binary(max_size=60)
    | VALUES.map(json.dumps).map(str.encode)
    | changed(CONFIGURATION, VALUES | WORDS | st.lists(WORDS, max_size=2)).map(json.dumps).map(str.encode)
    | spliced(FILES[CONFIGURATION_FILE])
)
def test_an_adapters_configuration(content):
    run({**FILES, CONFIGURATION_FILE: content})


PROVENANCE = {
    **{"labels": ["0", "1"], "chat": False, "weights": "0", "queries": ["0" * 64], "model": "tiny"},
    **{"label_scoring": "whole", "form": "labelled", "text_column": None, "max_new_tokens": 1, "stop": None},
    "as_written": True,
}


@fuzzed
@given(
    content=st.binary(max_size=60)
    | VALUES.map(json.dumps).map(str.encode)
    | changed(PROVENANCE, VALUES | st.lists(TEXT, max_size=3)).map(json.dumps).map(str.encode)
)
def test_provenance(content):
    with suppress(InputError):
        Provenance.beside(written({FILE: content})).task()


GGUF_NUMBERS = st.integers(0, 20) | st.sampled_from([2**16, 2**31, 2**32 - 1])


@st.composite
def gguf(draw):
    """A header of values and tensors, some of which aren't what their types and lengths say."""
    long, short = st.integers(0, 40) | st.sampled_from([2**31, 2**62, 2**64 - 1]), GGUF_NUMBERS
    content = bytearray(b"GGUF" + struct.pack("<IQQ", draw(st.sampled_from([3, 3, 3, 2, 1, 3 << 24])), *draw(PAIR)))
    for _ in range(draw(st.integers(0, 4))):
        name = draw(st.sampled_from([b"a", b"general.alignment", b"llama.block_count", b""]) | st.binary(max_size=9))
        length = draw(st.just(len(name)) | long)
        content += struct.pack("<Q", length) + name + struct.pack("<I", draw(short))
        content += draw(st.binary(max_size=30)) + struct.pack("<QIQ", draw(long), draw(short), draw(long))
    return bytes(content)


PAIR = st.tuples(st.integers(0, 4) | st.just(2**63), st.integers(0, 4) | st.just(2**63))


@fuzzed
@given(content=gguf() | spliced(b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + bytes(60)) | st.binary(max_size=60))
def test_the_header_of_a_gguf_file(content):
    with suppress(InputError):
        check_gguf_header(written({"m.gguf": content}) / "m.gguf")


ANSWER = {"prediction": "0", "confidence": 0.75, "probabilities": {"0": 0.75, "1": 0.25}}


@fuzzed
@given(
    lines=st.lists(
        st.binary(max_size=40)
        | VALUES.map(json.dumps).map(str.encode)
        | changed(ANSWER, VALUES | st.dictionaries(TEXT, st.floats(), max_size=2)).map(json.dumps).map(str.encode),
        max_size=4,
    ),
    head=st.just(b'{"answers": "abc"}') | st.binary(max_size=20),
    end=st.sampled_from([b"\n", b""]),
)
def test_a_journal_of_answers(lines, head, end):
    folder = written({".answers.csv.answers.jsonl": b"\n".join([head, *lines]) + end})
    with suppress(InputError), journal_of(folder / "answers.csv") as journal:
        journal.go_on("abc")
        for answer in journal.answers:
            assert isinstance(answer.prediction, str)
            assert answer.confidence is None or 0 <= answer.confidence <= 1
            assert all(0 <= share <= 1 for share in (answer.probabilities or {}).values())
