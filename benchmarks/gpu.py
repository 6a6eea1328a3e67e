"""`make bench-gpu`: what adapters, answers and tokens take on a GPU, beside what its arithmetic and memory allow.

The model has Qwen3-4B's shape and random weights, and its tokens are bytes, so that nothing is fetched.
"""

import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch.profiler import ProfilerActivity, profile
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen3Config

from benchmarks.measuring import operations, timed
from ia2.adapters.adapter import Adapter, fresh_adapter
from ia2.adapters.lora import LoRA
from ia2.adapters.registry import effect_of
from ia2.cache import written_whole
from ia2.evaluation.evaluate import EvaluationSettings, evaluate
from ia2.models.decoding import decode
from ia2.models.load import LanguageModel, ModelIdentity
from ia2.models.reader import Reader
from ia2.models.responses import Limits
from ia2.models.sites import ATTENTION_OUTPUT
from ia2.prompting.fewshot import FewShotSet
from ia2.tasks.load import load_task
from ia2.tasks.task import Task
from ia2.training.early_stopping import EarlyStopping, Training
from ia2.training.job import Job
from ia2.training.loop import RunningStage
from ia2.training.methods import FINE_TUNE, IA2, SFT, Method
from ia2.training.plans import Plan, Trained
from ia2.training.student import StageRows
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
N, SETS, PAIRS, ROWS, TOKENS = 8, 5, 3, 200, 64
STEPS = Training(epochs=3, patience=1000, keep="last")
"""A fixed number of steps: three passes over the rows."""
WANTED = {
    "one adapter, sft": 0.5,
    "one adapter, ia2": 0.5,
    "15 adapters, sft": 1.5,
    "15 adapters, ia2": 1.5,
    "64 tokens, 1 prompt": 0.6,
    "64 tokens, 16 prompts": 0.8,
    "200 rows, an adapter": 0.3,
    "200 rows, 8 demonstrations": 0.3,
}
"""Seconds that each of these may take on an H200."""


@dataclass(frozen=True)
class Device:
    """What a device can do at the most, as measured on it."""

    flops: float
    """Floating-point operations a second of a large matrix product."""
    bytes: float
    """Bytes a second that are read and written."""

    @classmethod
    def measured(cls, device: torch.device, dtype: torch.dtype) -> "Device":
        """Multiply and copy."""
        size = 8192 if device.type == "cuda" else 512
        matrix = torch.ones(size, size, dtype=dtype, device=device)

        def best(work: Callable[[], Any]) -> float:
            work()
            return min(timed(lambda: _done(work, device))[0] for _ in range(5))

        return cls(2 * size**3 / best(lambda: matrix @ matrix), 2 * matrix.nbytes / best(matrix.clone))


@dataclass(frozen=True)
class Measured:
    """What a piece of work took."""

    name: str
    seconds: float
    """The median of some runs."""
    floor: float
    """What its products and its reading of weights take at the device's best."""
    wanted: float | None
    bytes: int
    """The most memory that it took beyond the model; 0 where that isn't known."""


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


