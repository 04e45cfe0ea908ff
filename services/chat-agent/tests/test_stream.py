"""One turn of chat, as a stream of events."""

from collections.abc import Callable, Iterable
from uuid import uuid4

import httpx
import pytest
from chat_agent.settings import Settings
from redis import Redis
from testkit.eventually import until
from testkit.sse import Event, events

from .client_helpers import RUNS, read_events, start_streaming_run

STREAM = "/api/v1/chat/stream"
SLOWLY = {"message": "Slowly [sandbox: tokens=40] [sandbox: rate=60/s]"}
PAUSING = {"message": "Slowly [sandbox: tokens=40, pause-after=20]"}
BOTH = "What time is it, and can you review this Python function? def add(a, b): return a - b"


def received_events(client: httpx.Client, message: str, **more: object) -> list[Event]:
    with client.stream("POST", STREAM, json={"message": message, **more}) as answer:
        assert answer.status_code == 200, answer.read()
        return list(events(answer))


def of_type(received: Iterable[Event], type: str) -> list[dict]:
    return [event.data for event in received if event.type == type]


def test_events_are_numbered_without_holes_and_end_once(ann: httpx.Client) -> None:
    received = received_events(ann, BOTH)
    assert [event.id for event in received] == list(range(1, len(received) + 1))
    assert all(event.data["seq"] == event.id and event.data["type"] == event.type for event in received)
    assert len({(event.data["run_id"], event.data["conversation_id"]) for event in received}) == 1
    terminal = {"run.completed", "run.failed", "run.cancelled", "run.waiting"}
    assert [event.type for event in received if event.type in terminal] == ["run.completed"]
    assert (received[0].type, received[-1].type) == ("run.started", "run.completed")
    assert (received[0].data["agent"], received[0].data["model"]) == ("triage", "sandbox-large")


def test_tools_and_handoffs_are_seen(ann: httpx.Client) -> None:
    received = received_events(ann, BOTH)
    (called,), (output,) = of_type(received, "tool.called"), of_type(received, "tool.output")
    assert called["name"] == output["name"] == "current_time"
    assert called["call_id"] == output["call_id"]
    assert output["output"].startswith("20")
    (changed,) = of_type(received, "agent.changed")
    assert (changed["from"], changed["to"]) == ("triage", "code_assistant")
    kinds = [item["item"]["kind"] for item in of_type(received, "item.completed")]
    assert sorted(kinds) == ["handoff", "message", "tool_call", "tool_output"]
    (completed,) = of_type(received, "run.completed")
    assert (completed["agent"], completed["handoffs"]) == ("code_assistant", ["code_assistant"])


def test_the_deltas_are_the_answer(ann: httpx.Client) -> None:
    received = received_events(ann, "Tell me something [sandbox: tokens=50]")
    texts = "".join(delta["delta"] for delta in of_type(received, "message.delta"))
    (message,) = [
        one["item"] for one in of_type(received, "item.completed") if one["item"]["kind"] == "message"
    ]
    (completed,) = of_type(received, "run.completed")
    assert texts == message["text"] == completed["output"]
    assert {delta["item_id"] for delta in of_type(received, "message.delta")} == {message["id"]}


def test_reasoning_is_separate_from_the_answer(ann: httpx.Client) -> None:
    received = received_events(ann, "Think about it [sandbox: reasoning]")
    assert of_type(received, "reasoning.delta")
    assert "reasoning" in [item["item"]["kind"] for item in of_type(received, "item.completed")]
    assert of_type(received, "run.completed")[0]["usage"]["reasoning_tokens"] > 0


def test_a_refusal_is_an_answer(ann: httpx.Client) -> None:
    received = received_events(ann, "Do something bad [sandbox: refuse]")
    message = of_type(received, "item.completed")[-1]["item"]
    assert message["refusal"] is True
    assert message["text"]


def test_headers_and_comments_come_while_the_model_is_silent(
    ann: httpx.Client, resume_model: Callable[[], None]
) -> None:
    silent = {"message": "Hi [sandbox: pause-after=0]"}
    with ann.stream("POST", STREAM, json=silent) as answer:
        assert (answer.status_code, "acme-run-id" in answer.headers) == (200, True)
        lines = answer.iter_lines()
        assert next(line for line in lines if line.startswith(":")) == ": keep-alive"
        resume_model()
        assert "event: run.completed" in list(lines)


def test_head_of_a_stream_opens_none(
    ann: httpx.Client, settings: Settings, resume_model: Callable[[], None]
) -> None:
    run = start_streaming_run(ann, PAUSING["message"])
    path = f"{RUNS}/{run['id']}/events"
    # Twice as many as may be open at once.
    for _ in range(2 * settings.chat_resume_concurrent_limit):
        answer = ann.head(path)
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["content-type"].startswith("text/event-stream")
    resume_model()
    assert read_events(ann, run)[-1].type == "run.completed"


def test_each_event_comes_at_once(ann: httpx.Client, resume_model: Callable[[], None]) -> None:
    with ann.stream("POST", STREAM, json=PAUSING) as answer:
        received = events(answer)
        first = next(event for event in received if event.type == "message.delta")
        # The model says no more before it is resumed.
        resume_model()
        text = first.data["delta"] + "".join(one["delta"] for one in of_type(received, "message.delta"))
    assert len(text) > len(first.data["delta"])


def test_a_stream_can_be_resumed_after_any_event(ann: httpx.Client) -> None:
    received = received_events(ann, BOTH)
    path = f"/api/v1/runs/{received[0].data['run_id']}/events"
    for after in (0, 1, len(received) - 1):
        for way in ({"headers": {"Last-Event-ID": str(after)}}, {"params": {"after": after}}):
            with ann.stream("GET", path, **way) as answer:
                assert list(events(answer)) == received[after:]


