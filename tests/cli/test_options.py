from pathlib import Path

import pytest

from ia2.cli.options import Adapt, Demo, Evaluate
from ia2.errors import InputError

FILE = {"model": "m", "data": Path("rows.csv")}
TASK = {"model": "m", "task": "sst2"}
OUT = {"out": Path("out")}


def test_defaults_are_the_protocols():
    options = Adapt(**FILE, **OUT)
    assert options.method == "ia2-sft"
    assert options.lr == ()
    assert options.compare
    assert Evaluate(**TASK).limit == 500


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        (Adapt, {"model": "m"} | OUT, "--data FILE or --task NAME"),
        (Adapt, FILE | TASK | OUT, "--data FILE or --task NAME"),
        (Adapt, FILE | OUT | {"data_dir": Path("d")}, "--data-dir d"),
        (Adapt, FILE | OUT | {"limit": 0}, "limit 0: this must be 1 or more"),
        (Adapt, FILE | OUT | {"seed": -1}, "seed -1: this must be 0 or more"),
        (Demo, {"seed": -1}, "seed -1: this must be 0 or more"),
        (Evaluate, TASK | {"icl": 4, "adapter": Path("a")}, "--icl 4"),
        (Evaluate, TASK | {"icl": 1}, "--icl 1"),
        (Evaluate, TASK | {"draw": "class"}, "--draw class: this is for demonstrations; set their number with --icl"),
    ],
)
def test_contradictions_are_refused_by_name(kind, given, said):
    with pytest.raises(InputError, match=said):
        kind(**given)
