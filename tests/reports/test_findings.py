import csv
import io

import pytest
from study_records import changed, record, with_adapter, write_study

from ia2.experiments.questions import Claim
from ia2.reports.aggregate import cells
from ia2.reports.findings import findings_tables
from ia2.reports.overlaps import overlaps_of
from ia2.reports.renderings import rendered
from ia2.reports.report import StudyReport

ACCURACY = {"claim": "accuracy", "question": "Is it?", "methods": [["ia2-sft", "sft"]], "higher": ["accuracy"]}
CALIBRATION = {"claim": "calibration", "methods": [["ia2-sft", "sft"]], "lower": ["ece", "scaled_ece"]}
OVERLAP = {"claim": "overlap", "methods": [["ia2", "sft"]], "within": {"overlap": 0.1}}
BETTER = (0.03, 0.05, 0.04, 0.03, 0.05)
"""How much higher the accuracy of IA2→SFT is than that of SFT, on each of five sets."""


def measured(better=BETTER, **more):
    return [
        changed(
            record(method, 0.7 + more_accurate, seed=seed, ece=0.2 - more_accurate, **more),
            metrics={"scaled_ece": 0.1},
        )
        for seed, difference in enumerate(better)
        for method, more_accurate in (("ia2-sft", difference), ("sft", 0.0))
    ]


def tables_of(claims, records, overlaps=(), select="dev"):
    return findings_tables([Claim.model_validate(claim) for claim in claims], cells(records), list(overlaps), select)


def rows_of(table):
    return [dict(zip(table.headings, row, strict=True)) for row in table.rows]


def test_a_claim_has_a_table_with_estimate_interval_p_and_verdict():
    overview, table = tables_of([ACCURACY], measured())
    (row,) = rows_of(table)
    # by hand: 4 points, deviation 1, error 1/√5, and t's 97.5th percentile of four degrees of freedom 2.7764
    assert (row["first"].value, row["second"].value) == pytest.approx((74.0, 70.0))
    assert row["difference"].value == pytest.approx(4.0)
    assert row["95 % CI low"].value == pytest.approx(4 - 2.7764 / 5**0.5, abs=1e-4)
    assert row["CI high"].value == pytest.approx(4 + 2.7764 / 5**0.5, abs=1e-4)
    # all five have one sign, as 2 of 32 assignments do
    assert (row["p"].value, row["sets"].text) == (1 / 16, "5")
    assert "Holm's p" not in table.headings  # there is nothing to be corrected for
    assert (row["claimed"].text, row["verdict"].text) == ("above 0", "holds")
    assert table.title == "Claim: accuracy"
    assert table.caption.startswith("Is it? The claim holds if the 95 % CI")
    assert overview.texts == [["accuracy", "1", "0", "0"]]


def test_less_is_claimed_of_an_error_and_holm_is_over_the_table():
    overview, table = tables_of([CALIBRATION], measured())
    ece, scaled = rows_of(table)
    # ECE falls by as much as accuracy rises; the scaled one is the same in all records, so that nothing says how much
    # it varies
    assert (ece["measure"].text, ece["claimed"].text, ece["verdict"].text) == ("ECE", "below 0", "holds")
    assert (scaled["measure"].text, scaled["verdict"].text) == ("scaled ECE", "inconclusive")
    # the smaller of two counts twice; every assignment of signs to differences of 0 is as far from it
    assert (ece["p"].value, scaled["p"].value) == (1 / 16, 1.0)
    assert (ece["Holm's p"].value, scaled["Holm's p"].value) == (2 / 16, 1.0)
    assert overview.texts == [["calibration", "1", "1", "0"]]


@pytest.mark.parametrize(
    ("claim", "verdict"),
    [
        ({"lower": ["accuracy"]}, "doesn't hold"),
        ({"within": {"accuracy": 6}}, "holds"),
        ({"within": {"accuracy": 4}}, "inconclusive"),
        ({"within": {"accuracy": 2}}, "doesn't hold"),
    ],
)
def test_what_is_claimed_decides_the_verdict(claim, verdict):
    _, table = tables_of([{"claim": "a", "methods": [["ia2-sft", "sft"]], **claim}], measured())
    (row,) = rows_of(table)
    assert row["verdict"].text == verdict
    assert ("90 % CI low" in table.headings) == ("within" in claim)


def test_models_and_tasks_are_pooled_by_set_and_n_are_not():
    records = [*measured(), *measured(model="large"), *measured(n=8)]
    _, table = tables_of([ACCURACY], records)
    four, eight = rows_of(table)
    assert [(row["N"].text, row["pairs"].text, row["sets"].text) for row in (four, eight)] == [
        *(("4", "10", "5"), ("8", "5", "5"))
    ]


def test_means_are_over_sets_as_their_difference_is():
    # the first set has a second model, on which both are worse and not apart
    more = [record(method, 0.5, seed=0, model="large") for method in ("ia2-sft", "sft")]
    _, table = tables_of([ACCURACY], [*measured(), *more])
    (row,) = rows_of(table)
    # by hand: of the first set (73 + 50) / 2 and (70 + 50) / 2, of the others as they are
    assert row["first"].value == pytest.approx((61.5 + 75 + 74 + 73 + 75) / 5)
    assert row["second"].value == pytest.approx((60 + 4 * 70) / 5)
    assert row["difference"].value == pytest.approx(row["first"].value - row["second"].value)
    assert (row["sets"].text, row["pairs"].text) == ("5", "6")


def test_of_four_sets_nothing_can_be_told():
    _, table = tables_of([ACCURACY], [value for value in measured() if value.seed < 4])
    (row,) = rows_of(table)
    assert row["verdict"].text == "inconclusive"
    assert "Fewer than 5 sets are always inconclusive." in table.caption


