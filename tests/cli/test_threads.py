import sys

import pytest

from ia2.cli import threads


@pytest.fixture
def machine(monkeypatch):
    """A machine of four processors on which torch isn't imported yet; called with its load."""
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(threads.os, "cpu_count", lambda: 4)
    return lambda load: monkeypatch.setattr(threads.os, "getloadavg", lambda: (load, 0.0, 0.0))


def test_threads_wait_passively_on_a_busy_machine_and_that_is_said(machine):
    machine(2.0)
    environment = {}
    said = threads.wait_passively_if_busy(environment)
    assert environment == {"OMP_WAIT_POLICY": "passive"}
    assert said.startswith("This machine is busy (load 2.0 on 4 processors)")


def test_nothing_is_changed_on_an_idle_machine(machine):
    machine(1.9)
    environment = {}
    assert threads.wait_passively_if_busy(environment) is None
    assert environment == {}


@pytest.mark.parametrize("setting", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
def test_what_the_person_says_stays(machine, setting):
    machine(9.0)
    environment = {setting: "7"}
    assert threads.wait_passively_if_busy(environment) is None
    assert environment == {setting: "7"}


def test_nothing_is_said_where_it_is_too_late(machine, monkeypatch):
    machine(9.0)
    monkeypatch.setitem(sys.modules, "torch", object())
    environment = {}
    assert threads.wait_passively_if_busy(environment) is None
    assert environment == {}
