"""What is compared, each on the packaged model and real rows: sst2, and gsm8k for responses of many tokens."""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.testing import assert_close

from benchmarks import plain
from benchmarks.measuring import Comparison
from ia2.adapters.adapter import Adapter, fresh_adapter
from ia2.adapters.lora import LoRA
from ia2.evaluation.evaluate import evaluate, evaluate_all
from ia2.models.decoding import decode
from ia2.models.load import LanguageModel
from ia2.models.reader import Reader
from ia2.models.responses import Limits
from ia2.models.sites import ATTENTION_OUTPUT
from ia2.prompting.fewshot import FewShotSet
from ia2.prompting.prompts import PromptTokenizer
from ia2.tasks.load import load_task
from ia2.tasks.task import Example
from ia2.training.early_stopping import Training
from ia2.training.methods import ALIGN, FINE_TUNE, IA2, IA2_THEN_SFT, SFT, Method, Stage
from ia2.training.plans import Plan
from ia2.training.student import StageRows
from ia2.training.targets import Targets
from ia2.training.teacher import collect_targets
from ia2.training.train import train_all

STEPS = Training(epochs=3, patience=1000)
"""A fixed number of steps: three passes over the rows."""


class Benchmarks:
    """The model, the rows, and a folder for the teacher's targets."""

    def __init__(self, model: LanguageModel, data_dir: Path, folder: Path) -> None:
        self.model, self.folder = model, folder
        self.plain_network = plain.as_loaded(model.network)
        self.sst2 = load_task("sst2", data_dir=data_dir)
        self.gsm8k = load_task("gsm8k", data_dir=data_dir)
        self.tokenizer = PromptTokenizer.of(model, self.sst2)

    def all(self) -> list[Comparison]:
        """Every comparison, the short ones first."""
        return [
            self.start_up(),
            self.training("train_sft", FINE_TUNE, SFT),
            self.training("train_ia2", ALIGN, IA2),
            self.bank(),
            self.evaluation(),
            self.in_context(32, 40, "≥ 20"),
            self.in_context(8, 200, "≥ 6"),
            self.teacher_against_generation(),
            self.teacher(),
            self.cell(),
        ]

    def prompts(self, rows: Sequence[Example], shown: Sequence[Example] = ()) -> list[tuple[int, ...]]:
        """The tokens of whole prompts."""
        return [self.tokenizer.asked(row.query, shown) for row in rows]

    def in_context(self, n: int, count: int, wanted: str) -> Comparison:
        """The whole prompt for each query, against one prefill for the set."""
        few = FewShotSet.draw(self.sst2, n)
        rows, shown = few.evaluation[:count], few.demonstrations()
        return Comparison(
            f"icl_shared_prefill_n{n}",
            wanted,
            {"rows": count, "demonstrations": n},
            lambda: plain.last_logits(self.plain_network, self.prompts(rows, shown), by_length=True),
            lambda: evaluate(self.model, rows, self.sst2, demonstrations=shown),
            self.same_answers,
        )

    def evaluation(self) -> Comparison:
        """Logits at all positions in arrival order, against last positions in order of length."""
        rows = self.sst2.evaluation[:200]
        adapter = self.fresh()

        def plainly() -> torch.Tensor:
            network = plain.with_adapter(self.plain_network, adapter)
            logits = plain.last_logits(network, self.prompts(rows), by_length=False)
            network.unload()
            return logits

        return Comparison(
            "evaluate_adapter",
            "≥ 2",
            {"rows": 200},
            plainly,
            lambda: evaluate(self.model, rows, self.sst2, adapter=adapter),
            self.same_answers,
        )

    def same_answers(self, logits: torch.Tensor, found: Any) -> None:
        """The likeliest tokens and their probabilities are the same."""
        best = logits.float().softmax(-1).max(-1)
        assert [self.tokenizer.text([token]) for token in best.indices.tolist()] == [
            row.predicted for row in found.predictions
        ]
        confidence = torch.tensor([row.confidence for row in found.predictions])
        assert_close(confidence, best.values, atol=1e-4, rtol=1e-3)

    def teacher_prompts(self) -> list[tuple[int, ...]]:
        """Three questions with two demonstrations each."""
        few = FewShotSet.draw(self.gsm8k, 3)
        return self.prompts(few.train, few.dev_contexts()[0][:2])

    def ours_64(self, prompts: Sequence[tuple[int, ...]], batch_size: int = 3) -> list[Any]:
        """Cached decoding of exactly 64 tokens with attention outputs recorded as it goes."""
        decoded = dict(
            decode(Reader(self.model.network), prompts, Limits(64), batch_size=batch_size, sites=[ATTENTION_OUTPUT])
        )
        return [decoded[index] for index in range(len(prompts))]

    def teacher(self) -> Comparison:
        """A full forward pass for each token, against cached decoding that records as it goes."""
        prompts = self.teacher_prompts()

        def agree(expected: Any, found: Any) -> None:
            for (tokens, attention), ours in zip(expected, found, strict=True):
                assert tokens == list(ours.tokens)
                assert_close(ours.activations[ATTENTION_OUTPUT], attention.transpose(0, 1), atol=1e-3, rtol=1e-3)

        return Comparison(
            "teacher_64_tokens",
            "≥ 20",
            {"examples": 3, "demonstrations": 2, "tokens": 64},
            lambda: plain.teacher(self.plain_network, prompts, 64),
            lambda: self.ours_64(prompts),
            agree,
        )

    def teacher_against_generation(self) -> Comparison:
        """One plain cached greedy generation by transformers, against the teacher's pass over the same tokens."""
        (prompt,) = self.teacher_prompts()[:1]
        return Comparison(
            "teacher_against_generate",
            "≥ 0.67",
            {"examples": 1, "demonstrations": 2, "tokens": 64},
            lambda: plain.greedy(self.plain_network, prompt, 64),
            lambda: self.ours_64([prompt], 1),
            lambda expected, found: assert_equal(expected, list(found[0].tokens)),
            pairs=5,
            counts_flops=False,
        )

    def fresh(self, seed: int = 0) -> Adapter:
        """An untrained adapter of the default kind."""
        return fresh_adapter(self.model.network, LoRA().configuration(self.model.network), seed)

    def targets(self, few: FewShotSet) -> Targets:
        """The teacher's, from the benchmark's own cache."""
        return collect_targets(self.model, few, cache_dir=self.folder)

    def plainly_trained(self, few: FewShotSet, stage: Stage, start: Adapter, rate: float, targets: Targets) -> Adapter:
        """An adapter that was trained one example at a time."""
        rows = StageRows.of(stage, few, targets, self.model)
        network = plain.with_adapter(self.plain_network, start)
        for name, parameter in network.named_parameters():
            parameter.requires_grad_("lora_" in name)
        student = plain.Student(
            network, rows.train, rows.dev, aligned=ATTENTION_OUTPUT in stage.objective.student_sites
        )
        student.train(rate, few.seed, STEPS)
        weights = {
            name: parameter.detach().clone()
            for name, parameter in zip(start.weights, (p for p in network.parameters() if p.requires_grad), strict=True)
        }
        network.unload()
        return Adapter(start.configuration, weights)

    def ours_trained(self, few: FewShotSet, methods: Sequence[Method], rates: Sequence[float], targets: Targets) -> Any:
        """All methods at all learning rates in one bank; the last adapters are kept, as the plain way does."""
        plans = [Plan(few, method, rate, targets) for method in methods for rate in rates]
        return train_all(self.model, plans, training=Training(**{**vars(STEPS), "keep": "last"}))

    def training(self, name: str, stage: Stage, method: Method) -> Comparison:
        """One example at a time, against a bank of one."""
        few = FewShotSet.draw(self.sst2, 8)
        targets = self.targets(few)

        def agree(expected: Adapter, found: Any) -> None:
            same_way(self.fresh(), expected, found[0].adapter)

        return Comparison(
            name,
            "≥ 3.2",
            {"n": 8, "steps": 6, "dev_evaluations": 3},
            lambda: self.plainly_trained(few, stage, self.fresh(), 1e-3, targets),
            lambda: self.ours_trained(few, [method], [1e-3], targets),
            agree,
        )

    def bank(self) -> Comparison:
        """Six banks of one, against one bank of six."""
        few = FewShotSet.draw(self.sst2, 8)
        targets = self.targets(few)

        def one_by_one() -> list[Any]:
            return [
                self.ours_trained(few, [method], [rate], targets)[0]
                for method in (SFT, IA2)
                for rate in LoRA.learning_rates
            ]

        def agree(expected: Any, found: Any) -> None:
            for one, other in zip(expected, found, strict=True):
                same_way(self.fresh(), one.adapter, other.adapter)

        return Comparison(
            "bank_6",
            "≥ 1.8",
            {"adapters": 6, "n": 8, "steps": 6},
            one_by_one,
            lambda: self.ours_trained(few, [SFT, IA2], LoRA.learning_rates, targets),
            agree,
        )

    def cell(self) -> Comparison:
        """All of one set: teacher, three methods at three learning rates, their evaluations, and ICL."""
        few = FewShotSet.draw(self.sst2, 8).limited(100)
        rows, shown, network = few.evaluation, few.demonstrations(), self.plain_network

        def plainly() -> list[torch.Tensor]:
            # the plain teacher's pass is timed; its targets are ours, which a test holds equal
            contexts = few.training_contexts() + few.dev_contexts()
            asked = zip(few.train + few.dev, contexts, strict=True)
            plain.teacher(network, [self.prompts([row], context)[0] for row, context in asked], 1)
            targets, logits = self.targets(few), []
            for method in (SFT, IA2, IA2_THEN_SFT):
                for rate in LoRA.learning_rates:
                    adapter = self.fresh()
                    for stage in method.stages:
                        adapter = self.plainly_trained(few, stage, adapter, rate, targets)
                    model = plain.with_adapter(network, adapter)
                    logits.append(plain.last_logits(model, self.prompts(rows), by_length=False))
                    model.unload()
            logits.append(plain.last_logits(network, self.prompts(rows, shown), by_length=True))
            return logits

        def ours() -> list[Any]:
            with tempfile.TemporaryDirectory() as folder:
                targets = collect_targets(self.model, few, cache_dir=Path(folder))
                trained = self.ours_trained(few, [SFT, IA2, IA2_THEN_SFT], LoRA.learning_rates, targets)
            found = evaluate_all(self.model, rows, self.sst2, [one.adapter for one in trained])
            return [*found, evaluate(self.model, rows, self.sst2, demonstrations=shown)]

        def agree(expected: list[torch.Tensor], found: list[Any]) -> None:
            # training magnifies rounding; ICL and the smallest learning rate stay comparable
            self.same_answers(expected[-1], found[-1])
            confidence = torch.tensor([row.confidence for row in found[0].predictions])
            assert_close(confidence, expected[0].float().softmax(-1).max(-1).values, atol=1e-2, rtol=1e-2)

        return Comparison(
            "cell_single_token",
            "≥ 4",
            {"n": 8, "adapters": 9, "rows": 100, "steps_a_stage": 6},
            plainly,
            ours,
            agree,
            pairs=1,
        )

    def start_up(self) -> Comparison:
        """`ia2 --help`, against importing torch and transformers: here the ratio is ours to theirs."""

        def run(*command: str) -> Callable[[], Any]:
            return lambda: subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)

        return Comparison(
            "start_up",
            "≤ 0.33",
            {},
            run("-c", "from ia2.cli.main import main; main(['--help'])"),
            run("-c", "import torch, transformers; transformers.AutoModelForCausalLM"),
            lambda plain, ours: None,
            pairs=5,
            counts_flops=False,
        )


def assert_equal(one: Any, other: Any) -> None:
    """Two results are the same."""
    assert one == other, (one, other)


def same_way(start: Adapter, one: Adapter, other: Adapter) -> None:
    """Two trainings went the same way: they differ by less than a fiftieth of the way that was gone.

    Adam takes a step of full size also where a gradient is nearly zero, and rounding alone gives it its sign.
    """
    begun, first, second = (
        torch.cat([adapter.weights[name].flatten() for name in start.weights]) for adapter in (start, one, other)
    )
    assert (first - second).norm() < 0.02 * (first - begun).norm()
