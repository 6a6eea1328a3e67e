import gc
import weakref

import pytest
import torch
from conftest import byte_level_tokenizer, tiny_network
from recorded_progress import RecordedProgress

from ia2.adapters.adapter import adapted, fresh_adapter
from ia2.adapters.lora import LoRA
from ia2.errors import InputError
from ia2.evaluation.evaluate import EvaluationSettings, evaluate
from ia2.evaluation.likelihood import mean_log_likelihood, windows_of
from ia2.inference.label_scoring import LabelTokens, score_labels
from ia2.models import decoding, in_step
from ia2.models.decoding import decode
from ia2.models.load import LanguageModel, ModelIdentity, load_model
from ia2.models.pass_limits import attempt, pass_limit
from ia2.models.reader import Reader
from ia2.models.responses import Limits
from ia2.models.row_forms import PADDED, set_row_form
from ia2.models.sites import ATTENTION_OUTPUT
from ia2.prompting.fewshot import FewShotSet
from ia2.prompting.prompts import PromptTokenizer
from ia2.training.demonstration_order import in_context_loss
from ia2.training.teacher import collect_targets


@pytest.fixture
def model():
    """A model whose memory nobody has run out of, with who is told of it."""
    identity = ModelIdentity(id="tiny-llama", revision=None, sha256="0" * 64, dtype="float32", device="cpu")
    model = LanguageModel(tiny_network("llama"), byte_level_tokenizer(), identity, ())
    pass_limit(model.network).progress = RecordedProgress()
    return model


def said_of(model):
    return pass_limit(model.network).progress.sentences


def full():
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore is said behind.")


@pytest.fixture
def device(monkeypatch):
    """Called with a network and a number: passes over more tokens don't fit from now on. Gives the sizes that ran."""

    def limited(network, most):
        sizes = []

        def before(_module, _arguments, keywords):
            tokens = keywords["input_ids"].numel()
            if tokens > most:
                raise full()
            sizes.append(tokens)

        handle = network.base_model.register_forward_pre_hook(before, with_kwargs=True)
        handles.append(handle)
        return sizes

    handles = []
    yield limited
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("scoring", ["token", "whole"])
@pytest.mark.parametrize("count", [1, 3])
def test_labels_are_scored_in_halves_as_in_whole_passes(model, toy_task, device, scoring, count):
    tokens = PromptTokenizer(model.tokenizer)
    labels = LabelTokens.of(toy_task, tokens, scoring)
    prompts = [tokens.asked(row.query) for row in toy_task.evaluation]
    fresh = [fresh_adapter(model.network, LoRA().configuration(model.network), seed) for seed in range(count)]
    with adapted(model, fresh) as reader:
        calm = score_labels(reader, prompts, labels)
        sizes, done = device(model.network, 90), []
        halved = score_labels(reader, prompts, labels, advance=done.append)
        assert sum(done) == len(prompts)
        assert max(sizes) <= 90
        assert len(sizes) > 5
        assert len(said_of(model)) == 1
        for scores, expected in zip(halved, calm, strict=True):
            torch.testing.assert_close(scores.probabilities, expected.probabilities, atol=1e-6, rtol=1e-5)
            assert torch.equal(scores.label, expected.label)
            assert scores.token is None or torch.equal(scores.token, expected.token)
        # what didn't fit is remembered
        failed = []
        handle = model.network.base_model.register_forward_pre_hook(lambda *_: failed.append(1))
        before = len(sizes)
        score_labels(reader, prompts, labels)
        handle.remove()
        assert len(failed) == len(sizes) - before
    assert len(said_of(model)) == 1
    assert said_of(model)[0].startswith("The device's memory ran out: ")


@pytest.mark.parametrize("rows", ["packed", "padded"])
def test_texts_are_written_in_halves_as_at_once(model, monkeypatch, rows):
    if rows == "padded":
        set_row_form(model.network, PADDED)
    generator = torch.Generator().manual_seed(0)
    prompts = [tuple(torch.randint(1, 399, (5 + index % 4,), generator=generator).tolist()) for index in range(11)]
    site, limits = ATTENTION_OUTPUT, Limits(9, frozenset(range(0, 400, 11)))
    calm = dict(decode(Reader(model.network), prompts, limits, sites=[site], batch_size=8))
    steps, name = [0], "next_token_logits" if rows == "packed" else "logits_behind_rows"
    module = decoding if rows == "packed" else in_step
    plain = getattr(module, name)

    def limited(network, token, *arguments):
        steps[0] += 1
        # in the middle, when some have been given out
        if len(token) > 2 and steps[0] > 4:
            raise full()
        return plain(network, token, *arguments)

    monkeypatch.setattr(module, name, limited)
    halved = list(decode(Reader(model.network), prompts, limits, sites=[site], batch_size=8))
    assert sorted(index for index, _ in halved) == list(range(len(prompts)))
    for index, found in halved:
        assert (found.tokens, found.ending) == (calm[index].tokens, calm[index].ending)
        torch.testing.assert_close(found.activations[site], calm[index].activations[site], atol=1e-5, rtol=1e-4)
    assert len(said_of(model)) == 1
    assert pass_limit(model.network).responses <= 4


