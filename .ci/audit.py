"""List the known vulnerabilities of the pinned dependencies that a newer version fixes, as found by pip-audit.

Exits 1 if there are any. Where the database can't be reached, says so and exits 0.
"""

import json
import subprocess
import sys
from pathlib import Path

PINS = Path(__file__).parents[1] / "constraints.txt"
COMMAND = [sys.executable, "-m", "pip_audit"]
# the pins are read as they are: nothing is resolved or installed
ARGUMENTS = ["--requirement", str(PINS), "--no-deps", "--disable-pip", "--vulnerability-service", "osv"]
UNREACHABLE = ("ConnectionError", "ConnectTimeout", "ReadTimeout", "ServiceError")


def audit(command: list[str]) -> int:
    """Run pip-audit by this command, and return the exit status."""
    done = subprocess.run([*command, *ARGUMENTS, "--format", "json"], capture_output=True, text=True, check=False)
    try:
        dependencies = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        if any(name in done.stderr for name in UNREACHABLE):
            print("The database of known vulnerabilities can't be reached: the audit is LEFT OUT.", file=sys.stderr)
            return 0
        sys.exit(f"pip-audit failed:\n{done.stderr}")
    fixed = [
        f"{dependency['name']} {dependency['version']}: {known['id']}, fixed in {', '.join(known['fix_versions'])}"
        for dependency in dependencies
        for known in dependency.get("vulns", ())
        if known["fix_versions"]
    ]
    skipped = [dependency["name"] for dependency in dependencies if "skip_reason" in dependency]
    if skipped:
        print(f"Not audited: {', '.join(skipped)}.", file=sys.stderr)
    print("\n".join(fixed) if fixed else f"{len(dependencies)} pinned packages have no known vulnerability with a fix.")
    return 1 if fixed else 0


if __name__ == "__main__":
    sys.exit(audit(sys.argv[1:] or COMMAND))
