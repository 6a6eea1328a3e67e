"""Tiny random models of every supported architecture, tokenizers of three kinds, and a toy task."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

if not os.environ.get("IA2_TEST_GPU"):
    # what is asserted are a CPU's numbers: a GPU is seen by `make test-gpu` alone, and this is read when torch starts
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

import pytest
import torch
import transformers
from jaxtyping import install_import_hook
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedModel, PreTrainedTokenizerFast

# shapes in annotations are checked while testing
install_import_hook("ia2", "beartype.beartype")

from ia2.models.gqa_attention import attend_in_groups  # noqa: E402
from ia2.models.load import LanguageModel, ModelIdentity  # noqa: E402
from ia2.tasks.task import Example, Task  # noqa: E402

VOCABULARY = 400
_SHARED = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    # large enough for outputs to differ visibly from token to token
    "initializer_range": 0.3,
    "attn_implementation": "sdpa",
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
_GPT2 = {
    "vocab_size": VOCABULARY,
    "n_embd": 32,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": 512,
    "initializer_range": 0.3,
    "attn_implementation": "sdpa",
    "bos_token_id": 0,
    "eos_token_id": 0,
}
_NO_GQA = {name: value for name, value in _SHARED.items() if name != "num_key_value_heads"}
_OPT = {name: value for name, value in _NO_GQA.items() if name not in ("intermediate_size", "initializer_range")}

CONFIGURATIONS: dict[str, Callable[[], Any]] = {
    "llama": lambda: transformers.LlamaConfig(**_SHARED),
    "qwen2": lambda: transformers.Qwen2Config(**_SHARED),
    "qwen3": lambda: transformers.Qwen3Config(**_SHARED, head_dim=8),
    "mistral": lambda: transformers.MistralConfig(**_SHARED, sliding_window=16, head_dim=8),
    "gemma2": lambda: transformers.Gemma2Config(
        **{**_SHARED, "attn_implementation": "eager"}, head_dim=8, sliding_window=16, query_pre_attn_scalar=8
    ),
    "gemma3": lambda: transformers.Gemma3TextConfig(
        **_SHARED,
        head_dim=8,
        sliding_window=16,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    ),
    "phi3": lambda: transformers.Phi3Config(**_SHARED, sliding_window=None),
    "olmo2": lambda: transformers.Olmo2Config(**_SHARED),
    "gpt2": lambda: transformers.GPT2Config(**_GPT2),
    "gpt_neox": lambda: transformers.GPTNeoXConfig(**_NO_GQA),
    "opt": lambda: transformers.OPTConfig(**_OPT, ffn_dim=48, word_embed_proj_dim=32, init_std=0.3),
}
ARCHITECTURES = tuple(CONFIGURATIONS)


def tiny_network(architecture: str, seed: int = 0) -> PreTrainedModel:
    """A random model of this architecture: float32, three layers, frozen, always the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = transformers.AutoModelForCausalLM.from_config(CONFIGURATIONS[architecture]())
        for name, parameter in network.named_parameters():
            # biases and norms begin as constants, behind which a mistake could hide
            if parameter.ndim == 1:
                torch.nn.init.normal_(parameter, mean=1.0 if "norm" in name or "ln_" in name else 0.0, std=0.2)
    network.eval().requires_grad_(False)
    attend_in_groups(network)
    return network


@pytest.fixture(scope="session", autouse=True)
def signals_of_a_terminal() -> None:
    """The tests' processes hear SIGINT and SIGHUP, which a shell's background and nohup have them ignore."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session", params=ARCHITECTURES)
def network(request: pytest.FixtureRequest) -> PreTrainedModel:
    """A tiny model of each architecture in turn."""
    return tiny_network(request.param)


@pytest.fixture(scope="session")
def tiny_llama() -> PreTrainedModel:
    return tiny_network("llama")


TEXTS = [
    "Text:a fine film, warm and funny .\nLabel:1\n\nText:the room was cold and the bed was hard\nLabel:0\n\n",
    "Question:How many apples are 12 and 30?\nAnswer:There are 12 + 30 = 42 apples.\n#### 42\n\n",
    "Text:it is great\nLabel: positive\n\nText:it is dreadful\nLabel: negative\n\n",
] * 4


def byte_level_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE without BOS, as GPT-2's and SmolLM2's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        clean_up_tokenization_spaces=False,
    )


def sentencepiece_tokenizer() -> PreTrainedTokenizerFast:
    """BPE over ▁-marked words with byte fallback and BOS, as Llama 2's: any text of its own gets a leading space."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(content=" ", left=1, right=0),
        ]
    )
    first = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=first, show_progress=False)
    tokenizer.train_from_iterator([line for text in TEXTS for line in text.split("\n") if line], trainer)
    # bytes are ordinary tokens there, which the trainer can only be told of as special ones
    saved = json.loads(tokenizer.to_str())
    saved["added_tokens"] = saved["added_tokens"][:3]
    tokenizer = Tokenizer.from_str(json.dumps(saved))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="</s>",
        clean_up_tokenization_spaces=False,
    )


