import json
from dataclasses import replace

import pytest
import torch
from conftest import byte_level_tokenizer, tiny_network
from recorded_progress import RecordedProgress
from torch.testing import assert_close

from ia2.errors import InputError
from ia2.locks import is_in_use
from ia2.models.load import LanguageModel
from ia2.models.sites import ATTENTION_OUTPUT
from ia2.prompting.fewshot import FewShotSet
from ia2.prompting.prompts import PromptTokenizer, prompt_text
from ia2.tasks.task import Example, Instruction
from ia2.training import targets as targets_module
from ia2.training.teacher import INDEX_FILE, collect_targets

SITE = ATTENTION_OUTPUT


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
            assert_close(target.activations[SITE][0], torch.stack(kept), atol=1e-5, rtol=0)


INSTRUCTION = Instruction("Say whether the writer was content: one for yes, nought for no. " * 4)


def test_an_instruction_is_read_once_for_all_rows(tiny_model, few, tmp_path, monkeypatch):
    instructed = replace(few, context=INSTRUCTION)
    read = []
    plain = type(tiny_model.network.base_model).forward

    def counted(self, *arguments, **keywords):
        read.append(keywords["input_ids"].numel())
        return plain(self, *arguments, **keywords)

    monkeypatch.setattr(type(tiny_model.network.base_model), "forward", counted)
    targets = collect_targets(tiny_model, instructed, cache_dir=tmp_path)
    tokens_read = sum(read)
    tokens = PromptTokenizer(tiny_model.tokenizer)
    prompts = [tokens.prompt(prompt_text(row.query, (INSTRUCTION,))) for row in (*few.train, *few.dev)]
    alone = min(map(len, prompts)) - max(len(tokens.prompt(row.query)) for row in (*few.train, *few.dev))
    # once instead of seven times
    assert tokens_read < sum(map(len, prompts)) - 5 * alone
    for prompt, target in zip(prompts, [*targets.train, *targets.dev], strict=True):
        recorded = []
        hooks = [
            layer.self_attn.o_proj.register_forward_hook(lambda _m, _i, output: recorded.append(output[0, -1]))
            for layer in tiny_model.network.model.layers
        ]
        with torch.no_grad():
            logits = tiny_model.network(input_ids=torch.tensor([prompt])).logits[0, -1]
        for hook in hooks:
            hook.remove()
        assert target.tokens.tolist() == [logits.argmax().item()]
        assert_close(target.activations[SITE][0], torch.stack(recorded), atol=1e-5, rtol=0)


