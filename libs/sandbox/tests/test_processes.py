"""Waiting for processes, on a machine that stands still now and then, and ports for them."""

import random
from collections.abc import Iterable
from itertools import chain, count, repeat
from types import SimpleNamespace

import pytest
from sandbox import processes

STALL = 90.0


def set_clock(monkeypatch: pytest.MonkeyPatch, times: Iterable[float]) -> None:
    clock = iter(times)
    monkeypatch.setattr(
        processes, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda _: None)
    )


def test_several_looks_follow_a_pause_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    set_clock(monkeypatch, chain([0.0], count(STALL)))
    looks = chain(repeat(False, 20), [True])
    assert processes.wait_until(lambda: next(looks), seconds=60)


def test_waiting_ends_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    set_clock(monkeypatch, count(0.0))
    looks = repeat(False, 61)
    assert not processes.wait_until(lambda: next(looks), seconds=60)


def test_a_free_port_is_returned_once_also_while_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    first = processes.free_port()
    draws = chain([first], random.sample(processes.NON_EPHEMERAL_PORTS, 100))
    monkeypatch.setattr(processes, "random", SimpleNamespace(choice=lambda _: next(draws)))
    assert processes.free_port() != first
