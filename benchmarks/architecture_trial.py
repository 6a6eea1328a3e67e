"""One kind of network from end to end: loaded, asked, taught, measured, saved, and loaded again by PEFT."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from peft import PeftModel
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, PreTrainedModel, PreTrainedTokenizerFast

from benchmarks.shrunken import shrunken_configuration, shrunken_network
from ia2.adapters.adapter import Adapter, bank_of
from ia2.adapters.kind import ATTENTION
from ia2.errors import InputError
from ia2.evaluation.evaluate import Evaluation, EvaluationSettings, evaluate, evaluate_all
from ia2.evaluation.labels import LabelEvaluation
from ia2.models.architectures import architecture_of, projection_names
from ia2.models.auto_classes import auto_class_of
from ia2.models.decoding import decode
from ia2.models.load import LanguageModel, load_model
from ia2.models.packing_check import chooses_keys
from ia2.models.reader import Reader
from ia2.models.responses import Limits
from ia2.models.row_forms import row_form_of
from ia2.models.sequences import TokenSequence
from ia2.prompting.fewshot import FewShotSet
from ia2.prompting.prompts import PromptTokenizer
from ia2.tasks.task import Example, Task
from ia2.training.early_stopping import Training
from ia2.training.methods import IA2_THEN_SFT
from ia2.training.teacher import collect_targets
from ia2.training.train import train

END = "<end>"
TOLERANCE = 1e-3
"""How far PEFT's logits may be from ours by rounding, as a share of their norm."""
SHARES_APART = 1e-4
"""How far a probability may be from itself by rounding where rows are asked in another way."""
BANK = 30
"""Adapters of a large bank."""


@dataclass(frozen=True)
class Outcome:
    """How a kind fared."""

    kind: str
    rows: str | None = None
    """How it is given rows; None where it wasn't loaded."""
    modules: list[str] = field(default_factory=list)
    """The modules in a layer that are adapted by default, in the order in which they are met."""
    refusal: str | None = None
    """The sentence with which it was refused."""
    failure: str | None = None
    """What went wrong otherwise."""
    unbuilt: str | None = None
    """Why no tiny network of it could be made."""

    @property
    def works(self) -> bool:
        """Whether everything went as for Llama."""
        return not (self.refusal or self.failure or self.unbuilt)


def trial(kind: str) -> Outcome:
    """Take a kind of network through everything that a user does with one.

    Args:
        kind: as transformers calls it, such as "llama".
    """
    try:
        network = shrunken_network(kind)
        with torch.no_grad():
            network(input_ids=torch.tensor([[5, 6, 7]]))
    except Exception as error:  # each configuration refuses sizes in its own way
        return Outcome(kind, unbuilt=_sentence(error))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        network.save_pretrained(folder / "model")
        if auto_class_of(network.config) is None:  # a checkpoint has its wrapper's configuration
            shrunken_configuration(kind).save_pretrained(folder / "model")
        byte_tokenizer().save_pretrained(folder / "model")
        try:
            model = load_model(folder / "model", device="cpu")
        except InputError as error:
            return Outcome(kind, refusal=_sentence(error).replace(f"{folder}/", ""))
        rows = row_form_of(model.network).name
        try:
            modules = _modules(model)
            _taken_through(model, folder)
        except InputError as error:
            return Outcome(kind, rows, refusal=_sentence(error))
        except Exception as error:  # whatever goes wrong is one row of the table
            return Outcome(kind, rows, failure=f"{type(error).__name__}: {_sentence(error)}")
    return Outcome(kind, rows, modules)


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer whose tokens are bytes, and an end token."""
    alphabet = {END: 0} | {byte: number for number, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()), 1)}
    tokenizer = Tokenizer(models.BPE(alphabet, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END)


def small_task() -> Task:
    """Rows of some letters each, with two labels."""
    words = {"1": ("fine", "warm", "great", "good"), "0": ("cold", "dull", "bad", "poor")}
    rows = [
        Example(f"{thing} {word}:", label)
        for thing in ("film", "soup", "a walk")
        for label, choices in words.items()
        for word in choices
    ]
    rows = rows[::2] + rows[1::2]
    return Task(
        name="small",
        description="made-up rows",
        source="benchmarks",
        labels=("0", "1"),
        pool=tuple(rows[:16]),
        evaluation=tuple(rows[16:20]),
    )


def _taken_through(model: LanguageModel, folder: Path) -> None:
    """Teacher, IA2→SFT, evaluation with the adapter and in context in every way, texts, saving, and PEFT's reload."""
    few = FewShotSet.draw(small_task(), 4)
    targets = collect_targets(model, few, cache_dir=folder / "cache")
    training = Training(epochs=2, dev_every=2)
    trained = train(model, few, IA2_THEN_SFT, learning_rate=1e-2, targets=targets, training=training)
    tokenizer = PromptTokenizer.of(model, few.task)
    prompts = [tokenizer.sequence(row.query, row.response, ()).prompt for row in few.evaluation]
    _compare_ways_of_asking(model, few, trained.adapter)
    assert len(list(decode(Reader(model.network), prompts, Limits(3)))) == len(prompts)
    trained.adapter.save(folder / "adapter")
    _compare_with_peft(model, Adapter.load(folder / "adapter"), folder, prompts)


