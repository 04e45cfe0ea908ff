from threading import Barrier, Event

import pytest
from starter_cli.errors import Failure
from starter_cli.startup import Progress, Step, run_steps


def nothing(_progress: Progress) -> None:
    pass


def test_steps_that_do_not_need_each_other_run_side_by_side() -> None:
    both_here = Barrier(2, timeout=60)
    run_steps([Step("one", both_here.wait), Step("two", both_here.wait)], Event(), nothing)
    assert not both_here.broken


def test_a_step_runs_after_those_it_needs() -> None:
    progress: list[Progress] = []
    steps = [Step("first", lambda: None), Step("second", lambda: None, "http://here", needs=["first"])]
    run_steps(steps, Event(), progress.append)
    assert [(each.component, each.seconds is not None) for each in progress] == [
        ("first", False),
        ("first", True),
        ("second", False),
        ("second", True),
    ]
    assert progress[-1].address == "http://here"


def test_the_first_failure_cancels_the_others() -> None:
    cancelled, reached = Event(), Event()

    def fail() -> None:
        raise Failure("first", "no luck")

    steps = [Step("first", fail), Step("other", cancelled.wait), Step("last", reached.set, needs=["first"])]
    with pytest.raises(Failure, match="no luck"):
        run_steps(steps, cancelled, nothing)
    assert cancelled.is_set()
    assert not reached.is_set()
