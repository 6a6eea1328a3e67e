import pytest
import transformers

from benchmarks.architecture_trial import Outcome
from benchmarks.architectures import PAGE, merged, outcomes_of, outcomes_on, page_of, row_of

WORKS = Outcome("a", "packed", ["attn.q", "attn.o"])
PADDED = Outcome("b", "padded", ["attn.q"])
REFUSED = Outcome("c", refusal="c: it looks | ahead.")
UNBUILT = Outcome("d", unbuilt="x" * 500)


def test_a_row_names_what_is_adapted_or_why_not():
    assert row_of(WORKS) == "| a | packed | `attn.q`, `attn.o` |"
    assert row_of(REFUSED) == "| c | refused | c: it looks \\| ahead. |"
    assert len(row_of(UNBUILT)) < 300


def test_a_page_counts_what_works_among_what_could_be_built():
    page = page_of([WORKS, PADDED, REFUSED, UNBUILT])
    assert "each of the 4 kinds" in page
    assert "**2 of 3 kinds that could be built work**: 1 with packed rows, 1 with padded ones." in page
    assert page.index(row_of(PADDED)) < page.index("## What doesn't") < page.index(row_of(REFUSED))


def test_rows_of_a_page_are_written_anew_and_the_others_left_as_they_are():
    page = PAGE.read_text(encoding="utf-8")
    before = outcomes_on(page)
    assert page_of(merged(before, [])) == page
    # one that works is refused, and goes to the other table
    after = page_of(merged(before, [Outcome("llama", refusal="llama: a | bar.")]))
    working = sum(outcome.works for outcome in before)
    assert f"**{working - 1} of " in after
    lines = {line for line in after.splitlines() if line.startswith("| ")}
    assert lines ^ {line for line in page.splitlines() if line.startswith("| ")} == {
        "| llama | packed | `self_attn.q_proj`, `self_attn.k_proj`, `self_attn.o_proj` |",
        "| llama | refused | llama: a \\| bar. |",
    }


def test_a_page_of_another_version_of_transformers_is_not_written_in_part():
    with pytest.raises(ValueError, match="of another version of transformers"):
        outcomes_on(page_of([WORKS]).replace(transformers.__version__, "4.0.0"))


@pytest.mark.slow
def test_a_kind_that_takes_too_long_is_a_row_and_not_the_end():
    hanging, unknown = [*outcomes_of(["llama"], limit=0.01), *outcomes_of(["no-such-kind"])]
    assert hanging == Outcome("llama", failure="no end after 0.01 seconds")
    assert unknown.unbuilt == "'no-such-kind'"
