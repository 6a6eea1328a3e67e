import pytest

from ia2.errors import InputError
from ia2.methods import ALIGN, FINE_TUNE, IA2, IA2_THEN_SFT, METHODS, SFT, method_named


def test_methods_are_the_papers():
    assert SFT.stages == (FINE_TUNE,)
    assert IA2.stages == (ALIGN,)
    assert IA2_THEN_SFT.stages == (ALIGN, FINE_TUNE)
    assert {name: method.name for name, method in METHODS.items()} == {name: name for name in METHODS}


def test_only_what_learns_from_the_teacher_needs_its_targets():
    assert {method.name: method.needs_targets for method in METHODS.values()} == {
        "sft": False,
        "ia2": True,
        "ia2-sft": True,
    }
    assert ALIGN.labels == "teacher"
    assert FINE_TUNE.labels == "ground-truth"


def test_unknown_methods_are_refused_with_what_was_meant():
    assert method_named("ia2-sft") is IA2_THEN_SFT
    with pytest.raises(InputError, match="--method ia-sft: no such method. Did you mean ia2-sft"):
        method_named("ia-sft")
