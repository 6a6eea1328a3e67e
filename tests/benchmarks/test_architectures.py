import pytest

from benchmarks.architecture_trial import Outcome
from benchmarks.architectures import outcomes_of, page_of, row_of

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


@pytest.mark.slow
def test_a_kind_that_takes_too_long_is_a_row_and_not_the_end():
    hanging, unknown = [*outcomes_of(["llama"], limit=0.01), *outcomes_of(["no-such-kind"])]
    assert hanging == Outcome("llama", failure="no end after 0.01 seconds")
    assert unknown.unbuilt == "'no-such-kind'"
