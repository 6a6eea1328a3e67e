from dataclasses import replace

from ia2.experiments.unit_card import asked_of
from ia2.prompting.fewshot import FewShotSet


def test_the_form_of_a_query_is_told_where_it_is_made_of_a_text(tiny_model, toy_task):
    few = FewShotSet.draw(replace(toy_task, as_written=True), 4)
    assert asked_of(few, tiny_model).query == "Text:{text}\nLabel:"
    assert not asked_of(few, tiny_model).chat
    assert asked_of(replace(few, task=few.task.as_chat()), tiny_model).chat
    prompts = replace(few, task=replace(few.task, form="prompt"))
    assert asked_of(prompts, tiny_model).query == "{text}"
    # a benchmark's are made of several columns, and a conversation is no text
    conversations = replace(few, task=replace(few.task, form="conversation"))
    for other in (conversations, FewShotSet.draw(toy_task, 4)):
        assert asked_of(other, tiny_model).query is None


def test_an_answer_is_as_long_as_the_longest_label(tiny_model, toy_task, toy_texts):
    few = FewShotSet.draw(toy_task, 4)
    assert asked_of(few, tiny_model).new_tokens == 1
    longer = replace(few, task=replace(toy_task, labels=("0", "1", " positive indeed")))
    assert asked_of(longer, tiny_model).new_tokens == len(tiny_model.tokenizer(" positive indeed")["input_ids"]) > 1
    assert asked_of(FewShotSet.draw(toy_texts, 4), tiny_model).new_tokens == 10
