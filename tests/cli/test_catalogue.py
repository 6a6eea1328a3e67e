import re
import subprocess
import sys

import pytest
from command_line import run

from ia2.training.methods import METHODS


@pytest.mark.parametrize("command", ["tasks", "models", "methods"])
def test_what_is_built_in_is_listed_without_torch(command):
    program = f"import sys; from ia2.cli.main import main; main(['{command}']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.PIPE).stdout


def test_methods_are_listed(capsys):
    status, out, _ = run(capsys, "methods")
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()[1 : len(METHODS) + 1]] == list(METHODS)


def test_what_is_built_in_is_listed(capsys):
    _, tasks, _ = run(capsys, "tasks")
    for name in ("reviews", "sst2", "qasc_remap", "hmath_algebra"):
        assert re.search(rf"^{name} ", tasks, flags=re.MULTILINE)
    _, models, _ = run(capsys, "models")
    assert re.search(r"^smollm2-135m +Apache-2.0 ", models, flags=re.MULTILINE)
