import re
import signal
import threading
import time

import pytest

from ia2.time_limit import TimeLimitError, time_limit


def test_what_takes_too_long_is_ended_and_what_does_not_goes_on():
    with time_limit(5):
        pass
    begun = time.monotonic()
    with pytest.raises(TimeLimitError, match=r"this took over 0\.05 seconds"), time_limit(0.05):
        # one call of C's, which would take for ever
        re.fullmatch("(a|aa)+b", "a" * 100)
    assert time.monotonic() - begun < 5
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL


def test_a_limit_ends_with_its_block():
    with time_limit(0.05):
        pass
    time.sleep(0.1)


def test_an_error_of_the_blocks_stays_what_it_is():
    with pytest.raises(KeyError, match="7"), time_limit(5):
        raise KeyError(7)
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_other_threads_run_without():
    values = []

    def run():
        with time_limit(0.01):
            time.sleep(0.05)
            values.append(1)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert values == [1]