@pytest.mark.parametrize("bad", ["-1", "x", "1.5", "99999999999", "\u0661"])
def test_a_place_to_resume_from_must_be_one(ann: httpx.Client, bad: str) -> None:
    run_id = received_events(ann, "Hi")[0].data["run_id"]
    answer = ann.get(f"/api/v1/runs/{run_id}/events", params={"after": bad})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_event_id")


def test_a_place_in_the_future_is_refused_when_the_run_is_over(ann: httpx.Client) -> None:
    run_id = received_events(ann, "Hi")[-1].data["run_id"]

    def refused() -> bool:
        answer = ann.get(f"/api/v1/runs/{run_id}/events", params={"after": 9999})
        return answer.json()["code"] == "invalid_event_id"

    until(refused)


def test_a_place_in_the_future_is_refused_while_the_run_goes_on(ann: httpx.Client, resume_model) -> None:
    with ann.stream("POST", STREAM, json=PAUSING) as answer:
        run_id = next(events(answer)).data["run_id"]
        refused = ann.get(f"/api/v1/runs/{run_id}/events", params={"after": 9999})
        resume_model()
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_event_id")


def test_a_client_that_has_all_events_need_not_resume(ann: httpx.Client) -> None:
    last = received_events(ann, "Hi")[-1]
    path = f"/api/v1/runs/{last.data['run_id']}/events"
    assert ann.get(path, headers={"Last-Event-ID": str(last.id)}).status_code == 204


def test_an_expired_log_says_so(ann: httpx.Client, redis_url: str) -> None:
    last = received_events(ann, "Hi")[-1]
    run_id = last.data["run_id"]
    log = f"run:{{{run_id}}}:events"
    with Redis.from_url(redis_url) as redis:
        until(lambda: redis.xlen(log) == last.id)
        redis.delete(log)
    path = f"/api/v1/runs/{run_id}/events"
    # The replica that ran it lets go of its own copy a moment after all of it is recorded.
    until(lambda: ann.get(path).status_code == 410)
    for after in (0, 1):
        assert ann.get(path, params={"after": after}).json()["code"] == "run_log_expired"


def test_a_client_that_goes_away_does_not_stop_the_run(ann: httpx.Client, other_services) -> None:
    with ann.stream("POST", STREAM, json=SLOWLY) as answer:
        first = next(events(answer))
    run_path = f"/api/v1/runs/{first.data['run_id']}"
    until(lambda: ann.get(run_path).json()["status"] == "completed")
    run = ann.get(run_path).json()
    assert other_services.messages(run["conversation_id"])[-1] == ("assistant", run["output"])
    assert run["usage"]["output_tokens"] > 0


def test_usage_is_published_to_the_other_services(ann: httpx.Client, completed_events) -> None:
    completed = received_events(ann, BOTH)[-1].data
    (event,) = until(lambda: completed_events(completed["run_id"]))
    assert event["status"] == "completed"
    assert sum(model["output_tokens"] for model in event["usage"]) == completed["usage"]["output_tokens"]


def test_two_runs_do_not_talk_in_one_conversation(ann: httpx.Client, resume_model) -> None:
    with ann.stream("POST", STREAM, json=PAUSING) as answer:
        conversation_id = next(events(answer)).data["conversation_id"]
        again = {"message": "And?", "conversation_id": conversation_id, "on_conflict": "reject"}
        second = ann.post("/api/v1/chat", json=again)
        resume_model()
    assert (second.status_code, second.json()["code"]) == (409, "conversation_busy")
    assert second.headers["retry-after"]


def test_a_key_joins_a_stream_that_is_going_on(ann: httpx.Client, resume_model) -> None:
    request = {"json": PAUSING, "headers": {"Idempotency-Key": "k"}}
    with ann.stream("POST", STREAM, **request) as one, ann.stream("POST", STREAM, **request) as other:
        assert other.headers["idempotent-replayed"] == "true"
        resume_model()
        assert list(events(one)) == list(events(other))


def test_only_so_many_streams_stand_at_once(person: Callable[..., httpx.Client], url: str) -> None:
    ann = person(tenant_id=uuid4())
    endless = {"json": {"message": "Tell me a long story [sandbox: tokens=60, stall-after=30]"}}
    with (
        ann.stream("POST", STREAM, **endless) as first,
        ann.stream("POST", STREAM, **endless) as second,
        ann.stream("POST", STREAM, **endless) as third,
    ):
        fourth = ann.post(STREAM, **endless)
        assert (fourth.status_code, fourth.json()["code"]) == (429, "concurrency_limited")
        assert fourth.headers["retry-after"]
        for stream in (first, second, third):
            ann.post(f"/api/v1/runs/{stream.headers['acme-run-id']}/cancel")
    until(lambda: ann.post(STREAM, json={"message": "Now?"}).status_code == 200)


def test_only_so_many_answers_a_minute(person: Callable[..., httpx.Client], settings) -> None:
    ann = person(tenant_id=uuid4())
    request = {"json": {"message": "Hi", "agent_type": "nobody"}}
    # While they are sent, a few come back.
    answers = [ann.post("/api/v1/chat", **request) for _ in range(settings.chat_rate_limit_per_minute + 20)]
    assert {answer.status_code for answer in answers} == {404, 429}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert int(refused.headers["retry-after"]) >= 1
    assert "ratelimit" in refused.headers
