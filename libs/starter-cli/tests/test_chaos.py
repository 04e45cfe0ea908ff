"""What scripts/chaos finds: a check that finds nothing must have looked."""

from collections.abc import Iterator
from importlib import import_module
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from starter_cli.events import RunEvent
from starter_cli.paths import CHECKOUT

TEXT = "One two three."
QUESTION = {"data": {"type": "message", "role": "user"}}
ANSWER = {"data": {"type": "message", "role": "assistant"}}
CALL = {"data": {"type": "function_call", "call_id": "1"}}
OUTPUT = {"data": {"type": "function_call_output", "call_id": "1"}}


@pytest.fixture(scope="module")
def chaos() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(CHECKOUT)
        yield SimpleNamespace(
            **{
                name: import_module(f"scripts.chaos.{name}")
                for name in ("checks", "faults", "kinds", "verification")
            }
        )


def events(*result: tuple[str, dict[str, Any]]) -> list[RunEvent]:
    numbers = count(1)
    return [RunEvent(str(next(numbers)), type_, data) for type_, data in result]


def delta(text: str, item: str = "item_1") -> tuple[str, dict[str, Any]]:
    return "message.delta", {"item_id": item, "delta": text}


STARTED: tuple[str, dict[str, Any]] = ("run.started", {})
COMPLETED: tuple[str, dict[str, Any]] = ("run.completed", {})
GOOD = events(STARTED, *map(delta, ["One", " two", " three", "."]), COMPLETED)
RESUMED = events(
    STARTED,
    delta("One"),
    ("run.resumed", {"withdrawn": ["item_1"]}),
    *(delta(token, "item_2") for token in ["One", " two", " three", "."]),
    COMPLETED,
)


@pytest.fixture
def wrong(chaos: Any) -> Any:
    """Return a function that lists what is wrong with a run that is good but for one change."""

    def look(
        received: list[RunEvent] = GOOD,
        log: list[RunEvent] | None = None,
        kind: str = "plain",
        **more: Any,
    ) -> dict[str, int]:
        kinds = {one.name: one for one in (chaos.kinds.PLAIN, *chaos.kinds.OTHERS)}
        run_client = SimpleNamespace(
            events=received, has_ended=received[-1].type == "run.completed", kind=kinds[kind]
        )
        counted = {"input": 10, "output": 4, "cached": 0, "reasoning": 0}
        usage = {f"{name}_tokens": number for name, number in counted.items()}
        good = {
            "calls": [{"status": "completed", "text": TEXT, "usage": counted}],
            "run": {"status": "completed", "output": TEXT, "usage": usage},
            "items": [QUESTION, CALL, OUTPUT, ANSWER],
            "last_message": TEXT,
        }
        run = chaos.verification.RunRecord(
            run_client, log=received if log is None else log, **{**good, **more}
        )
        errors: dict[str, int] = chaos.checks.find_errors(run)
        return errors

    return look


@pytest.mark.parametrize("received", [GOOD, RESUMED], ids=["at once", "resumed"])
def test_finds_nothing_where_nothing_is_wrong(wrong: Any, received: list[RunEvent]) -> None:
    assert wrong(received) == {}


def test_finds_numbers_that_are_missing_repeated_or_out_of_order(wrong: Any) -> None:
    assert wrong([*GOOD[:2], *GOOD[3:]], GOOD)["sequence numbers missing"] == 1
    assert wrong([*GOOD[:3], *GOOD[2:]], GOOD)["sequence numbers repeated"] == 1
    assert wrong([GOOD[0], GOOD[2], GOOD[1], *GOOD[3:]], GOOD)["sequence numbers out of order"] == 1


def test_finds_tokens_that_are_missing_repeated_or_out_of_order(wrong: Any) -> None:
    def answer_of(*tokens: str) -> list[RunEvent]:
        return events(STARTED, *map(delta, tokens), COMPLETED)

    assert wrong(answer_of("One", " three", "."))["tokens missing"] == 1
    assert wrong(answer_of("One", " two", " two", " three", "."))["tokens repeated"] == 1
    assert wrong(answer_of("One", " three", " two", "."))["tokens out of order"] == 2