def test_positions_of_the_query_are_read_behind_an_instruction_too(tiny_model, few, tmp_path):
    instructed = replace(few, context=INSTRUCTION)
    site = replace(SITE, positions="all")
    whole = collect_targets(tiny_model, instructed, sites=[site], cache_dir=tmp_path)
    alone = collect_targets(tiny_model, instructed, cache_dir=tmp_path)
    for row, positions, response in zip(few.train, whole.train, alone.train, strict=True):
        values = positions.activations[site]
        assert len(values) >= len(PromptTokenizer(tiny_model.tokenizer).prompt(row.query)) - 1
        assert_close(values[-1], response.activations[SITE][-1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_batch_size_changes_nothing(tiny_model, few, tmp_path, batch_size):
    one = collect_targets(tiny_model, few, cache_dir=tmp_path / "one", batch_size=1)
    many = collect_targets(tiny_model, few, cache_dir=tmp_path / "many", batch_size=batch_size)
    for first, second in zip([*one.train, *one.dev], [*many.train, *many.dev], strict=True):
        assert torch.equal(first.tokens, second.tokens)
        assert_close(first.activations[SITE], second.activations[SITE], atol=1e-5, rtol=0)


# of labels of which one begins the other, each competes with the line break that would follow it
@pytest.mark.parametrize(
    ("labels", "behind"), [((" warm and funny", " cold"), ""), ((" warm and funny", " warm"), "\n")]
)
def test_whole_labels_are_answered_with_the_likeliest_one(tiny_model, toy_task, tmp_path, labels, behind):
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
            compared = response + tuple(tiny_model.tokenizer(behind)["input_ids"])
            with torch.no_grad():
                scores = tiny_model.network(torch.tensor([prompt + compared])).logits[0].log_softmax(-1)
            sums[response] = sum(scores[len(prompt) - 1 + at, token].item() for at, token in enumerate(compared))
        best = max(sums, key=sums.get)
        assert tuple(target.tokens.tolist()) == best
        assert target.activations[SITE].shape == (len(best), 3, 32)


def test_the_teacher_is_asked_once_a_set(tiny_model, few, tmp_path, monkeypatch):
    count = passes(tiny_model, monkeypatch)
    first = collect_targets(tiny_model, few, batch_size=4, cache_dir=tmp_path)
    asked = len(count)
    assert asked == 2  # seven rows in batches of four
    again = collect_targets(tiny_model, few, batch_size=4, cache_dir=tmp_path)
    assert len(count) == asked
    assert again.folder == first.folder
    assert torch.equal(again.train[3].activations[SITE], first.train[3].activations[SITE])


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


def test_another_version_of_a_library_asks_again(tiny_model, few, tmp_path, monkeypatch):
    # a record says which versions computed it, so that none may rest on answers of others
    folder = collect_targets(tiny_model, few, cache_dir=tmp_path).folder
    monkeypatch.setattr("ia2.training.teacher.versions", lambda: {"torch": "0.1"})
    assert collect_targets(tiny_model, few, cache_dir=tmp_path).folder != folder


@pytest.mark.parametrize("spoil", [cut_short, edited, missing, index_spoiled])
def test_spoiled_files_are_found_and_made_anew_and_that_is_said(tiny_model, few, tmp_path, spoil):
    targets = collect_targets(tiny_model, few, cache_dir=tmp_path)
    expected = [target.activations[SITE].clone() for target in [*targets.train, *targets.dev]]
    spoil(targets.folder)
    said = RecordedProgress()
    again = collect_targets(tiny_model, few, cache_dir=tmp_path, progress=said)
    (sentence,) = said.sentences
    assert str(targets.folder) in sentence
    assert "computing them again" in sentence
    assert all(
        torch.equal(target.activations[SITE], before)
        for target, before in zip([*again.train, *again.dev], expected, strict=True)
    )
    quiet = RecordedProgress()
    collect_targets(tiny_model, few, cache_dir=tmp_path, progress=quiet)
    assert quiet.sentences == [f"The teacher's answers are read from the cache ({targets.folder})."]


def test_nothing_is_left_behind_when_the_pass_fails(tiny_model, few, tmp_path, monkeypatch):
    def fail(*_arguments):
        raise RuntimeError("mishap")

    monkeypatch.setattr("ia2.training.targets.save_file", fail)
    with pytest.raises(RuntimeError, match="mishap"):
        collect_targets(tiny_model, few, cache_dir=tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_prompt_longer_than_the_context_is_refused(tiny_model, toy_task, tmp_path):
    long = replace(toy_task, pool=(Example("Text:" + "cold " * 600 + "\nLabel:", "1"), *toy_task.pool[:8]))
    few = FewShotSet(long, 0, long.pool[:3], long.pool[3:4], ())
    with pytest.raises(InputError, match="the model reads 512"):
        collect_targets(tiny_model, few, cache_dir=tmp_path)


def test_a_label_that_does_not_fit_behind_a_prompt_is_refused_though_the_first_does(tiny_model, toy_task, tmp_path):
    labels = (" 1", " a label of many tokens")
    shown = Example("Text:warm\nLabel:", " 1")
    opening = len(tiny_model.tokenizer(f"{shown.query}{shown.response}\n\nText:\nLabel: 1").input_ids)
    long = Example(f"Text:{'x' * (512 - opening)}\nLabel:", " 1")
    task = replace(toy_task, labels=labels, pool=(shown, long), evaluation=())
    few = FewShotSet(task, 0, (shown, long), (), ())
    assert len(PromptTokenizer.of(tiny_model, task).sequence(long.query, " 1", [shown]).prompt) < 512
    with pytest.raises(InputError, match="the model reads 512"):
        collect_targets(tiny_model, few, label_scoring="whole", cache_dir=tmp_path)


def test_the_index_holds_a_checksum_of_every_file(tiny_model, few, tmp_path):
    targets = collect_targets(tiny_model, few, cache_dir=tmp_path)
    assert len(json.loads((targets.folder / INDEX_FILE).read_text())["sha256"]) == 7


def written_slowly(model, prompt, task, stop):
    """The teacher's response by a full forward pass for each token; its attention by one over all of it."""
    tokenizer = PromptTokenizer.of(model, task)
    start = list(tokenizer.prompt(prompt))
    tokens, ending = list(start), "length"
    while len(tokens) < len(start) + task.max_new_tokens:
        with torch.no_grad():
            token = model.network(torch.tensor([tokens])).logits[0, -1].argmax().item()
        if token == model.end_token:
            ending = "end"
            break
        tokens.append(token)
        if stop in model.tokenizer.decode(tokens[len(start) :]):
            ending = "stop"
            break
    response = tokens[len(start) :]
    if ending == "stop":
        text = model.tokenizer.decode(response).partition(stop)[0]
        response = model.tokenizer(text)["input_ids"] if text else []
    if ending != "length":
        response.append(model.end_token)
    kept = []
    hooks = [
        layer.self_attn.o_proj.register_forward_hook(lambda _m, _g, output: kept.append(output[0]))
        for layer in model.network.model.layers
    ]
    with torch.no_grad():
        model.network(torch.tensor([start + response[:-1]]))
    for hook in hooks:
        hook.remove()
    return response, ending, torch.stack(kept, dim=1)[len(start) - 1 :]


def free_text(model, task, few):
    """What the model writes after the first row's prompt if nothing stops it."""
    prompt = prompt_text(few.train[0].query, few.training_contexts()[0])
    tokens, _, _ = written_slowly(model, prompt, task, "\0")
    return [model.tokenizer.decode([token]) for token in tokens]


@pytest.mark.parametrize("where", ["nowhere", "a token", "within a token", "at once"])
def test_texts_of_any_length_are_what_a_forward_pass_for_each_token_gives(tiny_model, toy_texts, tmp_path, where):
    few = FewShotSet.draw(toy_texts, 4, seed=1)
    pieces = [piece for piece in free_text(tiny_model, toy_texts, few) if piece.isprintable() and piece]
    stop = {
        "nowhere": "\0",
        "a token": pieces[4],
        # what is left of a token whose end is cut off is other tokens than were decoded
        "within a token": next((piece[1:] for piece in pieces[1:] if len(piece) > 2), pieces[4]),
        "at once": pieces[0],
    }[where]
    task = replace(toy_texts, stop=stop)
    few = replace(few, task=task)
    targets = collect_targets(tiny_model, few, cache_dir=tmp_path, batch_size=3)
    endings = set()
    for rows, contexts, found in (
        (few.train, few.training_contexts(), targets.train),
        (few.dev, few.dev_contexts(), targets.dev),
    ):
        for row, context, target in zip(rows, contexts, found, strict=True):
            tokens, ending, attention = written_slowly(tiny_model, prompt_text(row.query, context), task, stop)
            assert target.tokens.tolist() == tokens
            assert_close(target.activations[SITE], attention, atol=1e-4, rtol=1e-4)
            endings.add(ending)
    assert ("stop" in endings) == (where != "nowhere")
    again = collect_targets(tiny_model, few, cache_dir=tmp_path)
    assert list(again.train.responses()) == [(tuple(target.tokens.tolist()), None) for target in targets.train]


def test_another_stop_or_length_is_another_pass(tiny_model, toy_texts, tmp_path):
    few = FewShotSet.draw(toy_texts, 2)
    folders = {
        collect_targets(tiny_model, replace(few, task=replace(toy_texts, **change)), cache_dir=tmp_path).folder
        for change in ({}, {"stop": "#"}, {"max_new_tokens": 4})
    }
    assert len(folders) == 3


def test_a_teacher_that_is_not_stopped_writes_on(tiny_model, toy_texts, tmp_path):
    few = FewShotSet.draw(toy_texts, 2)
    free = collect_targets(tiny_model, few, cache_dir=tmp_path, teacher_stop="none")
    text = tiny_model.tokenizer.decode(free.train[0].tokens)
    stopped = replace(few, task=replace(toy_texts, stop=text[2]))
    assert collect_targets(tiny_model, stopped, cache_dir=tmp_path, teacher_stop="none").folder == free.folder
    short = collect_targets(tiny_model, stopped, cache_dir=tmp_path)
    assert len(short.train[0].tokens) < len(free.train[0].tokens)


def test_memory_holds_one_batch_of_targets(tiny_model, toy_texts, tmp_path, monkeypatch):
    written = []
    plain = targets_module.save_file
    monkeypatch.setattr(targets_module, "save_file", lambda *given: written.append(len(passed)) or plain(*given))
    passed = passes(tiny_model, monkeypatch)
    collect_targets(tiny_model, FewShotSet.draw(toy_texts, 6), cache_dir=tmp_path, batch_size=3)
    # nine rows in three batches: a third of them is on disk before the second third is begun
    assert written[2] < written[3]
    assert written[5] < written[6]


def test_a_prompt_that_leaves_no_room_for_a_response_is_refused(tiny_model, toy_texts, tmp_path):
    few = FewShotSet.draw(replace(toy_texts, max_new_tokens=500), 2)
    with pytest.raises(InputError, match="but the model reads 512"):
        collect_targets(tiny_model, few, cache_dir=tmp_path)


def test_one_layers_outputs_are_read_without_the_others(tiny_model, toy_texts, tmp_path):
    few = FewShotSet.draw(toy_texts, 3)
    files = collect_targets(tiny_model, few, cache_dir=tmp_path).train
    for layer in range(3):
        expected = torch.cat([target.activations[SITE][:, layer] for target in files])
        assert torch.equal(files.layer(SITE, layer), expected)


def chatty(model, end):
    """A model in whose conversations the assistant's turns, and no others, end with this special token."""
    tokenizer = byte_level_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<end>"]})
    closing = f"{{% if turn.role == 'assistant' %}}{end}{{% endif %}}"
    tokenizer.chat_template = (
        f"{{% for turn in messages %}}{{{{ turn.role }}}}:{{{{ turn.content }}}}{closing}{{% endfor %}}"
    )
    return replace(model, tokenizer=tokenizer)


def test_in_a_conversation_a_text_ends_as_a_turn_does(tiny_model, toy_texts, tmp_path):
    model = chatty(tiny_model, "<end>")
    few = FewShotSet.draw(replace(toy_texts.as_chat(), stop="e", max_new_tokens=40), 4)
    targets = collect_targets(model, few, cache_dir=tmp_path)
    responses = [tokens for tokens, _ in targets.train.responses() if len(tokens) < 40]
    assert responses
    end = model.tokenizer.convert_tokens_to_ids("<end>")
    assert [tokens.index(end) for tokens in responses] == [len(tokens) - 1 for tokens in responses]


def test_another_end_of_turns_is_another_pass_even_where_the_prompts_have_none(
    tiny_model, toy_texts, tmp_path, monkeypatch
):
    few = replace(FewShotSet.draw(toy_texts.as_chat(), 2), context=Instruction("Count."))
    models = [chatty(tiny_model, end) for end in ("<end>", "<|endoftext|>")]
    every = list(models[0].tokenizer.added_tokens_decoder)
    monkeypatch.setattr(tiny_model.network.generation_config, "eos_token_id", every)
    first, second = (collect_targets(model, few, cache_dir=tmp_path) for model in models)
    assert first.folder != second.folder


def test_the_teacher_may_write_less_than_a_response_may_have(tiny_model, toy_texts, tmp_path):
    few = FewShotSet.draw(replace(toy_texts, max_new_tokens=12, stop=None), 2)
    long = collect_targets(tiny_model, few, cache_dir=tmp_path)
    brief = replace(few, task=replace(few.task, teacher_tokens=5))
    short = collect_targets(tiny_model, brief, cache_dir=tmp_path)
    assert any(len(target.tokens) == 5 for target in short.train), "a text should be cut off"
    for target, whole in zip(short.train, long.train, strict=True):
        assert target.tokens.tolist() == whole.tokens.tolist()[:5]
    assert brief.as_record()["teacher_tokens"] == 5
    assert (brief.as_record()["max_new_tokens"], few.as_record()["teacher_tokens"]) == (12, 12)


def test_the_teacher_can_read_the_rows_own_responses(tiny_model, toy_texts, tmp_path):
    few = replace(FewShotSet.draw(toy_texts, 3), unlabelled=("what else?",))
    targets = collect_targets(tiny_model, few, cache_dir=tmp_path, on_responses=True)
    assert len(targets.unlabelled) == 0
    assert targets.folder != collect_targets(tiny_model, few, cache_dir=tmp_path).folder
    tokenizer = PromptTokenizer.of(tiny_model, few.task)
    for row, context, target in zip(few.train, few.training_contexts(), targets.train, strict=True):
        sequence = tokenizer.sequence(row.query, row.response, context)
        assert tuple(target.tokens.tolist()) == sequence.response
        kept = []
        hooks = [
            layer.self_attn.o_proj.register_forward_hook(lambda _m, _g, output: kept.append(output[0]))
            for layer in tiny_model.network.model.layers
        ]
        with torch.no_grad():
            tiny_model.network(torch.tensor([sequence.prompt + sequence.response]))
        for hook in hooks:
            hook.remove()
        start = len(sequence.prompt) - 1
        expected = torch.stack(kept, 1)[start : start + len(sequence.response)]
        assert_close(target.activations[SITE], expected, atol=1e-5, rtol=0)


def test_targets_are_in_use_as_long_as_they_are_held(tiny_model, few, tmp_path):
    for _ in range(2):  # computed, and read from the cache
        targets = collect_targets(tiny_model, few, cache_dir=tmp_path)
        folder = targets.folder
        assert is_in_use(folder)
        del targets
        assert not is_in_use(folder)
