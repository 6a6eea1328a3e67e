import resource

import pytest

from ia2.cli.memory_limit import LEAST, check_memory_limit


@pytest.mark.parametrize("limit", [LEAST, 2**40, resource.RLIM_INFINITY])
def test_enough_memory_is_no_matter(monkeypatch, limit):
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (limit, resource.RLIM_INFINITY))
    check_memory_limit()


def test_too_little_is_refused_before_libraries_ask_for_it(monkeypatch):
    asked = []

    def limits(kind):
        asked.append(kind)
        return 700 * 2**20, resource.RLIM_INFINITY

    monkeypatch.setattr(resource, "getrlimit", limits)
    with pytest.raises(MemoryError, match="ulimit -v allows 700 MiB, and the libraries alone take 1024"):
        check_memory_limit()
    assert asked == [resource.RLIMIT_AS]