def test_the_teacher_answers_in_halves_as_in_whole_passes(model, toy_task, device, tmp_path):
    few = FewShotSet.draw(toy_task, 6)
    calm = collect_targets(model, few, cache_dir=tmp_path / "calm")
    sizes = device(model.network, 130)
    halved = collect_targets(model, few, cache_dir=tmp_path / "halved")
    assert max(sizes) <= 130
    assert len(said_of(model)) == 1
    for target, expected in zip(halved.train + halved.dev, calm.train + calm.dev, strict=True):
        assert torch.equal(target.tokens, expected.tokens)
        torch.testing.assert_close(
            target.activations[ATTENTION_OUTPUT], expected.activations[ATTENTION_OUTPUT], atol=1e-5, rtol=1e-4
        )


def test_whole_evaluations_likelihoods_and_orders_are_measured_in_halves(model, toy_task, device):
    few = FewShotSet.draw(toy_task, 6)
    windows = windows_of(model, [row.query for row in toy_task.pool])
    settings = EvaluationSettings(share_prefill=False)

    def measured():
        shown = few.demonstrations()
        evaluation = evaluate(model, toy_task.evaluation, toy_task, demonstrations=shown, settings=settings)
        answers = [(row.predicted, row.label_predicted) for row in evaluation.predictions]
        metrics = evaluation.metrics()
        numbers = [metrics[name] for name in ("accuracy", "label_accuracy", "ece", "nll", "brier")]
        return answers, [*numbers, mean_log_likelihood(model, windows), in_context_loss(model, few)]

    (answers, numbers), sizes = measured(), device(model.network, 150)
    halved_answers, halved_numbers = measured()
    assert halved_answers == answers
    assert halved_numbers == pytest.approx(numbers, rel=1e-4)
    assert len(sizes) > 5
    assert len(said_of(model)) == 1


def test_memory_that_what_is_made_of_a_pass_takes_counts_as_well(model, toy_task):
    tokens = PromptTokenizer(model.tokenizer)
    sequences = [tokens.sequence(row.query, row.response) for row in toy_task.evaluation]
    sizes = []

    def take(one_pass):
        if len(one_pass.indices) > 4:
            raise full()
        sizes.append(len(one_pass.indices))
        return list(one_pass.indices)

    read = list(Reader(model.network).map_passes(take, sequences, [ATTENTION_OUTPUT]))
    assert sorted(index for indices in read for index in indices) == list(range(len(sequences)))
    assert max(sizes) <= 4


def test_where_one_text_does_not_fit_the_memory_is_named(model, toy_task, device):
    tokens = PromptTokenizer(model.tokenizer)
    labels = LabelTokens.of(toy_task, tokens)
    prompts = [tokens.asked(row.query) for row in toy_task.evaluation[:3]]
    device(model.network, 0)
    with pytest.raises(
        InputError, match=r"^llama: the device's memory is not enough for one text \(CUDA out of memory"
    ):
        score_labels(Reader(model.network), prompts, labels)
    with pytest.raises(InputError, match=r"^llama: the device's memory is not enough for one response \(CUDA out"):
        list(decode(Reader(model.network), prompts, Limits(3)))


def test_what_failed_is_let_go_and_other_errors_stay_what_they_are():
    held = []

    def fails():
        tensor = torch.zeros(3)
        held.append(weakref.ref(tensor))
        raise full()

    assert attempt(fails) == (None, "CUDA out of memory. Tried to allocate 2.00 GiB.")
    gc.collect()
    assert held[0]() is None
    assert attempt(lambda: 3) == (3, None)
    with pytest.raises(KeyError):
        attempt(lambda: {}[0])


def test_whoever_loads_a_model_is_told_and_each_network_has_a_limit_of_its_own(folder):
    said = RecordedProgress()
    first, second = load_model(folder, device="cpu", progress=said), load_model(folder, device="cpu")
    before = len(said.sentences)
    pass_limit(first.network).tokens = 5
    assert pass_limit(second.network).tokens is None
    for _ in range(2):
        pass_limit(first.network).say()
    assert len(said.sentences) == before + 1


def test_nothing_to_read_or_write_is_no_pass(model):
    assert list(Reader(model.network).passes([], [ATTENTION_OUTPUT])) == []
    assert list(decode(Reader(model.network), [], Limits(3))) == []
