import json
import re
from dataclasses import replace

import pytest
from huggingface_hub import ModelCard

from ia2.adapters.card import Asked, model_card, write_card
from ia2.prompting.fewshot import FewShotSet
from ia2.records import Record

PLAIN = Asked("Text:{text}\nLabel:", chat=False, new_tokens=1)


def record(**changes):
    """One of an adapter that was measured on a hundred rows."""
    values = {
        "method": "ia2-sft",
        "model": {"id": "smollm2-135m", "sha256": "ab" * 32, "dtype": "float32"},
        "task": {"train": "reviews", "eval": "reviews", "source": "rows.csv", "labels": ["0", "1"]},
        "n": 8,
        "seed": 3,
        "lr": 1e-3,
        "adapter": {
            "kind": "lora", "rank": 8, "alpha": 8, "modules": ["query", "key"], "dora": False, "path": "adapters/u/best"
        },
        "metrics": {
            "n": 100, "accuracy": 0.85, "accuracy_interval": [0.78, 0.92], "ece": 0.1234, "ece_interval": [0.1, 0.2],
            "ece_binning": "equal-width", "asim": 0.91,
        },
        "seconds": {"train": 98.765},
        "stages": [
            {"objective": "align", "steps": 40, "stopped_by": "patience", "seconds": 12.345},
            {"objective": "match-tokens", "steps": 7, "stopped_by": "epochs"},
        ],
        "options": {
            "label_sources": ["icl-response", "ground-truth"], "label_scoring": "token", "dev_loss": 0.25,
            "tried": [{"lr": 1e-4, "dev_loss": 0.5}, {"lr": 1e-3, "dev_loss": 0.25}],
        },
        "notes": ["secret.csv: 'text' is used as the text."],
    }  # fmt: skip
    return Record.model_validate(values | changes)


def card(*records, asked=PLAIN, base="org/model", tokenizer=True):
    return model_card(records or [record()], asked, base, tokenizer=tokenizer)


def test_the_hub_reads_its_metadata():
    data = ModelCard(card()).data
    assert (data.base_model, data.library_name, data.pipeline_tag) == ("org/model", "peft", "text-generation")
    assert data.tags == ["ia2", "lora", "ia2-sft"]
    accuracy, ece = data.eval_results
    assert (accuracy.metric_type, accuracy.metric_value, accuracy.dataset_name) == ("accuracy", 0.85, "reviews")
    assert accuracy.metric_args == {"n": 100, "interval": [0.78, 0.92]}
    assert accuracy.metric_name == "Accuracy (n = 100, 95 % interval 0.7800 to 0.9200)"
    assert (ece.metric_type, ece.metric_value, ece.metric_args["interval"]) == ("ece", 0.1234, [0.1, 0.2])


def test_the_hub_reads_how_well_classes_are_told_apart_and_nothing_of_what_was_not_measured():
    scores = {"macro_f1": 0.75, "balanced_accuracy": 0.8, "nll": 0.5, "brier": 0.3}
    metrics = {"n": 100, "accuracy": 0.85, "ece": 0.1, **scores, "macro_f1_interval": [0.7, 0.81]}
    results = ModelCard(card(record(metrics=metrics))).data.eval_results
    assert [(result.metric_type, result.metric_value) for result in results[2:]] == list(scores.items())
    assert [result.metric_name for result in results[2:]] == [
        "Macro-F1 (n = 100, 95 % interval 0.7000 to 0.8100)",
        "Balanced accuracy (n = 100)",
        "Negative log-likelihood (n = 100)",
        "Brier score (n = 100)",
    ]
    assert all(result.metric_args["n"] == 100 for result in results)
    free_text = record(metrics={"n": 100, "accuracy": 0.5, **dict.fromkeys(scores)})
    assert [result.metric_type for result in ModelCard(card(free_text)).data.eval_results] == ["accuracy"]


def test_a_perfect_nll_of_zero_is_a_measure_too():
    (result,) = ModelCard(card(record(metrics={"n": 5, "nll": 0.0}))).data.eval_results
    assert (result.metric_type, result.metric_value) == ("nll", 0.0)


def test_the_table_has_macro_f1_and_nll_of_labels():
    text = card(record(metrics={"n": 100, "accuracy": 0.85, "macro_f1": 0.7512, "nll": 0.4999, "brier": 0.3001}))
    assert "| reviews | 100 | 85.0 % | – | 75.1 % | 0.500 | 0.300 | – |" in text


def test_every_task_that_was_measured_has_its_line():
    other = record(task={"train": "reviews", "eval": "sst2", "labels": ["0", "1"]}, metrics={"n": 50, "accuracy": 0.5})
    text = card(record(), other)
    assert "| reviews | 100 | 85.0 % [78.0, 92.0] | 0.123 [0.100, 0.200] | – | – | – | 0.910 |" in text
    assert "| sst2 | 50 | 50.0 % | – | – |" in text
    assert [result.dataset_name for result in ModelCard(text).data.eval_results] == ["reviews", "reviews", "sst2"]
    assert "It was evaluated on only 50 rows: look at the interval" in text


