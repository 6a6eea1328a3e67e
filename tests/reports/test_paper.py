import csv
from pathlib import Path

import pytest

import ia2.reports
from ia2.reports.aggregate import Setting
from ia2.reports.paper import Key, PairedTTest, Paper, Printed, load_paper, read_means

NOTHING = Printed(None, None)
ROW = {
    "table": "1", "model": "M", "adapter": "lora", "label_source": "ground-truth", "n": "4", "source": "sst2",
    "eval": "sst2", "ood": "false", "method": "sft", "acc_mean": "06.9", "acc_std": "01.0", "ece_mean": "0.12",
    "ece_std": "0.01", "adapter_config": "",
}  # fmt: skip


def setting(**changes):
    own = {
        "model": "Qwen/Qwen3-4B-Base", "adapter": "lora", "label_source": "ground-truth", "n": 4, "source": "agnews",
        "eval": "agnews",
    }  # fmt: skip
    return Setting(**{**own, **changes})


def test_numbers_as_printed_in_table_1():
    # its first rows: 30.0/0.13 in context, 27.9/0.52 fine-tuned, 24.0/0.11 aligned, 31.8/0.35 both
    paper = load_paper()
    found = [paper.of(setting(), method) for method in ("icl", "sft", "ia2", "ia2-sft")]
    assert [printed[:2] for printed in found] == [(30.0, 0.13), (27.9, 0.52), (24.0, 0.11), (31.8, 0.35)]
    # with their standard deviations: 27.9 (04.3) and 0.52 (0.12)
    assert paper.of(setting(model="Qwen3-4B-Base"), "sft") == (27.9, 0.52, 4.3, 0.12)
    assert paper.of(setting(model="smollm2-135m"), "sft") == NOTHING


def test_every_printed_row_is_found_again():
    folder = Path(ia2.reports.__file__).parent / "paper_results"
    rows = list(csv.DictReader((folder / "results.csv").read_text().splitlines()))
    assert len(rows) == 519
    paper, blank = load_paper(), 0
    adapters = {"r8-qk": "lora q,k", "r8-qkv": "lora q,k,v", "r16-qko": "lora r16 α8"}
    for row in rows:
        own = setting(
            model=row["model"], adapter=adapters.get(row["adapter_config"], row["adapter"]),
            label_source=row["label_source"], n=int(row["n"]), source=row["source"], eval=row["eval"],
        )  # fmt: skip
        if not row["acc_mean"]:
            blank += 1
            continue
        found = paper.of(own, row["method"])
        assert found.accuracy == float(row["acc_mean"])
        assert found.ece == (float(row["ece_mean"]) if row["ece_mean"] else None)
        assert found.accuracy_deviation == float(row["acc_std"])
        assert found.ece_deviation == (float(row["ece_std"]) if row["ece_std"] else None)
    assert blank == 5


def test_tests_of_table_8():
    paper = load_paper()
    assert paper.test("single-token", 128, "ece") == (2.9682, 0.004323)
    assert paper.test("multi-token", 16, "accuracy") == (1.0453, 0.3136)
    assert paper.test("multi-token", 16, "ece") == PairedTTest(None, None)
    assert len(paper.tests) == 18


def test_what_means_nothing_for_a_method_is_not_asked():
    paper = Paper(read_means([ROW | {"method": method} for method in ("zero-shot", "icl", "ia2", "sft")]))
    same, other = setting(model="M", source="sst2", eval="sst2"), Printed(6.9, 0.12, 1.0, 0.01)

    def of(method, **changes):
        return paper.of(Setting(**{**vars(same), **changes}), method)

    anything = {"adapter": "prefix", "label_source": "–", "n": 64}
    assert of("zero-shot", **anything) == other
    assert of("icl", adapter="prefix", label_source="–") == other
    assert of("icl", n=64) == NOTHING
    assert of("ia2", label_source="icl-response") == other
    assert of("ia2", adapter="ia3") == NOTHING
    assert of("sft") == other
    assert of("sft", label_source="icl-response") == NOTHING
    assert of("sft", eval="finsen") == NOTHING


def test_rank_16_is_found_with_either_alpha_and_apart_from_rank_8():
    paper = Paper(read_means([ROW | {"adapter_config": "r16-qko"}]))
    same = setting(model="M", source="sst2", eval="sst2")
    found = {key.adapter for key in paper.means}
    assert found == {"lora r16 α8", "lora r16 α16"}
    assert paper.of(same, "sft") == NOTHING


def test_a_setting_with_two_numbers_is_refused_and_with_one_twice_is_not():
    assert len(read_means([ROW, ROW | {"table": "9"}])) == 1
    with pytest.raises(ValueError, match="the paper has both"):
        read_means([ROW, ROW | {"acc_mean": "07.0"}])


def test_keys_know_models_by_their_last_name():
    assert Key.of(setting(), "sft").model == "Qwen3-4B-Base"


def test_ia3_is_found_whether_outputs_or_inputs_are_scaled():
    assert {key.adapter for key in read_means([ROW | {"adapter": "ia3"}])} == {"ia3", "ia3 inputs"}
