from study_records import record

from ia2.reports.method_names import METHOD_NAMES, method_name, method_order, with_distinct_name


def test_a_method_is_written_as_in_the_paper():
    assert method_name(record("ia2-sft", 0.5)) == "IA2→SFT"
    assert list(METHOD_NAMES)[:2] == ["zero-shot", "icl"]


def test_a_method_the_paper_has_not_keeps_its_name():
    assert method_name(record("adapter", 0.5)) == "adapter"


def test_methods_stand_in_the_order_of_reports_and_others_behind_them():
    methods = ["mine", "ia2-sft", "icl", "another", "zero-shot"]
    assert sorted(methods, key=method_order) == ["zero-shot", "icl", "ia2-sft", "another", "mine"]


def test_records_by_one_method_are_told_apart_by_what_they_fit():
    alone, *same = [record("icl", 0.5), record("sft", 0.5), record("sft", 0.5, labels="icl-response")]
    records = [alone, *same]
    names = [with_distinct_name(one, records).method for one in records]
    assert names == ["icl", "sft-ground-truth", "sft-icl-response"]
