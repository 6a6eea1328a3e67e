"""`make bench-scaling`: how time and memory grow with adapters, demonstrations and generated tokens, and a plot."""

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import transformers
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.__main__ import OUT, data_folder
from benchmarks.measuring import Memory, machine, timed
from ia2.cache import written_whole
from ia2.evaluation.evaluate import evaluate
from ia2.models.decoding import decode
from ia2.models.load import LanguageModel, load_model
from ia2.models.reader import Reader
from ia2.models.responses import Limits
from ia2.models.sites import ATTENTION_OUTPUT
from ia2.prompting.fewshot import FewShotSet
from ia2.prompting.prompts import PromptTokenizer
from ia2.tasks.load import load_task
from ia2.training.early_stopping import Training
from ia2.training.methods import SFT
from ia2.training.plans import Plan
from ia2.training.train import train_all

PLOT = Path(__file__).parents[1] / "docs" / "scaling.png"
ADAPTERS, DEMONSTRATIONS, TOKENS = (1, 3, 6, 15, 30), (2, 4, 8, 16, 32, 64), (16, 32, 64, 128, 200)
SLACK = 1.3
"""A cost may grow by so much more than what causes it before that is called too fast."""


def curve(sizes: tuple[int, ...], work: Callable[[int], Any]) -> list[dict[str, float]]:
    """Seconds and peak memory for each size; the first run warms up."""
    work(sizes[0])
    points = []
    for size in sizes:
        with Memory() as memory:
            seconds = min(timed(lambda size=size: work(size))[0] for _ in range(2))
        points.append({"size": size, "seconds": seconds, "peak_bytes": memory.peak})
    return points


def too_fast(points: list[dict[str, float]]) -> list[str]:
    """Where seconds grow faster than the size, between neighbours."""
    found = []
    for one, other in itertools.pairwise(points):
        growth, cause = other["seconds"] / one["seconds"], other["size"] / one["size"]
        if growth > SLACK * cause:
            found.append(f"from {one['size']:g} to {other['size']:g}: {growth:.1f} times for {cause:.1f} times as much")
    return found


def tiny(model: LanguageModel) -> LanguageModel:
    """A random model of four small layers with the same tokenizer, on which banks of many adapters are quick."""
    configuration = transformers.LlamaConfig(
        vocab_size=model.network.config.vocab_size,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
    )
    network = transformers.AutoModelForCausalLM.from_config(configuration).eval().requires_grad_(False)
    return LanguageModel(network, model.tokenizer, model.identity, ())


def main() -> None:
    """Measure the three curves, write them beside the comparisons, and plot them."""
    model = load_model("smollm2-135m", device="cpu", dtype="float32")
    data_dir = data_folder()
    sst2, gsm8k = load_task("sst2", data_dir=data_dir), load_task("gsm8k", data_dir=data_dir)
    small, eight = tiny(model), FewShotSet.draw(sst2, 8)

    def bank(count: int) -> None:
        plans = [Plan(eight, SFT, 1e-3 * (1 + number / 100)) for number in range(count)]
        train_all(small, plans, training=Training(epochs=10, patience=1000))

    def in_context(count: int) -> None:
        few = FewShotSet.draw(sst2, count)
        evaluate(model, few.evaluation[:60], sst2, demonstrations=few.demonstrations())

    def teacher(count: int) -> None:
        few = FewShotSet.draw(gsm8k, 3)
        tokenizer = PromptTokenizer.of(model, gsm8k)
        prompts = [tokenizer.asked(row.query, few.train[:2]) for row in few.dev]
        list(decode(Reader(model.network), prompts, Limits(count), sites=[ATTENTION_OUTPUT]))

    curves = {
        "adapters in a bank (tiny model)": curve(ADAPTERS, bank),
        "demonstrations of 60 queries": curve(DEMONSTRATIONS, in_context),
        "tokens of a teacher's response": curve(TOKENS, teacher),
    }
    scaling = {name: {"points": points, "grows_too_fast": too_fast(points)} for name, points in curves.items()}
    found = json.loads(OUT.read_text(encoding="utf-8")) if OUT.exists() else {}
    found |= {"scaling": scaling, "machine": machine()}
    with written_whole(OUT) as partial:
        partial.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    plot(curves)
    for name, measured in scaling.items():
        print(f"{name}: {'; '.join(measured['grows_too_fast']) or 'nowhere faster than it should'}")
    print(f"{OUT}\n{PLOT}")


def plot(curves: dict[str, list[dict[str, float]]]) -> None:
    """Time of each curve on logarithmic axes, with what proportional growth would be."""
    figure = Figure(figsize=(9, 2.8), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (name, points) in zip(figure.subplots(1, len(curves)), curves.items(), strict=True):
        sizes, seconds = [point["size"] for point in points], [point["seconds"] for point in points]
        axes.plot(sizes, seconds, "o-", color="#0072B2", markersize=4, label="measured")
        line = [seconds[0] * size / sizes[0] for size in sizes]
        axes.plot(sizes, line, color="#999999", linewidth=0.8, linestyle=(0, (4, 3)), label="proportional")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
        low, high = math.floor(math.log2(min(seconds))), math.ceil(math.log2(max(*seconds, line[-1])))
        ticks = [2.0**power for power in range(low, high + 1)]
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel(name, fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("seconds")
    figure.axes[0].legend(frameon=False, fontsize=8)
    with written_whole(PLOT) as partial, partial.open("wb") as file:
        figure.savefig(file, format="png", dpi=160, metadata={"Software": None})


if __name__ == "__main__":
    main()
