"""How threads wait for each other where other programs want the processors too.

OpenMP's threads spin between two pieces of work, which is a little faster where nobody else computes. Beside other
programs each spins in the time that the one it waits for would need. The runtime reads the setting once, when torch is
imported.
"""

import os
import sys
from collections.abc import MutableMapping

SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Variables by which a person says how threads wait: of every OpenMP, of GCC's, and of Intel's and LLVM's."""
BUSY_SHARE = 0.5
"""Programs that want to run, on average over the last minute, by processor, from which on a machine is busy."""


def wait_passively_if_busy(environment: MutableMapping[str, str] = os.environ) -> str | None:
    """Make threads sleep while they wait, where the machine is busy and the person hasn't said how they wait.

    Args:
        environment: where the setting is read and made.

    Returns:
        What is to be said; None where nothing was changed.
    """
    if "torch" in sys.modules or any(name in environment for name in SETTINGS):
        return None
    processors = os.cpu_count() or 1
    try:
        load = os.getloadavg()[0]
    except OSError:  # not told on this machine
        return None
    if load < BUSY_SHARE * processors:
        return None
    environment["OMP_WAIT_POLICY"] = "passive"
    return (
        f"This machine is busy (load {load:.1f} on {processors} processor{'s' * (processors != 1)}), so threads "
        "wait passively; set OMP_WAIT_POLICY=active to let them spin."
    )
