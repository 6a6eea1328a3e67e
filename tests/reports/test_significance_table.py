import pytest
from scipy import stats
from study_records import LORA, record

from ia2.analysis.significance import detectable_difference
from ia2.reports.aggregate import cells
from ia2.reports.comparisons import compared
from ia2.reports.paper import load_paper
from ia2.reports.renderings import CSV_COLUMNS, rendered
from ia2.reports.significance_table import comparison

OURS, THEIRS = (0.7, 0.8, 0.65, 0.9, 0.8), (0.6, 0.75, 0.65, 0.7, 0.75)
OUR_ECE, THEIR_ECE = (0.1, 0.2, 0.1, 0.3, 0.2), (0.3, 0.1, 0.2, 0.6, 0.3)


def both(n=4, texts=False, **more):
    return [
        record(method, value, seed=seed, n=n, ece=None if texts else errors[seed], **more)
        for method, values, errors in (("ia2-sft", OURS, OUR_ECE), ("sft", THEIRS, THEIR_ECE))
        for seed, value in enumerate(values)
    ]


def listed(records, paper=None, select="accuracy"):
    (table,) = comparison(compared(cells(records), paper), select)
    return table


def rows(records, paper=None):
    table = listed(records, paper)
    return [dict(zip(table.headings, [cell.value for cell in row], strict=True)) for row in table.rows]


def test_pairs_are_of_the_same_set_and_task_and_the_test_is_scipys():
    accuracy, ece = rows([*both(), record("icl", 0.9)])
    test = stats.ttest_rel([100 * value for value in OURS], [100 * value for value in THEIRS])
    assert (accuracy["N"], accuracy["pairs"], accuracy["measure"]) == (4, 5, "accuracy, points")
    assert accuracy["difference"] == pytest.approx(8.0)
    assert (accuracy["t"], accuracy["p"]) == pytest.approx((test.statistic, test.pvalue))
    assert (accuracy["CI low"], accuracy["CI high"]) == pytest.approx(tuple(test.confidence_interval()))
    # less is better, so that the sign of t is the other one, as in Table 8
    test = stats.ttest_rel(THEIR_ECE, OUR_ECE)
    assert ece["difference"] == pytest.approx(-0.12)
    assert (ece["t"], ece["p"]) == pytest.approx((test.statistic, test.pvalue))


def test_each_n_and_kind_of_response_has_its_rows():
    texts = both(4, texts=True, train="gsm8k", eval="gsm8k")
    found = rows([*both(8), *both(4), *both(4, eval="finsen"), *texts])
    assert [(row["responses"], row["N"], row["pairs"], row["measure"]) for row in found] == [
        ("single-token", 4, 10, "accuracy, points"),
        ("single-token", 4, 10, "ECE"),
        ("single-token", 8, 5, "accuracy, points"),
        ("single-token", 8, 5, "ECE"),
        ("multi-token", 4, 5, "accuracy, points"),
    ]
    assert "responses" not in rows(both())[0]


def test_adapters_and_label_sources_are_not_pooled():
    q = {**LORA, "modules": ["query"]}
    made = [*both(), *both(adapter=q), *both(labels="icl-response"), *both(labels="icl-response", adapter=q)]
    found = rows(made)
    assert [(row["adapter"], row["labels"], row["pairs"]) for row in found if row["measure"] != "ECE"] == [
        (adapter, labels, 5) for adapter in ("lora", "lora q") for labels in ("ground-truth", "icl-response")
    ]
    assert {(row["t"], row["p"]) for row in found} == {(row["t"], row["p"]) for row in rows(both())}
    assert not {"adapter", "labels"} & rows(both())[0].keys()


def test_the_caption_names_what_is_pooled_and_how_rates_were_picked():
    two = [*both(), *both(model="large"), *both(eval="finsen")]
    caption = listed(two).caption
    assert "of all sets and 2 models (large, small) and 2 tasks (sst2, sst2 → finsen) available" in caption
    assert "Holm's p is p by set, corrected for 2 tests; the other p-values are not corrected." in caption
    assert "selected by accuracy on the evaluation rows" in caption
    alone = listed(both(texts=True), select="dev").caption
    assert "of all sets available" in alone
    assert not any(part in alone for part in ("corrected", "selected by", "The paper's t and p"))


PAPERS = {"model": "meta-llama/Llama-3.2-1B"}


