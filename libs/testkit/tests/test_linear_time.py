from statistics import median

from testkit.linear_time import Use, describe_problem, repeating
from testkit.machine_speed import REFERENCE_MILLISECONDS, exceeds, measure_work

TEXT = repeating("a")


def count(text: str, power: int, divisor: int = 1) -> int:
    """Count as many steps as a text is long, to a power."""
    return sum(1 for _ in range(len(text) ** power // divisor))


def test_finds_what_takes_quadratic_time_and_nothing_else() -> None:
    assert "for 4 times as much" in describe_problem(Use(lambda text: count(text, 2, 400), None), TEXT)
    assert describe_problem(Use(lambda text: count(text, 1), None), TEXT) == ""
    assert describe_problem(Use(len, None), TEXT) == ""


def test_finds_what_is_slow_for_the_longest_text() -> None:
    assert describe_problem(Use(lambda text: count(text, 2), 2_000), TEXT).endswith(" ms")
    assert describe_problem(Use(lambda text: count(text, 1), 2_000), TEXT) == ""


def test_finds_what_takes_three_times_as_long_on_a_machine_of_any_speed() -> None:
    duration = median(measure_work() for _ in range(9))
    assert exceeds(3 * duration, REFERENCE_MILLISECONDS)
    assert not exceeds(duration, 3 * REFERENCE_MILLISECONDS)
