import json

import pytest
from study_records import LORA, changed, record, with_adapter

from ia2.errors import InputError
from ia2.records import write_rows
from ia2.reports.aggregate import cells
from ia2.reports.figures.folder_figures import CAPTIONS, OVERLAP, RELIABILITY, absent_files, folder_figures
from ia2.reports.figures.reliability import COLOURS
from ia2.reports.method_names import METHOD_NAMES


def curves(axes):
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines}


def with_predictions(folder, one, rows):
    path = one.rows(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    (folder / one.file).parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"confidence": c, "correct": right}) + "\n" for c, right in rows))
    return one


def test_lines_are_the_overlaps_of_adapters_of_the_same_set(tmp_path):
    records = [
        with_adapter(record("sft", 0.5, seed=0), tmp_path, [[0, 1], [0, 1]]),
        with_adapter(record("sft", 0.5, seed=1), tmp_path, [[2, 3], [2, 3]]),
        with_adapter(record("ia2-sft", 0.5, seed=0), tmp_path, [[0, 2], [0, 1]]),
        with_adapter(record("ia2-sft", 0.5, seed=1), tmp_path, [[2, 3], [4, 5]]),
        with_adapter(record("ia2", 0.5, seed=1, labels=None), tmp_path, [[4, 5], [4, 5]]),
        record("icl", 0.5, seed=0),
    ]
    found = folder_figures(cells(records), tmp_path)
    assert list(found) == [OVERLAP]
    (axes,) = found[OVERLAP].figure.axes
    # by hand: SFT and IA2→SFT share 1/2 and 1 of the axes of set 0, 1 and 0 of those of set 1
    assert curves(axes) == {
        "SFT and IA2 (1)": ([1, 2], [0, 0]),
        "SFT and IA2→SFT (2)": ([1, 2], pytest.approx([0.75, 0.5])),
        "IA2 and IA2→SFT (1)": ([1, 2], pytest.approx([0, 1])),
    }
    # a band only where there are two sets: standard deviations √(1/8) and √(1/2)
    (band,) = axes.collections
    edges = sorted({round(float(y), 4) for _, y in band.get_paths()[0].vertices})
    assert edges == pytest.approx([0.5 - 0.5**0.5, 0.75 - 0.125**0.5, 0.75 + 0.125**0.5, 0.5 + 0.5**0.5], abs=1e-4)


@pytest.mark.parametrize(("select", "shared"), [("accuracy", 1.0), ("dev", 0.0)])
def test_the_adapter_of_the_best_learning_rate_is_taken(tmp_path, select, shared):
    records = [
        with_adapter(record("ia2", 0.5, lr=1e-3, dev_loss=1.0), tmp_path, [[0, 1]]),
        with_adapter(record("sft", 0.9, lr=1e-3, dev_loss=2.0), tmp_path, [[0, 1]]),
        with_adapter(record("sft", 0.6, lr=3e-4, dev_loss=1.0), tmp_path, [[2, 3]]),
    ]
    (axes,) = folder_figures(cells(records, select), tmp_path)[OVERLAP].figure.axes
    assert list(curves(axes).values()) == [([1], pytest.approx([shared]))]


def test_an_adapter_measured_on_two_tasks_counts_once(tmp_path):
    at_home = [with_adapter(record(method, 0.5), tmp_path, [[0, 1]]) for method in ("sft", "ia2-sft")]
    elsewhere = [changed(one, task={"eval": "finsen"}) for one in at_home]
    records = at_home + elsewhere
    (axes,) = folder_figures(cells(records), tmp_path)[OVERLAP].figure.axes
    assert list(curves(axes)) == ["SFT and IA2→SFT (1)"]


def test_each_model_has_a_panel(tmp_path):
    records = [
        with_adapter(record(method, 0.5, model=model), tmp_path, [[0, 1]])
        for model in ("small", "large")
        for method in ("sft", "ia2")
    ]
    titles = [axes.get_title(loc="left") for axes in folder_figures(cells(records), tmp_path)[OVERLAP].figure.axes]
    assert titles == ["small, lora r2 α8, ground-truth labels", "large, lora r2 α8, ground-truth labels"]


