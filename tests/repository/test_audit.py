"""What CI says of known vulnerabilities: pip-audit itself is replaced by a program that answers as it does."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci" / "audit.py"
ANSWER = {
    "dependencies": [
        {"name": "calm", "version": "1.0", "vulns": []},
        {"name": "odd", "skip_reason": "not on PyPI"},
        {
            "name": "holed",
            "version": "2.0",
            "vulns": [
                {"id": "PYSEC-1", "fix_versions": ["2.1", "3.0"], "aliases": [], "description": "long"},
                {"id": "PYSEC-2", "fix_versions": [], "aliases": [], "description": "nobody can do anything"},
            ],
        },
    ],
    "fixes": [],
}


@pytest.fixture
def audited(tmp_path):
    """Run the audit where pip-audit prints this to stdout and stderr."""

    def audited(out, err=""):
        program = tmp_path / "pip_audit.py"
        program.write_text(
            f"import sys\nprint({out!r})\nprint({err!r}, file=sys.stderr)\nprint(sys.argv, file=sys.stderr)"
        )
        command = [sys.executable, str(SCRIPT), sys.executable, str(program)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return audited


def test_only_what_has_a_fix_is_listed(audited):
    done = audited(json.dumps(ANSWER))
    assert done.returncode == 1
    assert done.stdout == "holed 2.0: PYSEC-1, fixed in 2.1, 3.0\n"
    assert done.stderr == "Not audited: odd.\n"


def test_nothing_to_fix_is_said(audited):
    done = audited(json.dumps({"dependencies": ANSWER["dependencies"][:1]}))
    assert done.returncode == 0
    assert done.stdout == "1 pinned packages have no known vulnerability with a fix.\n"


def test_a_database_out_of_reach_fails_nothing_and_is_said(audited):
    done = audited("", "requests.exceptions.ConnectionError: Failed to resolve")
    assert done.returncode == 0
    assert done.stdout == ""
    assert "can't be reached: the audit is LEFT OUT" in done.stderr


def test_another_failure_is_a_failure(audited):
    done = audited("", "No module named pip_audit")
    assert done.returncode == 1
    assert "No module named pip_audit" in done.stderr