class GpuBenchmark:
    """The model, the rows, and a folder for the teacher's targets."""

    def __init__(self, model: LanguageModel, folder: Path, device: Device) -> None:
        self.model, self.folder, self.device = model, folder, device
        self.task: Task = load_task("reviews")
        self.sets = [FewShotSet.draw(self.task, N, seed) for seed in range(SETS)]

    def all(self) -> list[Measured]:
        """Every piece of work, measured."""
        rows, shown = self.sets[0].evaluation[:ROWS], self.sets[0].demonstrations()
        adapter = self._fresh()
        work: dict[str, Callable[[], Any]] = {}
        for method in (SFT, IA2):
            plans = self.plans(method)
            work[f"one adapter, {method.name}"] = lambda plans=plans: self.train(plans[:1])
            work[f"{len(plans)} adapters, {method.name}"] = lambda plans=plans: self.train(plans)
        for count in (1, 16):
            name = f"{TOKENS} tokens, {count} prompt{'s' * (count > 1)}"
            work[name] = lambda count=count: self.decode(count)
        asking = EvaluationSettings(label_scoring="whole")
        work[f"{ROWS} rows, an adapter"] = lambda: evaluate(
            self.model, rows, self.task, adapter=adapter, settings=asking
        )
        work[f"{ROWS} rows, {N} demonstrations"] = lambda: evaluate(
            self.model, rows, self.task, demonstrations=shown, settings=asking
        )
        return [self.measure(name, each) for name, each in work.items()]

    def measure(self, name: str, work: Callable[[], Any]) -> Measured:
        """Run something some times, its floating-point operations and passes counted in a run before."""
        network, passes = self.model.network, list[int]()
        handle = network.get_input_embeddings().register_forward_hook(lambda *_: passes.append(1))
        try:
            flops = operations(work)  # kernels are chosen and memory is taken here, too
        finally:
            handle.remove()
        weights = sum(parameter.nbytes for parameter in network.parameters())
        floor = max(flops / self.device.flops, len(passes) * weights / self.device.bytes)
        on_gpu, before = network.device.type == "cuda", 0
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
        seconds = [timed(lambda: _done(work, network.device))[0] for _ in range(PAIRS)]
        most = torch.cuda.max_memory_allocated() - before if on_gpu else 0
        return Measured(name, statistics.median(seconds), floor, WANTED.get(name), most)

    def plans(self, method: Method) -> list[Plan]:
        """Five sets at three learning rates."""
        return [
            Plan(few, method, rate, collect_targets(self.model, few, label_scoring="whole", cache_dir=self.folder))
            for few in self.sets
            for rate in LoRA.learning_rates
        ]

    def train(self, plans: Sequence[Plan]) -> list[Trained]:
        """Train all in one bank, from the first stage on."""
        return train_all(self.model, plans, training=STEPS)

    def decode(self, count: int) -> list[Any]:
        """Continue prompts by a fixed number of tokens, attention outputs recorded meanwhile."""
        prompts = [tuple(range(5, 105 + number)) for number in range(count)]
        return list(
            decode(Reader(self.model.network), prompts, Limits(TOKENS), batch_size=count, sites=[ATTENTION_OUTPUT])
        )

    def apart(self, method: Method) -> float:
        """How far adapters of a bank are from those trained alone, the largest share of the way that one has come."""
        plans = self.plans(method)
        alone = [self.train([plan])[0].adapter for plan in plans]
        together = [trained.adapter for trained in self.train(plans)]
        return max(
            distance(self._fresh(plan.few_shot_set.seed), one, other)
            for plan, one, other in zip(plans, alone, together, strict=True)
        )

    def profiled(self) -> dict[str, float]:
        """Of two optimiser steps of fifteen adapters: the share of time in which the GPU works, launches and waits."""
        plans, start = self.plans(SFT), self._fresh()
        effect = effect_of(start.configuration)
        assert effect is not None, "every kind of adapter has an effect"
        jobs = [
            Job(
                StageRows.of(FINE_TUNE, plan.few_shot_set, plan.targets, self.model),
                start,
                EarlyStopping(N, 0, STEPS),
                plan.learning_rate,
                0,
            )
            for plan in plans
        ]
        running = RunningStage(self.model.network, jobs, effect, STEPS)
        running.step()
        device = self.model.network.device

        def two_steps() -> None:
            running.step()
            running.step()

        seconds, _ = timed(lambda: _done(two_steps, device))
        activities = [ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * (device.type == "cuda")]
        with profile(activities=activities) as profiler:
            _done(two_steps, device)
        events = profiler.events() or ()
        busy = sum(event.device_time_total for event in events if event.device_type.name == "CUDA") / 1e6
        names = [event.name for event in events]
        return {
            "busy_share": busy / seconds,
            "launches_a_step": sum("Launch" in name for name in names) / 2,
            "waits_a_step": sum("Synchronize" in name for name in names) / 2,
        }

    def _fresh(self, seed: int = 0) -> Adapter:
        return fresh_adapter(self.model.network, LoRA().configuration(self.model.network), seed)


def distance(start: Adapter, one: Adapter, other: Adapter) -> float:
    """How far two trained adapters are from each other, as a share of the way that the first has come."""
    begun, first, second = (
        torch.cat([adapter.weights[name].flatten().double() for name in start.weights])
        for adapter in (start, one, other)
    )
    return ((first - second).norm() / (first - begun).norm()).item()


def table(measured: Sequence[Measured], title: str) -> Table:
    """The measurements as they are printed."""
    made = Table(title=title)
    for column in ("what", "seconds", "floor", "of the floor", "wanted", "GiB beyond the model"):
        made.add_column(column, justify="left" if column == "what" else "right")
    for row in measured:
        wanted = "" if row.wanted is None else f"≤ {row.wanted:g}"
        share = f"{row.floor / row.seconds:.0%}"
        made.add_row(row.name, f"{row.seconds:.2f}", f"{row.floor:.3f}", share, wanted, f"{row.bytes / 2**30:.1f}")
    return made


def _done(work: Callable[[], Any], device: torch.device) -> Any:
    """Do something, and wait until the device has done it."""
    result = work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return result


def main() -> None:
    """Measure in bfloat16, compare banks with single adapters in float32, and write what was found."""
    if not torch.cuda.is_available():
        sys.exit("No GPU was found, and this measures one.")
    console = Console()
    results: dict[str, Any] = {
        "machine": {
            "card": torch.cuda.get_device_name(),
            "memory_bytes": torch.cuda.get_device_properties(0).total_memory,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }
    }

    def keep() -> None:
        with written_whole(OUT) as partial:
            partial.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")

    for dtype in (torch.bfloat16, torch.float32):
        model = random_model(QWEN3_4B, "cuda", dtype)
        with tempfile.TemporaryDirectory() as folder:
            peak = Device.measured(model.network.device, dtype)
            benchmark = GpuBenchmark(model, Path(folder), peak)
            if dtype == torch.bfloat16:
                measured = benchmark.all()
                console.print(table(measured, f"{results['machine']['card']}, {model.identity.dtype}"))
                results |= {"peak": asdict(peak), "measured": [asdict(row) for row in measured]}
                keep()
                results["two_steps_of_fifteen"] = benchmark.profiled()
                console.print(results["two_steps_of_fifteen"])
            apart = {method.name: benchmark.apart(method) for method in (SFT, IA2)}
            results[f"distance_{model.identity.dtype}"] = apart
            console.print(f"{model.identity.dtype}: banked adapters differ from single ones by {apart} of their way")
            keep()
        del model, benchmark
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
