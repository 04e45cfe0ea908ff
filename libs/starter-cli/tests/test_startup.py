from threading import Barrier, Event

import pytest
from starter_cli.errors import Failure
from starter_cli.startup import Happening, Step, run_all


def nothing(_happening: Happening) -> None:
    pass


def test_steps_that_do_not_need_each_other_run_side_by_side() -> None:
    both_here = Barrier(2, timeout=10)
    run_all([Step("one", both_here.wait), Step("two", both_here.wait)], Event(), nothing)
    assert not both_here.broken


def test_a_step_runs_after_those_it_needs() -> None:
    told: list[Happening] = []
    steps = [Step("first", lambda: None), Step("second", lambda: None, "http://here", needs=["first"])]
    run_all(steps, Event(), told.append)
    assert [(each.part, each.seconds is not None) for each in told] == [
        ("first", False),
        ("first", True),
        ("second", False),
        ("second", True),
    ]
    assert told[-1].address == "http://here"


def test_the_first_failure_cancels_the_others() -> None:
    cancelled, reached = Event(), Event()

    def fail() -> None:
        raise Failure("first", "no luck")

    steps = [Step("first", fail), Step("other", cancelled.wait), Step("last", reached.set, needs=["first"])]
    with pytest.raises(Failure, match="no luck"):
        run_all(steps, cancelled, nothing)
    assert cancelled.is_set()
    assert not reached.is_set()
