"""Measuring two ways of doing the same thing: alternately, in one process, with the machine's own peak beside them."""

import platform
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Comparison:
    """A thing that is done in the plain way and in ours."""

    name: str
    wanted: str
    """What the ratio should be."""
    sizes: dict[str, Any]
    """How many of what."""
    plain: Callable[[], Any]
    ours: Callable[[], Any]
    agree: Callable[[Any, Any], None]
    """Raises where the two ways don't give the same."""
    pairs: int = 3
    counts_flops: bool = True


@dataclass
class Memory:
    """The most resident memory of this process while a block runs, in bytes."""

    peak: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Memory":
        """Begin to look."""
        process = psutil.Process()

        def look() -> None:
            while not self._stop.is_set():
                self.peak = max(self.peak, process.memory_info().rss)
                self._stop.wait(0.02)

        self._thread = threading.Thread(target=look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop looking."""
        self._stop.set()
        self._thread.join()


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that something takes, and what it gives."""
    begun = time.perf_counter()
    result = work()
    return time.perf_counter() - begun, result


def matmul_peak() -> float:
    """The most float32 operations a second that a matrix product reaches here."""
    matrix = torch.ones(1536, 1536)
    matrix @ matrix
    best = min(timed(lambda: matrix @ matrix)[0] for _ in range(5))
    return float(2 * 1536**3 / best)


def operations(work: Callable[[], Any]) -> int:
    """How many floating-point operations the matrix products in something take."""
    counter = FlopCounterMode(display=False)
    with counter:
        work()
    return int(counter.get_total_flops())


def compare(case: Comparison) -> dict[str, Any]:
    """The median ratio of plain to ours over alternating pairs, after each was run and the two were seen to agree."""
    plain, ours, ratios, peaks = [], [], [], []
    peak = matmul_peak()
    for number in range(case.pairs):
        seconds, expected = timed(case.plain)
        plain.append(seconds)
        with Memory() as memory:
            seconds, found = timed(case.ours)
        ours.append(seconds)
        peaks.append(memory.peak)
        ratios.append(plain[-1] / ours[-1])
        if number == 0:
            case.agree(expected, found)
    measured: dict[str, Any] = {
        "ratio": statistics.median(ratios),
        "wanted": case.wanted,
        "ratios": ratios,
        "plain_seconds": statistics.median(plain),
        "ours_seconds": statistics.median(ours),
        "peak_bytes": max(peaks),
        "sizes": case.sizes,
    }
    if case.counts_flops:
        per_second = operations(case.ours) / statistics.median(ours)
        # other work beside this one slows both; the better of two moments is nearer to what the machine can do
        measured["share_of_peak"] = per_second / max(peak, matmul_peak())
    return measured


def machine() -> dict[str, Any]:
    """What this was measured on."""
    return {
        "processor": _processor(),
        "cores": torch.get_num_threads(),
        "matmul_gflops": matmul_peak() / 1e9,
        "memory_bytes": psutil.virtual_memory().total,
        "torch": torch.__version__,
        "dtype": "float32",
    }


def _processor() -> str:
    """The processor's name, where the system tells it."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text(encoding="utf-8").splitlines() if described.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