def merging_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE that joins punctuation with the line breaks behind it, with BOS, as Llama 3's."""
    tokenizer = Tokenizer(models.BPE())
    pattern = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|begin|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<|begin|> $A", special_tokens=[("<|begin|>", 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|begin|>",
        eos_token="<|end|>",
        pad_token="<|end|>",
        clean_up_tokenization_spaces=False,
    )


TOKENIZERS = {
    "byte-level": byte_level_tokenizer,
    "sentencepiece": sentencepiece_tokenizer,
    "merging": merging_tokenizer,
}


@pytest.fixture(scope="session", params=TOKENIZERS)
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    """A tokenizer of each kind in turn."""
    return TOKENIZERS[request.param]()


def tiny_language_model(network: PreTrainedModel | None = None) -> LanguageModel:
    """The tiny Llama with a byte-level tokenizer."""
    identity = ModelIdentity(id="tiny-llama", revision=None, sha256="0" * 64, dtype="float32", device="cpu")
    return LanguageModel(network or tiny_network("llama"), byte_level_tokenizer(), identity, ())


@pytest.fixture(scope="session")
def tiny_model(tiny_llama: PreTrainedModel) -> LanguageModel:
    return tiny_language_model(tiny_llama)


@pytest.fixture(scope="session")
def toy_task() -> Task:
    """Sixty short made-up rows with two labels; 36 to draw from and 24 to measure."""
    things = ["film", "room", "train", "soup", "book", "song", "walk", "shop", "play", "game"]
    words = {"1": ["fine", "warm and funny", "great"], "0": ["cold", "dull and slow", "dreadful"]}
    rows = [
        Example(f"Text:the {thing} was {word}\nLabel:", label)
        for thing in things
        for label, choices in words.items()
        for word in choices
    ]
    rows = rows[::2] + rows[1::2]
    return Task(
        name="toy",
        description="made-up rows",
        source="tests",
        labels=("0", "1"),
        pool=tuple(rows[:36]),
        evaluation=tuple(rows[36:]),
    )


REAL = [
    pytest.mark.real,
    pytest.mark.skipif(not os.environ.get("IA2_DATA_DIR"), reason="IA2_DATA_DIR is not set: real data is needed"),
]
"""The marks of tests that need the folder of real benchmark files, for a module's `pytestmark`."""


def real_data(test: Any) -> Any:
    """The same for one test."""
    for mark in REAL:
        test = mark(test)
    return test


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real benchmark files."""
    return Path(os.environ["IA2_DATA_DIR"])


@pytest.fixture(scope="session")
def toy_texts() -> Task:
    """Twenty-four made-up questions whose answers are sentences that end in a number."""
    rows = tuple(
        Example(
            f"Question:How many apples are {a} and {b}?\nAnswer:",
            f"There are {a} + {b}{' apples' * (b % 3)}.\n#### {a + b}",
        )
        for a in (1, 2, 12, 30)
        for b in (3, 5, 7, 8, 10, 20)
    )
    return Task(
        name="toy-texts",
        description="made-up questions",
        source="tests",
        pool=rows[::2],
        evaluation=rows[1::2],
        answer="number",
        max_new_tokens=10,
        stop="\n\n",
    )


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A stand-in for the hub, which the library is made to ask with its token."""
    from hub_stand_in import hub_stand_in

    with hub_stand_in() as stand_in:
        monkeypatch.setenv("HF_ENDPOINT", stand_in.address)
        monkeypatch.setenv("HF_TOKEN", stand_in.token)
        yield stand_in


@pytest.fixture
def folder(tmp_path):
    """A tiny model in the hub's layout."""
    path = tmp_path / "tiny"
    tiny_network("llama").save_pretrained(path)
    byte_level_tokenizer().save_pretrained(path)
    return path