def test_what_was_not_measured_is_said_and_has_no_results():
    text = card(record(metrics={"n": 0, "accuracy": None, "ece": None}))
    assert "Nothing was measured" in text
    assert ModelCard(text).data.eval_results is None


def test_how_it_was_taught_is_told():
    text = card()
    assert f"| base model | smollm2-135m, SHA-256 {'ab' * 32}, float32 |" in text
    assert (
        "| stages | align on icl-response labels, 40 steps (stopped by patience); "
        "match-tokens on ground-truth labels, 7 steps (stopped by epochs) |" in text
    )
    assert "| training rows | 8, and 4 dev rows for early stopping and the learning rate |" in text
    assert "| adapter | lora, rank 8, alpha 8, modules query+key |" in text
    assert "| learning rates tried | 0.0001, 0.001 |" in text
    assert "| dev loss | 0.25 |" in text
    fewer = record(options={"dev_rows": 2})
    assert "| training rows | 8, and 2 dev rows for early stopping and the learning rate |" in card(fewer)


def test_it_holds_no_duration_no_file_of_the_persons_and_nothing_undefined():
    text = card()
    assert "98.7" not in text
    assert "0.123" in text  # the ECE
    assert "12.34 " not in text
    assert "12.345" not in text
    assert "secret" not in text
    assert "None" not in text
    assert card(record(seconds={"train": 1.0})) == text


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            PLAIN,
            [
                "Prompt it with `Text:{text}\\nLabel:`",
                'tokenizer("Text:a text of yours\\nLabel:", return_tensors',
                "tokens=1",
            ],
        ),
        (
            Asked("Text:{text}\nLabel:", chat=True, new_tokens=3),
            ["a turn of the model's chat template", "apply_chat_template(turns, add_generation_prompt=True", "--chat`"],
        ),
        (Asked(None, chat=False, new_tokens=1), ["as the built-in task reviews does"]),
    ],
)
def test_how_it_is_asked_is_told(asked, said):
    text = card(asked=asked)
    for part in said:
        assert part in text


def test_flags_without_which_it_would_be_asked_otherwise_are_told():
    assert "--data rows.csv`" in card()
    whole = record(options={"label_scoring": "whole"})
    assert "--data rows.csv --label-scoring whole`" in card(whole)
    text = card(whole.model_copy(update={"task": record().task.model_copy(update={"labels": []})}))
    assert "--label-scoring" not in text
    assert "it was trained to answer in free text" in text


def test_the_tokenizer_comes_from_where_it_is():
    assert "AutoTokenizer.from_pretrained(folder)" in card()
    assert 'AutoTokenizer.from_pretrained("org/model")' in card(tokenizer=False)


def test_four_bit_weights_are_told_from_the_full_ones():
    assert "the 4-bit weights that ia2 calls smollm2-135m" in card()
    assert "ia2 evaluate --model smollm2-135m --adapter" in card()
    other = card(record(model={"id": "org/model"}))
    assert "4-bit" not in other
    assert "ia2 evaluate --model org/model --adapter" in other


def test_it_is_written_beside_peft_s_configuration(tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "org/other"}))
    write_card(tmp_path, [record()], PLAIN)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert text == card(base="org/other", tokenizer=False)
    (tmp_path / "tokenizer.json").write_text("{}")
    write_card(tmp_path, [record()], PLAIN)
    assert re.search(r"from_pretrained\(folder\)\ninputs", (tmp_path / "README.md").read_text(encoding="utf-8"))


def test_the_form_of_a_query_is_told_where_it_is_made_of_a_text(tiny_model, toy_task):
    few = FewShotSet.draw(replace(toy_task, as_written=True), 4)
    assert Asked.of(few, tiny_model).query == "Text:{text}\nLabel:"
    assert not Asked.of(few, tiny_model).chat
    assert Asked.of(replace(few, task=few.task.as_chat()), tiny_model).chat
    prompts = replace(few, task=replace(few.task, form="prompt"))
    assert Asked.of(prompts, tiny_model).query == "{text}"
    # a benchmark's are made of several columns, and a conversation is no text
    conversations = replace(few, task=replace(few.task, form="conversation"))
    for other in (conversations, FewShotSet.draw(toy_task, 4)):
        assert Asked.of(other, tiny_model).query is None


def test_an_answer_is_as_long_as_the_longest_label(tiny_model, toy_task, toy_texts):
    few = FewShotSet.draw(toy_task, 4)
    assert Asked.of(few, tiny_model).new_tokens == 1
    longer = replace(few, task=replace(toy_task, labels=("0", "1", " positive indeed")))
    assert Asked.of(longer, tiny_model).new_tokens == len(tiny_model.tokenizer(" positive indeed")["input_ids"]) > 1
    assert Asked.of(FewShotSet.draw(toy_texts, 4), tiny_model).new_tokens == 10
