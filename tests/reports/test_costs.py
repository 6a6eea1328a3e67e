from study_records import LORA, changed, record

from ia2.reports.aggregate import cells
from ia2.reports.costs import costs


def spent(method, seed, steps=(), train=None, asim=0.5, **more):
    return changed(
        record(method, 0.5 + seed / 10, seed=seed, **more),
        metrics={"asim": asim},
        stages=[{"steps": count} for count in steps],
        seconds={"evaluate": 2.0} | ({"train": train, "teacher": 9.0} if train is not None else {}),
    )


RECORDS = [
    spent("icl", 0, asim=1.0),
    *(spent("ia2-sft", seed, (10, 4 + 2 * seed), 30.0 + seed) for seed in (0, 1)),
    *(spent("ia2-sft", seed, (8,), 5.0, adapter={**LORA, "rank": 4}) for seed in (0, 1)),
]


def listed(records):
    (table,) = costs(cells(records))
    return [dict(zip(table.headings, row, strict=True)) for row in table.texts]


def test_steps_of_all_stages_and_seconds_are_means_over_sets():
    icl, lora, _, smaller = listed(RECORDS)
    assert icl == {
        "adapter": "lora", "N": "4", "method": "ICL", "acc %": "50.0", "ECE": "0.10", "asim": "1.000", "steps": "–",
        "train s": "–", "evaluate s": "2.0", "lr": "–",
    }  # fmt: skip
    assert lora["method"] == "IA2→SFT"
    # 14 and 16 steps, 30 and 31 seconds, the teacher's not counted
    assert (lora["acc %"], lora["steps"], lora["train s"]) == ("55.0", "15", "30.5")
    assert (smaller["adapter"], smaller["steps"]) == ("lora r4 α8", "8")


def test_the_share_of_stages_that_the_epoch_limit_ended_is_told():
    endings = [("epochs", "patience"), ("epochs", "epochs"), ("solved", "patience")]
    records = [
        changed(spent("ia2-sft", seed), stages=[{"steps": 50, "stopped_by": ending} for ending in pair])
        for seed, pair in enumerate(endings)
    ]
    # 50, 100 and 0 %: a solved stage takes no steps
    assert listed(records)[0]["cut off %"] == "50"
    assert "cut off %" not in listed(RECORDS)[0]


def test_columns_that_say_nothing_are_left_out_and_others_not():
    headings = listed([*RECORDS, spent("ia2-sft", 0, eval="finsen")])[0]
    assert "eval" in headings
    assert "source" not in headings
    assert "asim" not in listed([spent("sft", 0, (3,), 1.0, asim=None)])[0]


def test_records_of_before_have_no_steps_or_seconds():
    (row,) = listed([record("sft", 0.5)])
    assert (row["steps"], row["train s"]) == ("–", "–")
