import csv
from collections import Counter
from importlib.resources import files
from pathlib import Path

import pytest

from ia2.experiments.plan import planned, units
from ia2.experiments.study_file import load_experiment
from ia2.training.methods import OTHER_BETAS, QWEN_BETAS

STUDIES = Path(__file__).parents[2] / "experiments"
TABLES = [*range(1, 8), *range(9, 21)]
QKO = ("query", "key", "output")
CONFIGS = {
    "r8-qko": (8, QKO),
    "r16-qko": (16, QKO),
    "r8-qk": (8, ("query", "key")),
    "r8-qkv": (8, ("query", "key", "value")),
}
RATES = {"lora": {1e-4, 3e-4, 1e-3}, "ia3": {1e-1, 1e-2, 1e-3}}
FITS_LABELS = ("sft", "ia2-sft")
HUB = {
    "Qwen3-4B-Base": "Qwen/Qwen3-4B-Base",
    "Llama-3.2-1B": "meta-llama/Llama-3.2-1B",
    "Llama-3.2-3B": "meta-llama/Llama-3.2-3B",
    "Llama-3.2-1B-Instruct": "meta-llama/Llama-3.2-1B-Instruct",
}


def paper(name):
    return load_experiment(STUDIES / "paper" / f"{name}.yaml")


def printed(table):
    """What a table has numbers of, as the paper prints it: an adapter stands beside baselines as well."""
    with (files("ia2.reports") / "paper_results" / "results.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["table"] == str(table)]
    found = set()
    for row in rows:
        rank, modules = CONFIGS[row["adapter_config"] or "r8-qko"]
        adapter = (row["adapter"], rank if row["adapter"] == "lora" else None, modules)
        labels = (row["label_source"] or None) if row["method"] in FITS_LABELS else None
        found.add((HUB[row["model"]], adapter, labels, int(row["n"]), row["source"], row["eval"], row["method"]))
    return found


def computed(study):
    """What a study computes, said alike."""
    found = set()
    for unit in units(study):
        for kind in unit.adapters:
            adapter = (kind.kind, getattr(kind, "rank", None), kind.modules)
            methods = [(None, name) for name in study.baselines]
            methods += [(one.label_source, one.method.name) for one in planned(study, unit, ()) if one.kind == kind]
            for labels, method in methods:
                for task in unit.evaluate:
                    found.add((unit.model, adapter, labels, unit.n, unit.train, task, method))
    return found


@pytest.mark.parametrize("path", sorted(STUDIES.rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_study_can_be_planned(path):
    study = load_experiment(path)
    assert study.name == path.stem
    every = units(study)
    assert len({unit.id for unit in every}) == len(every) > 0
    # one that measures the model in context alone trains none
    adapters = [planned(study, unit, OTHER_BETAS) for unit in every]
    assert all(adapters) if path.stem != "demo-rule" else not any(adapters)


def test_there_is_a_study_for_each_table_and_figure():
    names = {path.stem for path in (STUDIES / "paper").glob("*.yaml")}
    assert names == {f"table{number}" for number in range(1, 21)} | {f"figure{number}" for number in range(1, 7)}


@pytest.mark.parametrize("table", TABLES)
def test_a_tables_study_computes_what_the_table_prints_and_nothing_else(table):
    assert computed(paper(f"table{table}")) == printed(table) != set()


@pytest.mark.parametrize("path", sorted((STUDIES / "paper").glob("*.yaml")), ids=lambda path: path.stem)
def test_rates_weights_and_sets_are_the_papers(path):
    study = load_experiment(path)
    assert (study.sets, study.rows, study.ece, study.select) == (5, None, "equal-mass", "evaluated")
    for unit in units(study):
        family = QWEN_BETAS if "Qwen" in unit.model else OTHER_BETAS
        own = planned(study, unit, ())
        for kind in {one.kind for one in own}:
            assert {one.learning_rate for one in own if one.kind == kind} == RATES[kind.kind]
        if weighed := {one.method.beta for one in own} - {None}:
            assert weighed == set(family)


@pytest.mark.parametrize("path", sorted((STUDIES / "paper").glob("*.yaml")), ids=lambda path: path.stem)
def test_what_the_scripts_do_otherwise_is_asked_for_wherever_it_changes_a_number(path):
    # PROTOCOL, where it says what the published scripts do and which option asks for it
    study = load_experiment(path)
    every = units(study)
    used = {task for unit in every for task in (unit.train, *unit.evaluate)}
    texts = {"gsm8k", "gsm8k_symbolic", "hmath_algebra", "sciq"}
    assert study.training.keep == "last"
    assert {kind.scale for unit in every for kind in unit.adapters if kind.kind == "ia3"} <= {"input"}
    assert study.benchmark_options.blank_line_before_answer == bool(used & {"sciq_remap", "qasc_remap"})
    assert study.benchmark_options.keep_empty_support == ("sciq" in used)
    assert study.benchmark_options.answers == ("published" if used & texts else "normalised")
    assert (study.teacher_stop == "none") == bool(used & texts)
    assert (study.confidence == "top-10") == bool(used - texts)
    assert (study.correct == "stripped") == bool(used - texts)
    assert study.benchmark_options.poems_rows == ("train" if "poems" in used else "all")
    assert study.evaluate == "merged"
    assert (study.asim_tokens == "greedy") == (bool(used & texts) and study.asim_rows > 0)
    assert (study.demonstrations == "resampled") == ("icl" in study.baselines)


def test_pairs_of_table_8_are_those_that_its_settings_make():
    # counted by hand from appendix A; the paper's own t and p imply 5 pairs fewer at N = 4 and 5 more at 16 and 32
    study = paper("table8")
    labelled, texts = Counter(), Counter()
    for unit in units(study):
        pairs = texts if unit.train in ("gsm8k", "sciq", "hmath_algebra") else labelled
        pairs[unit.n] += len(unit.evaluate)
    assert labelled == {2: 105, 4: 105, 8: 105, 16: 75, 32: 60, 64: 60, 128: 60}
    assert texts == {2: 35, 4: 35, 8: 35, 16: 15}


def test_similarity_is_compared_on_a_hundred_rows_of_small_sets():
    for name, without in (("figure2", set()), ("figure3", {"agnews"}), ("figure5", set())):
        study = paper(name)
        assert study.asim_rows == 100
        assert {unit.n for unit in units(study)} == {2, 4, 8, 16}
        assert {"agnews"} - {unit.train for unit in units(study)} == without