def test_the_papers_tests_stand_beside_ours_of_the_same_kind():
    # Table 8: t = 6.1933 and p = 1.348e-08 for accuracy at N = 4, 4.4248 and 2.484e-05 for ECE
    paper = load_paper()
    accuracy, ece = rows(both(**PAPERS), paper)
    assert (accuracy["paper's t"], accuracy["paper's p"]) == (6.1933, 1.348e-08)
    assert (ece["paper's t"], ece["paper's p"]) == (4.4248, 2.484e-05)
    assert "The paper's t and p are over all of its models and tasks." in listed(both(**PAPERS), paper).caption
    assert "paper's t" not in rows(both(**PAPERS))[0]
    assert "paper's t" not in rows(both(n=5, **PAPERS), paper)[0]


@pytest.mark.parametrize(
    "other",
    [
        {"model": "small"},
        {"train": "reviews", "eval": "reviews"},
        {"eval": "bbcnews"},
        {"labels": "icl-response"},
        {"adapter": {**LORA, "modules": ["query", "key"]}},
    ],
)
def test_the_papers_tests_do_not_stand_beside_anything_else(other):
    found = listed(both(**{**PAPERS, **other}), load_paper())
    assert "paper's t" not in found.headings
    assert "t and p are over all" not in found.caption


@pytest.mark.parametrize("lacking", ["sft", "ia2-sft"])
def test_what_was_not_trained_by_both_is_not_compared(lacking):
    assert comparison(compared(cells([one for one in both() if one.method != lacking])), "dev") == []
    accuracy, _ = rows([one for one in both() if one.method != lacking or one.seed == 2])
    assert accuracy["pairs"] == 1
    assert accuracy["difference"] == pytest.approx(0)
    assert (accuracy["t"], accuracy["p"], accuracy["CI high"]) == (None, None, None)


@pytest.mark.parametrize("pairs", [1, 4, 5])
def test_there_is_a_p_from_five_pairs_on_in_every_format(pairs):
    records = [each for each in both() if each.seed < pairs]
    table = listed(records)
    accuracy = dict(zip(table.headings, table.rows[0], strict=True))
    says_so = "p needs at least 5 pairs." in table.caption
    listed_p = [line.split(",") for line in rendered("x", [table], "csv", []).splitlines() if "accuracy_p" in line]
    p_in_csv = dict(zip(CSV_COLUMNS, listed_p[0], strict=True))["mean"]
    printed = [rendered("x", [table], kind, []) for kind in ("markdown", "latex")]
    if pairs == 5:
        assert accuracy["p"].value == pytest.approx(stats.ttest_rel(OURS, THEIRS).pvalue)
        assert (says_so, float(p_in_csv)) == (False, pytest.approx(accuracy["p"].value, rel=1e-5))
        assert not any("n/a" in text for text in printed)
    else:
        text = f"n/a ({pairs} pair{'' if pairs == 1 else 's'})"
        assert (accuracy["p"].text, accuracy["p"].value) == (text, None)
        assert (says_so, p_in_csv) == (True, "")
        assert all(text in each for each in printed)


def test_two_models_on_one_set_count_once_in_the_test_over_sets():
    accuracy, ece = rows([*both(), *both(model="large")])
    assert (accuracy["pairs"], accuracy["sets"]) == (10, 5)
    once = stats.ttest_rel([100 * value for value in OURS], [100 * value for value in THEIRS]).pvalue
    assert accuracy["p by set"] == pytest.approx(once) != accuracy["p"]
    # Holm: the lower of the two p counts twice, the other is no less
    lower, higher = sorted((accuracy, ece), key=lambda row: row["p by set"])
    assert lower["Holm's p"] == pytest.approx(2 * lower["p by set"])
    assert higher["Holm's p"] == pytest.approx(max(2 * lower["p by set"], higher["p by set"]))
    # differences 10, 5, 0, 20 and 5 points: of 32 signs, those of the 0 make no difference, and of the other 16
    # assignments only all plus and all minus are as far
    assert accuracy["sign-flip p"] == pytest.approx(2 / 16)
    # whose deviation is √57.5
    assert accuracy["detectable"] == pytest.approx(detectable_difference(57.5**0.5, 5))


def unfinished():
    """Ten sets, of which one has six models, 10 points apart, and each other one a model that isn't apart."""
    return [
        record(method, 0.7 if method == "sft" or seed else 0.8, seed=seed, model=f"model{model}")
        for seed in range(10)
        for model in range(1 if seed else 6)
        for method in ("ia2-sft", "sft")
    ]