def _compare_ways_of_asking(model: LanguageModel, few: FewShotSet, adapter: Adapter) -> None:
    """Answers are those of each text alone, whatever batches, order of rows, layout, prefill, threads and bank."""
    if chooses_keys(model.network):
        return  # tiny networks give many keys the score of 0, and the choice among them falls otherwise in each way
    rows, task, shown = few.evaluation, few.task, few.demonstrations()
    _compare_with_texts_alone(model.network, [PromptTokenizer.of(model, task).asked(row.query, shown) for row in rows])
    in_context = evaluate(model, rows, task, demonstrations=shown)
    ways = {
        "one by one": EvaluationSettings(batch_size=1),
        "padded": EvaluationSettings(layout="right"),
        "whole": EvaluationSettings(share_prefill=False),
    }
    for way, asking in ways.items():
        _compare(in_context, evaluate(model, rows, task, demonstrations=shown, settings=asking), f"in context, {way}")
    reversed_rows = evaluate(model, rows[::-1], task, demonstrations=shown)
    in_order = replace(reversed_rows, predictions=reversed_rows.predictions[::-1])
    _compare(in_context, in_order, "in context, in another order")
    threads = torch.get_num_threads()
    torch.set_num_threads(threads % 2 + 1)
    _compare(in_context, evaluate(model, rows, task, demonstrations=shown), "in context, on other threads")
    torch.set_num_threads(threads)
    adapted = evaluate(model, rows, task, adapter=adapter)
    for in_bank in evaluate_all(model, rows, task, [adapter] * BANK):
        _compare(adapted, in_bank, f"in a bank of {BANK}")


def _compare_with_texts_alone(network: PreTrainedModel, prompts: Sequence[tuple[int, ...]]) -> None:
    """Prompts that are longer than a sliding window are read as the network reads each by itself."""
    ours = Reader(network).logits([TokenSequence(prompt, (0,)) for prompt in prompts])
    with torch.no_grad():
        read = [network(input_ids=torch.tensor([prompt]), use_cache=False).logits[0, -1] for prompt in prompts]
    if (ours - torch.stack(read)).norm() > TOLERANCE * ours.norm():
        raise RuntimeError("long texts are read otherwise than each alone")


def _compare(usual: Evaluation, other: Evaluation, way: str) -> None:
    assert isinstance(usual, LabelEvaluation)
    assert isinstance(other, LabelEvaluation)
    for expected, found in zip(usual.predictions, other.predictions, strict=True):
        shares = (expected.label_probabilities, found.label_probabilities)
        apart = max(abs(ours - theirs) for ours, theirs in zip(*shares, strict=True))
        if apart > SHARES_APART or abs(expected.confidence - found.confidence) > SHARES_APART:
            raise RuntimeError(f"probabilities are {apart:.2g} apart where rows are asked {way}")
        if expected.predicted != found.predicted:
            raise RuntimeError(f"another answer where rows are asked {way}")


def _compare_with_peft(model: LanguageModel, adapter: Adapter, folder: Path, prompts: list[tuple[int, ...]]) -> None:
    bank = bank_of(model.network, [adapter])
    if bank is None:
        raise RuntimeError("its adapter fits no bank")
    ours = Reader(model.network, bank).logits([TokenSequence(prompt, (0,)) for prompt in prompts])
    bare = Reader(model.network).logits([TokenSequence(prompt, (0,)) for prompt in prompts])
    base = auto_class_of(AutoConfig.from_pretrained(folder / "model")).from_pretrained(
        folder / "model", dtype=torch.float32
    )
    reloaded = PeftModel.from_pretrained(base, folder / "adapter").eval()
    with torch.no_grad():
        read = [reloaded(input_ids=torch.tensor([prompt]), use_cache=False) for prompt in prompts]
    theirs = torch.stack([output.logits[0, -1] for output in read])
    if (ours - theirs).norm() > TOLERANCE * theirs.norm():
        raise RuntimeError("PEFT gives other logits with the adapter")
    if torch.equal(ours, bare):
        raise RuntimeError("training changed nothing")


def _modules(model: LanguageModel) -> list[str]:
    path = architecture_of(model.network).path
    names = [name.removeprefix(f"{path}.").partition(".")[2] for name in projection_names(model.network, ATTENTION)]
    return list(dict.fromkeys(names))


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
