from dataclasses import replace

import torch
from torch.testing import assert_close

from ia2.models.reader import Reader
from ia2.models.sites import LOGITS
from ia2.prompting.fewshot import FewShotSet
from ia2.prompting.prompts import prompt_text
from ia2.training.methods import ALIGN, FINE_TUNE, METHODS
from ia2.training.passes import losses
from ia2.training.student import Part, StageRows
from ia2.training.teacher import collect_targets


def test_the_end_token_is_trained_on_also_where_it_is_the_padding_token(tiny_model, toy_texts):
    assert tiny_model.tokenizer.pad_token_id == tiny_model.end_token
    few = FewShotSet.draw(toy_texts, 4)
    rows = StageRows.of(FINE_TUNE, few, None, tiny_model).train
    for sequence, row in zip(rows.sequences, few.train, strict=True):
        assert sequence.response[-1] == tiny_model.end_token
        ids = torch.tensor([[*tiny_model.tokenizer(row.query + row.response)["input_ids"], tiny_model.end_token]])
        start = len(tiny_model.tokenizer(row.query)["input_ids"])
        with torch.no_grad():
            logits = tiny_model.network(ids).logits[0]
        expected = torch.nn.functional.cross_entropy(logits[start - 1 : -1], ids[0, start:])
        index = rows.sequences.index(sequence)
        assert_close(losses(Reader(tiny_model.network), [Part(FINE_TUNE, rows, [index])])[0], expected)


def test_alignment_is_taught_on_the_teachers_responses_and_fine_tuning_on_the_rows_own(tiny_model, toy_task, tmp_path):
    few = FewShotSet.draw(toy_task, 6, seed=1)
    targets = collect_targets(tiny_model, few, cache_dir=tmp_path)
    aligned, tuned = (StageRows.of(stage, few, targets, tiny_model) for stage in (ALIGN, FINE_TUNE))
    assert [len(aligned.train.sequences), len(aligned.dev.sequences)] == [6, 3]
    assert [sequence.response for sequence in aligned.train.sequences] == [
        tuple(target.tokens.tolist()) for target in targets.train
    ]
    tokenizer = tiny_model.tokenizer
    for sequence, row in zip(tuned.train.sequences, few.train, strict=True):
        assert tokenizer.decode([*sequence.prompt, *sequence.response]) == row.query + row.response


def test_a_part_is_cut_in_runs_and_knows_its_longest_rows(tiny_model, toy_task):
    rows = StageRows.of(FINE_TUNE, FewShotSet.draw(toy_task, 6, seed=1), None, tiny_model).train
    lengths = [len(sequence.inputs) for sequence in rows.sequences]
    assert sorted((lengths[index] for index in rows.longest(2)), reverse=True) == sorted(lengths, reverse=True)[:2]
    part = Part(FINE_TUNE, rows, [4, 0, 3])
    assert part.tokens == lengths[4] + lengths[0] + lengths[3]
    assert (part.limited(1, 5).indices, part.limited(3, 2).indices) == ([0, 3], [])


def test_a_stage_may_learn_from_unlabelled_texts_alone(tiny_model, toy_task, tmp_path):
    few = FewShotSet.draw(toy_task, 4, seed=1)
    few = replace(few, unlabelled=few.unlabelled_of_pool(3))
    targets = collect_targets(tiny_model, few, cache_dir=tmp_path, sites=[LOGITS])
    (stage,) = METHODS["context-distillation"].stages
    rows = StageRows.of(stage, few, targets, tiny_model)
    decode = tiny_model.tokenizer.decode
    assert [decode(sequence.prompt) for sequence in rows.train.sequences] == list(few.unlabelled)
    # the loss is the divergence from what the model says behind all of the demonstrations
    for index, (sequence, context) in enumerate(zip(rows.train.sequences, few.unlabelled_contexts(), strict=True)):
        shown = tiny_model.tokenizer(prompt_text(few.unlabelled[index], context))["input_ids"]
        with torch.no_grad():
            theirs = tiny_model.network(torch.tensor([shown])).logits[0, -1].double().log_softmax(-1)
            ours = tiny_model.network(torch.tensor([sequence.prompt])).logits[0, -1].double().log_softmax(-1)
        expected = (theirs.exp() * (theirs - ours)).sum().float()
        loss = losses(Reader(tiny_model.network), [Part(stage, rows.train, [index])])[0]
        assert_close(loss, expected, atol=1e-4, rtol=1e-4)
    both = StageRows.of(METHODS["sft-soft"].stages[0], few, targets, tiny_model)
    assert len(both.train.sequences) == 4 + 3
    assert [len(stage_rows.dev.sequences) for stage_rows in (rows, both)] == [2, 2]
