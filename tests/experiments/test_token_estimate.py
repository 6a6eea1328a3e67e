from conftest import byte_level_tokenizer

from ia2.cli.main import main
from ia2.errors import InputError
from ia2.experiments import token_estimate as module
from ia2.experiments.schema import Experiment
from ia2.experiments.token_estimate import Tokens, described_tokens, estimated_tokens
from ia2.tasks.load import load_task
from ia2.tasks.task import Example, Task


def study(**changes):
    return Experiment.model_validate(
        {
            "name": "small",
            "models": ["m"],
            "tasks": [{"train": "sst2"}],
            "n": [2],
            "sets": 1,
            "methods": ["zero-shot", "icl", "sft", "ia2", "ia2-sft"],
            "learning_rates": [1e-3],
            "rows": 3,
            "asim_rows": 2,
            "training": {"epochs": 2},
            **changes,
        }
    )


def task(name="sst2", response="1", labels=("1",)):
    """Queries of 10 characters teach, queries of 20 are measured."""
    rows = [Example(f"{number:09}:", response) for number in range(3)]
    measured = [Example(f"{number:019}:", response) for number in range(4)]
    return Task(
        name=name,
        description="",
        source="tests",
        labels=labels,
        pool=tuple(rows),
        evaluation=tuple(measured),
        max_new_tokens=5,
    )


def estimate(experiment, limit=None, **kinds):
    """Every character is a token."""
    return estimated_tokens(experiment, lambda name: task(name, **kinds), lambda _: len, limit)


def test_tokens_of_a_study_worked_by_hand():
    # a demonstration has 10 + 1 + 2 tokens; a label is never read. The teacher meets one in each of three prompts.
    # Three stages, each 2 epochs of 2 rows and 2 dev evaluations of 1 row.
    # 3 adapters and zero-shot read 3 queries of 20, in-context learning 2 demonstrations more; then 2 for asim.
    teacher, stages = 3 * (13 + 10), 3 * (2 * 2 * 10 + 2 * 10)
    measured, asim = 4 * 60 + (26 + 60), 4 * 40 + (26 + 40)
    assert estimate(study()) == Tokens(teacher, stages, measured + asim)
    assert estimate(study(asim_rows=0)) == Tokens(teacher, stages, measured)
    assert estimate(study(), limit=1) == Tokens(teacher, stages, 2 * (4 * 20 + 26 + 20))
    assert estimate(study(methods=["icl"])) == Tokens(0, 0, 26 + 60 + 26 + 40)


def test_baselines_that_are_made_of_one_reading_are_counted_once():
    in_context = ["icl", "icl-contextual", "icl-batch"]
    assert estimate(study(methods=in_context)) == estimate(study(methods=["icl"]))
    # one that reads words reads no tokens, and one that reads hidden states the queries alone
    assert estimate(study(methods=["zero-shot", "logistic-tfidf"])) == estimate(study(methods=["zero-shot"]))
    hidden = estimate(study(methods=["zero-shot", "logistic-hidden"]))
    assert hidden.evaluation == estimate(study(methods=["zero-shot"])).evaluation + 60


def test_demonstrations_drawn_for_each_query_are_read_for_each():
    # one of 13 tokens before each of three queries
    assert estimate(study(methods=["icl"], asim_rows=0, demonstrations="resampled")) == Tokens(0, 0, 3 * 13 + 60)


def test_a_teacher_that_is_not_stopped_writes_as_much_as_it_may():
    free = {"response": "12", "labels": ()}
    plain, unstopped = (
        estimate(study(methods=["ia2"], asim_rows=0, teacher_stop=stop), **free) for stop in ("task", "none")
    )
    # five tokens instead of two and an end token, for each of three rows
    assert unstopped.teacher == plain.teacher + 3 * 2


def test_answers_of_free_text_are_read_up_to_where_they_are_cut():
    # nine characters and an end token, the last of which is never read; five tokens may be generated
    found = estimate(study(methods=["sft", "ia2"], asim_rows=0), response="nine char", labels=())
    assert found == Tokens(3 * (10 + 9 + 2 + 10 + 4), 2 * (2 * 2 * 19 + 2 * 19), 2 * 3 * (20 + 4))


def test_stages_are_counted_as_they_are_trained():
    # steps of one row: four in two epochs, a dev evaluation after every second one, which is an epoch's last
    one = study(methods=["sft"], training={"epochs": 2, "batch_size": 1})
    assert estimate(one).training == 2 * 20 + 2 * 10
    # three steps between dev evaluations: after the second, third and fourth
    assert estimate(study(methods=["sft"], training={"epochs": 2, "batch_size": 1, "dev_every": 3})).training == 70
    # solved once for both rates, then descended at each
    solved = study(methods=["ia2-solved", "ia2-solved-ia2"], learning_rates=[1e-3, 1e-2])
    assert estimate(solved).training == (20 + 10) + 2 * (2 * 20 + 2 * 10)
    own = {"name": "short", "stages": [{"objective": "match-tokens", "epochs": 1}]}
    assert estimate(study(methods=[own])).training == 20 + 10


def test_every_unit_and_every_task_it_is_measured_on_count():
    one = study(asim_rows=0)
    alone = estimate(one)
    assert estimate(study(asim_rows=0, sets=3)) == alone + alone + alone
    assert estimate(study(asim_rows=0, models=["m", "o"])) == alone + alone
    more = study(asim_rows=0, tasks=[{"train": "sst2", "evaluate": ["sst2", "finsen"]}])
    assert estimate(more) == alone + Tokens(evaluation=alone.evaluation)


def test_the_estimate_says_how_it_counts(monkeypatch):
    one = study(models=["m"], tasks=[{"train": "reviews"}], n=[4])
    monkeypatch.setattr(module, "tokenizer_at_hand", lambda name: byte_level_tokenizer())
    exact = described_tokens(one)
    assert exact.startswith("About ")
    assert exact.endswith("counted with the tokenizer of m.")
    monkeypatch.setattr(module, "tokenizer_at_hand", lambda name: None)
    rough = described_tokens(one)
    assert rough.endswith("estimated at 4 characters per token where the tokenizer is not on this machine (m).")
    # every fourth character begins a token
    found = estimated_tokens(one, load_task, lambda _: lambda text: -(-len(text) // 4))
    assert f"About {float(f'{found.teacher:.2g}'):,.0f} tokens for the teacher" in rough


def test_without_data_there_is_no_estimate_and_the_reason_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "tokenizer_at_hand", lambda name: None)
    said = described_tokens(study(), tmp_path)
    assert said.startswith(f"Tokens can't be estimated: data_dir {tmp_path}: there is no folder {tmp_path / 'sst2'}")


def test_a_damaged_tokenizer_is_named(monkeypatch):
    def damaged(name):
        raise InputError(f"{name}: its tokenizer can't be loaded.")

    monkeypatch.setattr(module, "tokenizer_at_hand", damaged)
    assert described_tokens(study(tasks=[{"train": "reviews"}])) == (
        "Tokens can't be estimated: m: its tokenizer can't be loaded."
    )


def test_a_dry_run_ends_with_the_estimate(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "tokenizer_at_hand", lambda name: None)
    path = tmp_path / "small.yaml"
    path.write_text("{name: small, models: [some/model], tasks: [{train: sst2}], n: [4], methods: [sft]}")
    assert main(["run", str(path), "--dry-run", "--data-dir", str(tmp_path)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "small"
    assert printed[-1].startswith("Tokens can't be estimated: ")
