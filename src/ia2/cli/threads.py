"""Wait policy of OpenMP threads on a busy machine.

OpenMP threads spin while waiting for work, which is slightly faster on an idle machine. On a busy one, spinning threads
take processor time from the threads they wait for. The runtime reads the setting once, when torch is imported.
"""

import os
import sys
from collections.abc import MutableMapping

SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Environment variables for the wait policy: of every OpenMP, of GCC's, and of Intel's and LLVM's."""
BUSY_SHARE = 0.5
"""Load average of the last minute per processor from which on a machine counts as busy."""


def wait_passively_if_busy(environment: MutableMapping[str, str] = os.environ) -> str | None:
    """Make waiting threads sleep if the machine is busy and the user hasn't set the wait policy.

    Args:
        environment: environment variables, read and changed.

    Returns:
        A message for the user; None if nothing was changed.
    """
    if "torch" in sys.modules or any(name in environment for name in SETTINGS):
        return None
    processors = os.cpu_count() or 1
    try:
        load = os.getloadavg()[0]
    except OSError:  # not available on this machine
        return None
    if load < BUSY_SHARE * processors:
        return None
    environment["OMP_WAIT_POLICY"] = "passive"
    return (
        f"This machine is busy (load {load:.1f} on {processors} processor{'s' * (processors != 1)}), so threads "
        "wait passively; set OMP_WAIT_POLICY=active to let them spin."
    )