def test_where_sets_have_unequally_many_pairs_the_difference_that_the_interval_is_of_stands_beside_it():
    accuracy, _ = rows(unfinished())
    # by hand: of 15 pairs six are 10 points apart; of ten sets one is, whose deviation is √10, and whose error 1
    assert (accuracy["pairs"], accuracy["sets"]) == (15, 10)
    assert accuracy["difference"] == pytest.approx(60 / 15)
    assert accuracy["difference by set"] == pytest.approx(10 / 10)
    # the 97.5th percentile of t with nine degrees of freedom is 2.2622: the difference over pairs lies outside
    assert accuracy["CI low by set"] == pytest.approx(1 - 2.2622, abs=1e-4)
    assert accuracy["CI high by set"] == pytest.approx(1 + 2.2622, abs=1e-4)
    assert accuracy["CI high by set"] < accuracy["difference"]
    assert accuracy["better"] == "inconclusive"
    table = listed(unfinished())
    assert "Some sets have more pairs than others: the difference is the mean over pairs" in table.caption
    assert "accuracy_difference_by_set,1," in rendered("x", [table], "csv", [])


def test_where_sets_have_equally_many_pairs_one_difference_is_enough():
    table = listed([*both(), *both(model="large")])
    assert "difference by set" not in table.headings
    assert "Some sets have more pairs" not in table.caption
    assert "difference_by_set" not in rendered("x", [table], "csv", [])


def test_of_few_sets_there_is_no_p_over_them():
    few = [one for one in [*both(), *both(model="large"), *both(model="third")] if one.seed < 2]
    table = listed(few)
    assert "p by set" not in table.headings
    assert "p by set needs at least 5 sets." in table.caption


def test_any_two_methods_can_be_compared_and_only_the_papers_pair_has_its_numbers():
    records = [*both(**PAPERS), *(record("icl", 0.5, seed=seed, **PAPERS) for seed in range(5))]
    found = compared(cells(records), load_paper(), ("sft", "icl"))
    (table,) = comparison(found, "dev")
    assert table.title == "SFT minus ICL"
    row = dict(zip(table.headings, table.rows[0], strict=True))
    assert row["difference"].value == pytest.approx(100 * (sum(THEIRS) / 5 - 0.5))
    assert row["difference"].number.method == "sft minus icl"
    assert "paper's t" not in table.headings


def test_a_row_says_whether_the_first_is_better_and_whether_the_two_are_equal():
    differences = {"accuracy": (0.03, 0.05, 0.04, 0.03, 0.05), "ece": (0.001, -0.001, 0.002, 0.0, 0.001)}
    made = [
        record(method, 0.7 + more * differences["accuracy"][seed], seed=seed, ece=0.2 + more * differences["ece"][seed])
        for method, more in (("ia2-sft", 1), ("sft", 0))
        for seed in range(5)
    ]
    (table,) = comparison(compared(cells(made), within={"accuracy": 2.0, "ece": 0.02}), "dev")
    accuracy, ece = (dict(zip(table.headings, [cell.value for cell in row], strict=True)) for row in table.rows)
    # 4 points apart, each within 1 of that: better for sure, and not equal within 2 points for sure
    assert (accuracy["better"], accuracy["equal"], accuracy["bound"]) == ("holds", "doesn't hold", 2.0)
    assert (ece["better"], ece["equal"], ece["bound"]) == ("inconclusive", "holds", 0.02)
    # mean 4, deviation 1, error 1/√5; the 95th percentile of t with four degrees of freedom is 2.1318
    assert accuracy["90 % CI low"] == pytest.approx(4 - 2.1318 / 5**0.5, abs=1e-4)
    assert accuracy["90 % CI high"] == pytest.approx(4 + 2.1318 / 5**0.5, abs=1e-4)
    assert accuracy["TOST p"] > 0.99
    assert ece["TOST p"] < 1e-4
    assert "whether the two are equal within ±bound: this holds if" in table.caption
    # a comparison without bounds asks nothing of the kind
    plain = listed(made, select="dev")
    assert not {"equal", "bound", "TOST p"} & set(plain.headings)
    assert "equal" not in plain.caption


def test_less_error_is_better_and_four_sets_tell_nothing():
    made = [
        record(method, 0.7, seed=seed, ece=0.2 + less + 0.01 * (seed % 2) * (less < 0))
        for method, less in (("ia2-sft", -0.1), ("sft", 0.0))
        for seed in range(5)
    ]
    accuracy, ece = rows(made)
    assert (accuracy["better"], ece["better"]) == ("inconclusive", "holds")
    _, ece = rows([value for value in made if value.seed < 4])
    assert ece["better"] == "inconclusive"


def test_holm_is_said_to_be_over_the_tests_that_have_a_p():
    # of the four comparisons the two at N = 8 have too few sets for a p
    table = listed([*both(4), *(one for one in both(8) if one.seed < 3)])
    assert sum(row["p by set"].value is not None for row in cells_of(table)) == 2
    assert "corrected for 2 tests; the other p-values" in table.caption
    few = listed([one for one in both() if one.seed < 3])
    assert "corrected" not in few.caption


def cells_of(table):
    return [dict(zip(table.headings, row, strict=True)) for row in table.rows]