def test_finds_text_that_is_not_withdrawn_before_it_is_sent_again(wrong: Any) -> None:
    stored = [event for event in RESUMED if event.type != "run.resumed"]
    assert wrong(stored)["tokens repeated"] == 1


def test_finds_what_was_stored_differently(wrong: Any) -> None:
    assert wrong(last_message="One")["texts other than the last message"] == 1
    assert wrong(items=[QUESTION, CALL, ANSWER])["tool calls without their one output"] == 1
    assert wrong(items=[QUESTION, QUESTION, ANSWER])["user messages but for one"] == 1
    assert wrong(items=[QUESTION])["assistant messages but for one"] == 1


def test_finds_a_log_that_tells_something_else(wrong: Any) -> None:
    assert wrong(log=GOOD[:-1])["terminal events but for one in the log"] == 1
    assert wrong(log=events(STARTED, *map(delta, ["1", " two", " three", "."]), COMPLETED)) == {
        "events other than in the log": 1
    }


def test_finds_runs_that_failed_or_were_not_read_to_the_end(wrong: Any) -> None:
    assert wrong(run={"status": "failed"})["runs that ended otherwise than their kind"] == 1
    assert wrong(GOOD[:-1])["runs whose end was not received"] == 1
    assert wrong([*GOOD, *GOOD[-1:]])["received terminal events but for one"] == 1


def test_a_kind_of_runs_ends_as_it_should(wrong: Any) -> None:
    failed = {"status": "failed", "error_code": "model_unavailable"}
    kinds = ("model that answers 500", "model that hangs")
    ends = "runs that ended otherwise than their kind"
    assert [wrong(run=failed, kind=kind).get(ends, 0) for kind in kinds] == [0, 1]


@pytest.mark.parametrize(("calls", "repeated", "differing"), [(0, 0, 1), (1, 0, 0), (2, 1, 1)])
def test_finds_calls_that_were_repeated_or_never_made(
    wrong: Any, calls: int, repeated: int, differing: int
) -> None:
    found = wrong(kind="HTTP tool", tool_calls=calls)
    assert found.get("tool calls repeated", 0) == repeated
    assert found.get("tool calls but for one", 0) == differing


@pytest.mark.parametrize(("memories", "differing"), [(0, 1), (1, 0), (2, 1)])
def test_finds_memories_that_are_missing_or_doubled(wrong: Any, memories: int, differing: int) -> None:
    assert wrong(kind="memory", memories=memories).get("memories but for one", 0) == differing


def test_finds_what_no_guardrail_let_pass(wrong: Any) -> None:
    assert wrong(kind="refused by a judge")["texts that no guardrail let pass"] > 0
    failed = events(STARTED, ("run.failed", {}))
    run = {"status": "failed", "error_code": "guardrail_triggered"}
    found = wrong(failed, kind="refused by a judge", run=run, items=[])
    assert "texts that no guardrail let pass" not in found


@pytest.mark.parametrize("rest", [GOOD[2:], GOOD[-1:], []], ids=["a part", "its end", "nothing"])
def test_a_log_may_lack_what_it_had_when_redis_was_emptied(wrong: Any, rest: list[RunEvent]) -> None:
    assert wrong(log=rest, is_log_lost=True) == {}
    assert wrong(log=rest) != {}


def test_finds_what_a_log_lacks_after_redis_was_emptied(wrong: Any) -> None:
    assert "terminal events but for one in the log" in wrong(log=GOOD[2:-1], is_log_lost=True)
    assert wrong(log=[GOOD[2], *GOOD[4:]], is_log_lost=True)["sequence numbers wrong in the log"] == 1


@pytest.mark.parametrize("words", ["flush postgres", "refuse-writes valkey", "burn valkey"])
def test_a_fault_that_cannot_happen_is_refused(chaos: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        chaos.faults.Fault.parse(words)


def test_finds_tokens_of_an_undisturbed_run_that_were_miscounted(wrong: Any) -> None:
    usage = {"input_tokens": 10, "output_tokens": 5, "cached_tokens": 0, "reasoning_tokens": 0}
    run = {"status": "completed", "output": TEXT, "usage": usage}
    assert wrong(run=run) == {"tokens of undisturbed runs miscounted": 1}
    assert wrong(RESUMED, run=run) == {}