def test_reliability_is_of_the_rows_of_all_sets_on_the_task_itself(tmp_path):
    one, two = record("sft", 0.5, seed=0, ece=0.2), record("sft", 1.0, seed=1, ece=0.4)
    records = [
        with_predictions(tmp_path, one, [(0.95, True), (0.96, False)]),
        with_predictions(tmp_path, two, [(0.94, True), (0.05, False)]),
        with_predictions(tmp_path, record("sft", 0.5, eval="finsen"), [(0.5, True)]),
        with_predictions(tmp_path, record("icl", 1.0, n=8), [(0.35, True)]),
        with_predictions(tmp_path, record("sft", 1.0, n=8), [(0.35, True)]),
    ]
    found = folder_figures(cells(records), tmp_path)
    assert list(found) == [RELIABILITY]
    grid = found[RELIABILITY].figure.axes
    # a row of panels for each N, a column for each method; in-context learning wasn't measured at N = 4
    assert [axes.axison for axes in grid] == [False, True, True, True]
    assert [bar.get_height() for bar in grid[1].patches] == pytest.approx([0] * 9 + [2 / 3])
    assert grid[1].get_title(loc="left") == "SFT\naccuracy 75.0 %\nECE 0.300"
    assert [grid[place].get_ylabel() for place in (1, 2)] == ["sst2, N = 4\naccuracy", "sst2, N = 8\naccuracy"]


def test_what_the_folder_has_no_files_for_is_left_out(tmp_path):
    gone = {**LORA, "path": "adapters/gone"}
    first = with_predictions(tmp_path, record("sft", 0.5, seed=0, adapter=gone), [(0.9, True)])
    without_rows = record("sft", 0.5, seed=1, adapter=gone)
    text = with_predictions(tmp_path, record("ia2", 0.5, ece=None), [(0.9, True)])
    alone = with_adapter(record("ia2-sft", 0.5), tmp_path, [[0, 1]])
    dora = [
        changed(with_adapter(record(method, 0.5, n=8), tmp_path, [[0, 1]]), adapter={"dora": True})
        for method in ("sft", "ia2")
    ]
    found = cells([first, without_rows, text, alone, *dora])
    assert folder_figures(found, tmp_path) == {}
    assert absent_files(found, tmp_path) == [
        '1 of 2 adapters are missing from the folder; the figure "Subspace overlap by layer" leaves them out.',
        '4 of 5 files of predictions are missing from the folder; the figure "Reliability" leaves them out.',
    ]


def test_a_damaged_adapter_is_told(tmp_path):
    records = [with_adapter(record(method, 0.5), tmp_path, [[0, 1]]) for method in ("sft", "ia2")]
    (tmp_path / records[0].adapter.path / "adapter_model.safetensors").write_bytes(b"cut")
    with pytest.raises(InputError, match=r"sft.*can't be read"):
        folder_figures(cells(records), tmp_path)


def test_predictions_may_hold_any_separator_of_lines(tmp_path):
    one = with_predictions(tmp_path, record("sft", 0.5), [])
    rows = [{"predicted": "\u2028\x85", "confidence": 0.35, "correct": right} for right in (True, True, False)]
    write_rows(one.rows(tmp_path), rows)
    (axes,) = folder_figures(cells([one]), tmp_path)[RELIABILITY].figure.axes
    assert [bar.get_height() for bar in axes.patches] == pytest.approx([0] * 3 + [2 / 3] + [0] * 6)


@pytest.mark.parametrize("line", ["{", "[]", '{"confidence": 0.5}', pytest.param("[" * 100_000, id="nested deeply")])
def test_damaged_predictions_are_told(tmp_path, line):
    one = with_predictions(tmp_path, record("sft", 0.5), [(0.9, True)])
    path = one.rows(tmp_path)
    path.write_text(line + "\n")
    with pytest.raises(InputError, match=r"sft.*these predictions can't be read"):
        folder_figures(cells([one]), tmp_path)


@pytest.mark.parametrize("mark", ["\u2028", "\x85", "\x0b"])
def test_line_ends_within_a_text_end_no_row(tmp_path, mark):
    one = with_predictions(tmp_path, record("sft", 0.5), [])
    write_rows(
        one.rows(tmp_path),
        [{"query": f"a{mark}b", "confidence": 0.95, "correct": right} for right in (True, False)],
    )
    (axes,) = folder_figures(cells([one]), tmp_path)[RELIABILITY].figure.axes
    assert axes.patches[-1].get_height() == pytest.approx(0.5)


def test_captions_and_colours_are_complete():
    assert set(CAPTIONS) == {OVERLAP, RELIABILITY}
    assert set(COLOURS) == set(METHOD_NAMES)
    assert len(set(COLOURS.values())) == len(COLOURS)


def test_rows_of_diagrams_are_named_by_what_differs_on_short_lines(tmp_path):
    names = [f"models/a-model-with-a-long-name-{letter}/model.gguf" for letter in "ab"]
    records = [with_predictions(tmp_path, record("sft", 0.5, model=name), [(0.9, True)]) for name in names]
    found = folder_figures(cells(records), tmp_path)
    rows = [axes.get_ylabel().splitlines() for axes in found["Reliability"].figure.axes if axes.get_ylabel()]
    assert ["".join(row[:-2]) for row in rows] == names
    assert all(row[-2:] == ["sst2, N = 4", "accuracy"] and max(map(len, row)) <= 30 for row in rows)
