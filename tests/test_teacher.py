import json
from dataclasses import replace

import pytest
import torch
from conftest import tiny_network
from torch.testing import assert_close

from ia2.errors import InputError
from ia2.fewshot import FewShotSet, PromptTokenizer, prompt_text
from ia2.models.load import LanguageModel
from ia2.progress import Silent
from ia2.tasks.task import Example
from ia2.teacher import INDEX_FILE, collect_targets


class Said(Silent):
    def __init__(self):
        self.sentences = []

    def say(self, sentence):
        self.sentences.append(sentence)


@pytest.fixture
def few(toy_task):
    return FewShotSet.draw(toy_task, 5, seed=2)


def passes(model, monkeypatch):
    """Count forward passes of the network from here on."""
    count = []
    plain = type(model.network).forward

    def counted(self, *arguments, **keywords):
        count.append(1)
        return plain(self, *arguments, **keywords)

    monkeypatch.setattr(type(model.network), "forward", counted)
    return count


def test_targets_are_what_the_model_does_with_each_rows_demonstrations(tiny_model, few, tmp_path):
    targets = collect_targets(tiny_model, few, cache_dir=tmp_path, batch_size=3)
    parts = [(few.train, few.training_contexts(), targets.train), (few.dev, few.dev_contexts(), targets.dev)]
    for rows, contexts, found in parts:
        assert len(found) == len(rows)
        for row, context, target in zip(rows, contexts, found, strict=True):
            kept = []
            hooks = [
                layer.self_attn.o_proj.register_forward_hook(lambda _m, _g, output: kept.append(output[0, -1]))
                for layer in tiny_model.network.model.layers
            ]
            ids = torch.tensor([tiny_model.tokenizer(prompt_text(row.query, context))["input_ids"]])
            with torch.no_grad():
                logits = tiny_model.network(ids).logits[0, -1]
            for hook in hooks:
                hook.remove()
            assert target.tokens.tolist() == [logits.argmax().item()]
            assert_close(target.attention[:, 0], torch.stack(kept), atol=1e-5, rtol=0)


@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_batch_size_changes_nothing(tiny_model, few, tmp_path, batch_size):
    one = collect_targets(tiny_model, few, cache_dir=tmp_path / "one", batch_size=1)
    many = collect_targets(tiny_model, few, cache_dir=tmp_path / "many", batch_size=batch_size)
    for first, second in zip([*one.train, *one.dev], [*many.train, *many.dev], strict=True):
        assert torch.equal(first.tokens, second.tokens)
        assert_close(first.attention, second.attention, atol=1e-5, rtol=0)


def test_whole_labels_are_answered_with_the_likeliest_one(tiny_model, toy_task, tmp_path):
    labels = (" warm and funny", " cold")
    task = replace(
        toy_task,
        labels=labels,
        pool=tuple(Example(row.query, labels[int(row.response)]) for row in toy_task.pool),
        evaluation=(),
    )
    few = FewShotSet.draw(task, 4)
    targets = collect_targets(tiny_model, few, label_scoring="whole", cache_dir=tmp_path)
    tokens = PromptTokenizer(tiny_model.tokenizer)
    for row, context, target in zip(few.train, few.training_contexts(), targets.train, strict=True):
        prompt = tokens.prompt(prompt_text(row.query, context))
        sums = {}
        for label in labels:
            response = tokens.response(row.query, label)
            with torch.no_grad():
                scores = tiny_model.network(torch.tensor([prompt + response])).logits[0].log_softmax(-1)
            sums[response] = sum(scores[len(prompt) - 1 + at, token].item() for at, token in enumerate(response))
        best = max(sums, key=sums.get)
        assert tuple(target.tokens.tolist()) == best
        assert target.attention.shape == (3, len(best), 32)


def test_the_teacher_is_asked_once_a_set(tiny_model, few, tmp_path, monkeypatch):
    count = passes(tiny_model, monkeypatch)
    first = collect_targets(tiny_model, few, cache_dir=tmp_path)
    asked = len(count)
    assert asked == 2  # seven rows in batches of four
    again = collect_targets(tiny_model, few, cache_dir=tmp_path)
    assert len(count) == asked
    assert again.folder == first.folder
    assert torch.equal(again.train[3].attention, first.train[3].attention)


def test_another_set_model_or_dtype_has_targets_of_its_own(tiny_model, few, toy_task, tmp_path):
    folder = collect_targets(tiny_model, few, cache_dir=tmp_path).folder
    other_set = FewShotSet.draw(toy_task, 5, seed=3)
    assert collect_targets(tiny_model, other_set, cache_dir=tmp_path).folder != folder
    identity = replace(tiny_model.identity, sha256="1" * 64)
    other = LanguageModel(
        network=tiny_network("llama", seed=1), tokenizer=tiny_model.tokenizer, identity=identity, notes=()
    )
    assert collect_targets(other, few, cache_dir=tmp_path).folder != folder


def cut_short(folder):
    file = folder / "00002.safetensors"
    file.write_bytes(file.read_bytes()[:-8])


def edited(folder):
    file = folder / "00001.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def missing(folder):
    (folder / "00000.safetensors").unlink()


def index_spoiled(folder):
    (folder / INDEX_FILE).write_text("{")


@pytest.mark.parametrize("spoil", [cut_short, edited, missing, index_spoiled])
def test_spoiled_files_are_found_and_made_anew_and_that_is_said(tiny_model, few, tmp_path, spoil):
    targets = collect_targets(tiny_model, few, cache_dir=tmp_path)
    expected = [target.attention.clone() for target in [*targets.train, *targets.dev]]
    spoil(targets.folder)
    said = Said()
    again = collect_targets(tiny_model, few, cache_dir=tmp_path, progress=said)
    (sentence,) = said.sentences
    assert str(targets.folder) in sentence
    assert "computing them anew" in sentence
    assert all(
        torch.equal(target.attention, before)
        for target, before in zip([*again.train, *again.dev], expected, strict=True)
    )
    quiet = Said()
    collect_targets(tiny_model, few, cache_dir=tmp_path, progress=quiet)
    assert quiet.sentences == []


def test_nothing_is_left_behind_when_the_pass_fails(tiny_model, few, tmp_path, monkeypatch):
    def fail(*_arguments):
        raise RuntimeError("mishap")

    monkeypatch.setattr("ia2.teacher.save_file", fail)
    with pytest.raises(RuntimeError, match="mishap"):
        collect_targets(tiny_model, few, cache_dir=tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_prompt_longer_than_the_context_is_refused(tiny_model, toy_task, tmp_path):
    long = replace(toy_task, pool=(Example("Text:" + "cold " * 600 + "\nLabel:", "1"), *toy_task.pool[:8]))
    few = FewShotSet(long, 0, long.pool[:3], long.pool[3:4], ())
    with pytest.raises(InputError, match="the model reads 512"):
        collect_targets(tiny_model, few, cache_dir=tmp_path)


def test_the_index_holds_a_checksum_of_every_file(tiny_model, few, tmp_path):
    targets = collect_targets(tiny_model, few, cache_dir=tmp_path)
    assert len(json.loads((targets.folder / INDEX_FILE).read_text())["sha256"]) == 7
