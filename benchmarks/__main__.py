"""`make bench`: every comparison, written to benchmarks/out/bench.json as each is done."""

import json
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.comparisons import Benchmarks
from benchmarks.counted_steps import counted_steps, described
from benchmarks.measuring import compare, machine
from ia2.cache import written_whole
from ia2.models.load import load_model

OUT = Path(__file__).parent / "out" / "bench.json"
STEPS = "steps"
"""What the counts of single steps are called."""


def data_folder() -> Path:
    """The folder of real benchmark files."""
    data_dir = Path(os.environ.get("IA2_DATA_DIR") or Path(__file__).parents[2] / "shared" / "data")
    if not data_dir.is_dir():
        sys.exit(f"{data_dir}: no such folder. Set IA2_DATA_DIR to a folder of benchmark files.")
    return data_dir


def main(names: list[str]) -> None:
    """Run the comparisons of these names, or all; others keep what was measured of them before."""
    data_dir = data_folder()
    model = load_model("smollm2-135m", device="cpu", dtype="float32")
    found = json.loads(OUT.read_text(encoding="utf-8")) if OUT.exists() and names else {}
    found["machine"] = machine()
    with tempfile.TemporaryDirectory() as folder:
        benchmarks = Benchmarks(model, data_dir, Path(folder))
        if not names or STEPS in names:
            found[STEPS] = counted_steps(model, benchmarks.sst2, Path(folder))
            print(described(found[STEPS]), flush=True)
            with written_whole(OUT) as partial:
                partial.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        for case in benchmarks.all():
            if names and case.name not in names:
                continue
            found[case.name] = measured = compare(case)
            share = f", {measured['share_of_peak']:.0%} of the matmul peak" if "share_of_peak" in measured else ""
            seconds = f"{measured['plain_seconds']:.2f} s against {measured['ours_seconds']:.2f} s"
            print(f"{case.name}: {measured['ratio']:.2f} (wanted {case.wanted}), {seconds}{share}", flush=True)
            with written_whole(OUT) as partial:
                partial.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