def with_overlaps(folder, same_directions):
    """Adapters of rank 2 in six dimensions, which share no direction on the first sets and both on the others."""
    return [
        with_adapter(record(method, 0.5, seed=seed), folder, [axes])
        for seed, same in enumerate(same_directions)
        for method, axes in (("ia2", [0, 1]), ("sft", [0, 1] if same else [2, 3]))
    ]


def test_an_overlap_is_compared_with_that_of_random_subspaces(tmp_path):
    records = with_overlaps(tmp_path, [False, False, False, False, True])
    _, table = tables_of([OVERLAP], records, overlaps_of(cells(records), tmp_path))
    (row,) = rows_of(table)
    # by hand: 0, 0, 0, 0 and 1, a mean of 0.2; random ones share 2/6; the differences' deviation is √0.2, the error 0.2
    assert (row["first"].value, row["second"].value) == pytest.approx((0.2, 1 / 3))
    assert row["difference"].value == pytest.approx(0.2 - 1 / 3)
    assert row["90 % CI low"].value == pytest.approx(0.2 - 1 / 3 - 2.1318 * 0.2, abs=1e-4)
    assert (row["compared"].text, row["claimed"].text) == ("IA2 and SFT minus chance", "within ±0.1")
    assert row["verdict"].text == "inconclusive"


def test_overlaps_of_two_models_on_a_set_are_one_cluster(tmp_path):
    records = [
        with_adapter(record(method, 0.5, seed=seed, model=model), tmp_path, [axes])
        for seed in range(5)
        for model, same in (("small", False), ("large", seed == 0))
        for method, axes in (("ia2", [0, 1]), ("sft", [0, 1] if same else [2, 3]))
    ]
    _, table = tables_of([OVERLAP], records, overlaps_of(cells(records), tmp_path))
    (row,) = rows_of(table)
    # the set's mean over both models is a half, that of the other four nothing
    assert (row["sets"].text, row["pairs"].text) == ("5", "10")
    assert row["difference"].value == pytest.approx(0.1 - 1 / 3)
    assert row["90 % CI low"].value == pytest.approx(0.1 - 1 / 3 - 2.1318 * 0.1, abs=1e-4)


def test_csv_has_each_number_and_the_verdict_as_one():
    rows = list(csv.DictReader(io.StringIO(rendered("a", tables_of([ACCURACY], measured()), "csv", []))))
    assert [row["measure"].removeprefix("accuracy_") for row in rows] == [
        *("verdict", "difference", "difference_low", "difference_high", "p")
    ]
    assert {row["method"] for row in rows} == {"accuracy: ia2-sft minus sft"}
    assert (rows[0]["mean"], rows[0]["sets"]) == ("1", "5")


def test_a_claim_of_which_nothing_was_measured_has_no_table():
    assert tables_of([ACCURACY], [record("sft", 0.5)]) == []
    overview, *others = tables_of([ACCURACY, OVERLAP], measured())
    assert [table.title for table in others] == ["Claim: accuracy"]
    assert overview.texts == [["accuracy", "1", "0", "0"], [OVERLAP["claim"], "0", "0", "0"]]
    assert "A claim without comparisons has not been measured." in overview.caption


def test_the_verdict_stands_before_the_numbers():
    _, table = tables_of([ACCURACY], measured())
    assert table.headings[:5] == ["N", "compared", "measure", "claimed", "verdict"]


def test_a_studys_claims_stand_above_its_tables_in_every_format(tmp_path):
    folder = write_study(tmp_path, measured(), methods=["sft", "ia2-sft"], sets=5, claims=[ACCURACY, CALIBRATION])
    report = StudyReport.of(folder, with_paper=False)
    titles = [table.title for table in report.all_tables]
    assert titles[:3] == ["Claims", "Claim: accuracy", "Claim: calibration"]
    assert report.text("markdown").index("## Claim: accuracy") < report.text("markdown").index("## small, lora")
    assert "Claim: accuracy" in report.page(tmp_path)
    assert report.text("latex").count("caption{Claim: accuracy") == 1
    assert "accuracy: ia2-sft minus sft,accuracy_verdict,1," in report.text("csv")


def test_adapters_that_fit_no_labels_are_one_comparison_whatever_others_fit(tmp_path):
    records = [
        with_adapter(record(method, 0.5, seed=seed, labels=None), tmp_path, [axes])
        for seed in range(5)
        for method, axes in (("ia2", [0, 1]), ("ia2-solved", [2, 3]))
    ]
    # the same adapters stand beside both label sources
    records += [
        with_adapter(record("sft", 0.5, seed=seed, labels=labels, lr=lr), tmp_path, [[4, 5]])
        for seed in range(5)
        for labels, lr in (("ground-truth", 1e-3), ("icl-response", 1e-4))
    ]
    claim = {"claim": "overlap", "methods": [["ia2", "ia2-solved"]], "within": {"overlap": 0.1}}
    _, table = tables_of([claim], records, overlaps_of(cells(records), tmp_path))
    (row,) = rows_of(table)
    assert (row["sets"].text, row["pairs"].text) == ("5", "5")


def test_holm_is_said_to_be_over_the_tests_that_have_a_p():
    _, table = tables_of([CALIBRATION | {"lower": [], "within": {"ece": 0.1, "scaled_ece": 0.1}}], measured())
    # scaled ECE is the same everywhere, which has no p
    assert [row["p"].value is None for row in rows_of(table)] == [False, True]
    assert "corrected" not in table.caption
