import pytest

from ia2.cli.suggestions import did_you_mean

NAMES = ["sft", "ia2", "ia2-sft", "ia2+sft"]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("IA2-SFT", " Did you mean ia2-sft?"),
        ("ia2_sft", " Did you mean ia2-sft or ia2+sft?"),
        ("sfft", " Did you mean sft?"),
        ("zebra", ""),
    ],
)
def test_what_is_close_is_asked_for(word, said):
    assert did_you_mean(word, NAMES) == said
