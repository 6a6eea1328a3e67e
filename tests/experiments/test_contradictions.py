import pytest
from small_study import study

from ia2.experiments.contradictions import check_consistent


def test_a_study_that_makes_sense_is_let_through():
    check_consistent(study())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"correct": "stripped"}, "correct stripped: this is for single tokens, but whole labels are scored"),
        ({"confidence": "top-10"}, "confidence: top-10 is for single tokens, but whole labels are scored"),
        ({"measure": "chosen"}, "measure: chosen means chosen by dev loss, so set select: dev as well"),
        (
            {"demonstrations": "reshuffled", "order": "best-of-4"},
            "order best-of-4: demonstrations: reshuffled gives each query its own order",
        ),
        (
            {"context": "prompt.txt", "methods": ["context"], "most_demonstrations": 2},
            "most_demonstrations 2: a context replaces demonstrations",
        ),
        (
            {"context": "prompt.txt", "methods": ["context", "icl-batch"]},
            "this replaces demonstrations; use the method context instead of icl-batch",
        ),
        (
            {"methods": ["context-distillation"]},
            "unlabelled: context-distillation learns from unlabelled texts, but reviews has none",
        ),
        (
            {"methods": ["sft"], "tasks": [{"train": "reviews", "unlabelled_rows": 4}]},
            "unlabelled_rows 4: sft learns from labels only",
        ),
        (
            {"methods": ["icl", "mean-shift"], "adapters": ["ia3"], "learning_rates": []},
            "adapters ia3: mean-shift has its own kind of adapter",
        ),
        ({"forgetting": ["reviews"]}, "forgetting reviews: this task is already trained on or evaluated"),
        ({"forgetting": ["sst2"], "methods": ["icl"]}, "forgetting: no method of the study trains an adapter"),
        ({"evaluate": "merged", "adapters": ["lora", "prompt"]}, "evaluate merged: .* and not prompt"),
        (
            {"compare": [["ia2-sft", "sft-soft"]]},
            "compare sft-soft: the study has no such method; it has zero-shot, icl",
        ),
        ({"compare": [["sft", "sft"]]}, "compare sft: a method can't be compared with itself"),
        (
            {"compare": [{"methods": ["sft", "sft-soft"], "within": {"ece": 0.02}}]},
            "compare sft-soft: the study has no such method",
        ),
        (
            {"claims": [{"claim": "a", "methods": [["sft", "icl-batch"]], "higher": ["ece"]}]},
            "claims icl-batch: the study has no such method",
        ),
        (
            {"claims": [{"claim": "a", "methods": [["sft", "ia2"]], "higher": ["ece"]}] * 2},
            "claims a: two claims have this name",
        ),
        ({"methods": ["sft", "sft"]}, "a method is listed twice"),
        ({"methods": ["sft"], "betas": [0.5]}, "betas 0.5: no method here has a weight of the token loss"),
    ],
)
def test_what_contradicts_itself_is_refused_by_its_field(changes, message):
    with pytest.raises(ValueError, match=message):
        study(**changes)
