"""Measuring on a machine that stands still now and then."""

from testkit.stopwatch import Stopwatch


def test_a_pause_of_the_machine_is_not_counted() -> None:
    times = iter([0.0, 0.5, 1.0, 91.0, 91.5])
    stopwatch = Stopwatch(lambda: next(times))
    for _ in range(4):
        stopwatch.tick()
    assert stopwatch.seconds == 2.5


def test_counts_while_its_block_lasts() -> None:
    with Stopwatch() as stopwatch:
        pass
    assert stopwatch.seconds > 0
