"""`make bench-gpu`: a bank of fifteen adapters on a GPU against one at a time, over a model of real size.

The model has Qwen3-4B's shape and random weights, and its tokens are bytes, so that nothing is fetched.
"""

import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen3Config

from benchmarks.measuring import timed
from ia2.adapters.adapter import Adapter, fresh_adapter
from ia2.adapters.lora import LoRA
from ia2.cache import written_whole
from ia2.models.load import LanguageModel, ModelIdentity
from ia2.prompting.fewshot import FewShotSet
from ia2.tasks.load import load_task
from ia2.training.early_stopping import Training
from ia2.training.methods import IA2, SFT, Method
from ia2.training.plans import Plan, Trained
from ia2.training.teacher import collect_targets
from ia2.training.train import train_all

OUT = Path(__file__).parent / "out" / "gpu.json"
QWEN3_4B = Qwen3Config(
    hidden_size=2560,
    intermediate_size=9728,
    num_hidden_layers=36,
    num_attention_heads=32,
    num_key_value_heads=8,
    head_dim=128,
    vocab_size=151936,
    tie_word_embeddings=True,
)
WANTED = "≥ 8"
N, SETS, PAIRS = 8, 5, 3
STEPS = Training(epochs=3, patience=1000, keep="last")
"""A fixed number of steps: three passes over the rows."""


def random_model(config: Qwen3Config, device: str, dtype: torch.dtype) -> LanguageModel:
    """A model of this shape whose weights are random and whose tokens are bytes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({token: number for number, token in enumerate((*alphabet, "<end>"))}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    torch.manual_seed(0)
    with torch.device(device):
        network = AutoModelForCausalLM.from_config(config, dtype=dtype)
    network.eval().requires_grad_(False)
    name = str(dtype).removeprefix("torch.")
    return LanguageModel(
        network,
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", clean_up_tokenization_spaces=False),
        ModelIdentity("random", None, None, name, device),
        (),
    )


def distance(start: Adapter, one: Adapter, other: Adapter) -> float:
    """How far two trained adapters are from each other, as a share of the way that the first has come."""
    begun, first, second = (
        torch.cat([adapter.weights[name].flatten().double() for name in start.weights])
        for adapter in (start, one, other)
    )
    return ((first - second).norm() / (first - begun).norm()).item()


def compare_banks(model: LanguageModel, method: Method, cache: Path) -> dict[str, Any]:
    """Fifteen adapters, five sets at three learning rates, in one bank and one at a time.

    Args:
        model: what is adapted.
        method: how.
        cache: a folder for the teacher's targets.

    Returns:
        The median ratio of seconds, both sides' seconds and the most memory that they took beyond the model, in bytes,
        and the largest distance between two adapters of one plan.
    """
    task = load_task("reviews")
    sets = [FewShotSet.draw(task, N, seed) for seed in range(SETS)]
    plans = [
        Plan(few, method, rate, collect_targets(model, few, label_scoring="whole", cache_dir=cache))
        for few in sets
        for rate in LoRA.learning_rates
    ]

    def train(each: Sequence[Plan]) -> list[Trained]:
        trained = train_all(model, each, training=STEPS)
        if model.network.device.type == "cuda":
            torch.cuda.synchronize()
        return trained

    def alone() -> list[Trained]:
        return [train([plan])[0] for plan in plans]

    def together() -> list[Trained]:
        return train(plans)

    seconds: dict[str, list[float]] = {"alone": [], "together": []}
    most: dict[str, int] = {"alone": 0, "together": 0}
    kept: dict[str, list[Trained]] = {}
    for work in (alone, together):
        work()  # kernels are chosen and memory is taken when something is first run
    for _ in range(PAIRS):
        for work in (alone, together):
            name, before = work.__name__, 0
            if model.network.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
                before = torch.cuda.memory_allocated()
            spent, kept[name] = timed(work)
            seconds[name].append(spent)
            if model.network.device.type == "cuda":
                most[name] = max(most[name], torch.cuda.max_memory_allocated() - before)
    apart = [
        distance(
            fresh_adapter(model.network, one.adapter.configuration, plan.few_shot_set.seed), one.adapter, other.adapter
        )
        for plan, one, other in zip(plans, kept["alone"], kept["together"], strict=True)
    ]
    ratios = [a / b for a, b in zip(seconds["alone"], seconds["together"], strict=True)]
    return {
        "ratio": statistics.median(ratios),
        "wanted": WANTED,
        "adapters": len(plans),
        "ratios": ratios,
        "alone_seconds": statistics.median(seconds["alone"]),
        "together_seconds": statistics.median(seconds["together"]),
        "alone_bytes": most["alone"],
        "together_bytes": most["together"],
        "distance": max(apart),
    }


def main() -> None:
    """Measure both methods in both number formats, and write what was found as it is found."""
    if not torch.cuda.is_available():
        sys.exit("No GPU was found, and this compares banks on one.")
    found: dict[str, Any] = {
        "machine": {
            "card": torch.cuda.get_device_name(),
            "memory_bytes": torch.cuda.get_device_properties(0).total_memory,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }
    }
    for dtype in (torch.bfloat16, torch.float32):
        model = random_model(QWEN3_4B, "cuda", dtype)
        for method in (SFT, IA2):
            name = f"bank_{SETS * len(LoRA.learning_rates)}_{method.name}_{model.identity.dtype}"
            with tempfile.TemporaryDirectory() as cache:
                found[name] = measured = compare_banks(model, method, Path(cache))
            print(
                f"{name}: {measured['ratio']:.2f} (wanted {WANTED}), {measured['alone_seconds']:.1f} s against "
                f"{measured['together_seconds']:.1f} s, {measured['alone_bytes'] / 2**30:.1f} GiB against "
                f"{measured['together_bytes'] / 2**30:.1f} GiB beyond the model, adapters differ by "
                f"{measured['distance']:.1e} of their way",
                flush=True,
            )
            with written_whole(OUT) as partial:
                partial.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        del model
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
