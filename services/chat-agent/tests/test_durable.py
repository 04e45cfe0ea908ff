"""A run outlives the process that works on it: killed or told to end, another one goes on with it."""

import contextlib
import itertools
import json
import runpy
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from chat_agent.agents import AGENTS
from chat_agent.main import create_app
from chat_agent.settings import Settings
from redis import Redis
from testkit.databases import query
from testkit.eventually import until
from testkit.fork_server import ForkServer
from testkit.issuer import Issuer
from testkit.live_server import NO_AUTHORITIES, serving
from testkit.service_process import ServiceProcess
from testkit.sse import Event, events
from testkit.stopwatch import Stopwatch

from .client_helpers import clients_with

STREAM = "/api/v1/chat/stream"
PAUSING = "Slowly [sandbox: tokens=60, pause-after=20]"
# Two replicas, which ask two models, say different things; and the one that is lost comes to no end before.
SMALL = "sandbox-small"
ONE_PAUSES = {
    "message": f"Hi [sandbox: only={SMALL}, tokens=40, pause-after=20] "
    "[sandbox: only=sandbox-large, tokens=60]"
}
TENANT, ANN = uuid4(), f"user:{uuid4()}"
REPLICA = Path(__file__).parent / "replica.py"
CLERK = runpy.run_path(str(REPLICA))["clerk"]
# Longer than a busy machine keeps a replica from renewing it.
LEASE = 5.0
NEVER = 60.0
# So many events has every run before the pause, however few a machine that stands still makes of its words.
BEGINNING = 3


@pytest.fixture(scope="module")
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"run_lease_seconds": LEASE})


@pytest.fixture
def database(settings: Settings) -> str:
    return settings.database_url.get_secret_value()


@pytest.fixture
def marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the tools of the clerk leave behind, in this process and in others."""
    monkeypatch.setenv("MARKS", str(tmp_path / "marks"))
    monkeypatch.setitem(AGENTS, "clerk", CLERK)
    return tmp_path / "marks"


@pytest.fixture
def replica(
    settings: Settings, marks: Path, fork_server: Callable[[Path], ForkServer], tmp_path: Path
) -> Iterator[Callable[..., ServiceProcess]]:
    """Start a replica as a process of its own, with other settings where that is asked for."""
    with contextlib.ExitStack() as stack:

        def start(**changed: object) -> ServiceProcess:
            own = settings.model_copy(update=changed)
            process = ServiceProcess(fork_server(REPLICA), tmp_path / "log").start(own, MARKS=str(marks))
            return stack.enter_context(process)

        yield start


@pytest.fixture
def other(settings: Settings, marks: Path) -> Iterator[str]:
    """Another replica, which is never lost."""
    with serving(create_app(settings)) as url:
        yield url


@pytest.fixture
def at(issuer: Issuer) -> Iterator[Callable[[str], httpx.Client]]:
    """Return the same person's client of any replica."""
    token = issuer.token(tenant_id=TENANT, subject=ANN, role="member")
    with clients_with(token) as client_at:
        yield client_at


def started(client: httpx.Client, request: dict[str, Any], most: int) -> list[Event]:
    """Read the beginning of a run, and no more."""
    received = []
    with client.stream("POST", STREAM, json=request) as answer:
        assert answer.status_code == 200, answer.read()
        for event in events(answer):
            received.append(event)
            if len(received) == most:
                return received
    raise AssertionError(f"the run ended after {len(received)} events: {received[-1]}")


def rest(client: httpx.Client, run_id: str, after: int = 0) -> list[Event]:
    """Read the rest of a run."""
    headers = {"Last-Event-ID": str(after)}
    with client.stream("GET", f"/api/v1/runs/{run_id}/events", headers=headers) as answer:
        assert answer.status_code == 200, answer.read()
        return list(events(answer))


def text_not_withdrawn(received: list[Event]) -> str:
    """Return the text of a stream that was not withdrawn."""
    texts: dict[str, str] = {}
    for event in received:
        if event.type == "message.delta":
            texts[event.data["item_id"]] = texts.get(event.data["item_id"], "") + event.data["delta"]
        for item_id in event.data.get("withdrawn", ()):
            texts.pop(item_id, None)
    return "".join(texts.values())


def is_whole(received: list[Event]) -> bool:
    """Return whether nothing is missing, doubled or out of its place, and the end comes once."""
    terminal = [
        event.type for event in received if event.type in {"run.completed", "run.failed", "run.cancelled"}
    ]
    return [event.id for event in received] == list(range(1, len(received) + 1)) and terminal == [
        received[-1].type
    ]


def row(settings: Settings, run_id: str) -> dict[str, Any]:
    (matches,) = query(settings.database_url.get_secret_value(), "select * from runs where id = $1", run_id)
    return dict(matches)


def test_a_run_goes_on_where_a_killed_replica_left_it(
    replica, other: str, at, other_services, settings: Settings, completed_events
) -> None:
    lost, here = replica(agent_model_default=SMALL), at(other)
    received_events = started(at(lost.url), ONE_PAUSES, most=BEGINNING)
    lost.kill()
    run_id, cursors = received_events[0].data["run_id"], (0, 1, 2, BEGINNING)
    with ThreadPoolExecutor() as readers:
        reading = readers.map(lambda after: rest(here, run_id, after), cursors)
        # When the lease ends, and not when somebody looks for other reasons: that would take minutes.
        until(lambda: row(settings, run_id)["attempt"] == 2)
        rests = list(reading)
    whole = rests[0]
    assert is_whole(whole)
    assert whole[:BEGINNING] == received_events
    assert [whole[after:] for after in cursors] == rests
    everywhere = range(0, len(whole), 4)
    assert [rest(here, run_id, after) for after in everywhere] == [whole[after:] for after in everywhere]

    (resumed,) = [event.data for event in whole if event.type == "run.resumed"]
    (message,) = [event.data["item"]["id"] for event in received_events if event.type == "item.started"]
    assert (resumed["withdrawn"], resumed["reason"]) == ([message], "worker_lost")
    run, last = row(settings, run_id), whole[-1].data
    assert_is_stored(whole, run, other_services)
    assert (run["status"], run["attempt"], run["losses"]) == ("completed", 2, 1)
    assert last["usage"]["estimated"] is True
    assert last["usage"]["requests"] == 2
    (received,) = until(lambda: completed_events(run_id))
    assert received["estimated"] is True


def test_another_replica_shows_the_model_the_image_of_a_run(replica, other: str, at) -> None:
    pixel = "data:image/gif;base64,R0lGODlhAQABAAAAACw="
    text = "What is this? [sandbox: rate=25/s]"
    content = [{"type": "input_text", "text": text}, {"type": "input_image", "image_url": pixel}]
    body = {"model": "triage", "input": [{"role": "user", "content": content}], "background": True}
    lost, here = replica(model_inputs={"sandbox-large": ["image"]}), at(other)
    response = at(lost.url).post("/v1/responses", json=body).json()
    started_run = f"/api/v1/runs/{UUID(response['id'].removeprefix('resp_'))}"
    with here.stream("GET", f"{started_run}/events") as answer:
        next(event for event in events(answer) if event.type == "message.delta")
    lost.kill()
    assert is_whole(rest(here, started_run.rpartition("/")[2]))
    run = here.get(started_run).json()
    assert (run["status"], run["error_code"]) == ("completed", None)
    assert "image/gif of 14 bytes" in run["output"]


def asks_clerk(*tools: str) -> dict[str, Any]:
    orders = ", ".join(f"call={name}" for name in tools)
    return {"message": f"Please [sandbox: {orders}]", "agent_type": "clerk"}


def killed_in_tool(replica, at, marks: Path, database: str, *tools: str) -> str:
    """Kill a replica while it calls tools; gives the run's id."""
    lost = replica()
    run_id = at(lost.url).post("/api/v1/runs", json=asks_clerk(*tools)).json()["id"]
    until(lambda: marks.exists() and sorted(marks.read_text().split()) == sorted(tools))
    if "book" in tools:
        until(lambda: query(database, "select 1 from tool_calls where output is not null"))
    lost.kill()
    marks.with_suffix(".go").touch()
    return run_id


def calls_and_outputs(other_services, conversation_id: str) -> list[tuple[str, str]]:
    """Return what was called in a conversation, and what came of it."""
    data = [item["data"] for item in other_services.items[conversation_id]]
    return [
        (item["type"], item.get("name") or item["output"])
        for item in data
        if item["type"].startswith("function_call")
    ]


def test_a_tool_that_may_be_called_again_is(
    replica, other: str, at, marks: Path, database, other_services
) -> None:
    run_id = killed_in_tool(replica, at, marks, database, "look")
    received = rest(at(other), run_id)
    assert is_whole(received)
    assert received[-1].type == "run.completed"
    assert marks.read_text().split() == ["look", "look"]
    conversation_id = received[0].data["conversation_id"]
    assert calls_and_outputs(other_services, conversation_id) == [
        ("function_call", "look"),
        ("function_call_output", "looked"),
    ]


def test_a_call_whose_outcome_is_written_down_is_not_made_again(
    replica, other: str, at, marks: Path, database: str, other_services
) -> None:
    run_id = killed_in_tool(replica, at, marks, database, "book", "look")
    received = rest(at(other), run_id)
    assert is_whole(received)
    assert received[-1].type == "run.completed"
    assert sorted(marks.read_text().split()) == ["book", "look", "look"]
    assert calls_and_outputs(other_services, received[0].data["conversation_id"]) == [
        ("function_call", "book"),
        ("function_call_output", "booked"),
        ("function_call", "look"),
        ("function_call_output", "looked"),
    ]
    called, outputs = of_kind(received, "tool.called"), of_kind(received, "tool.output")
    assert [data["call_id"] for data in outputs] == [
        data["call_id"] for data in called if data["call_id"] in {one["call_id"] for one in outputs}
    ]


def of_kind(received: list[Event], type: str) -> list[dict[str, Any]]:
    return [event.data for event in received if event.type == type]


def test_a_call_of_which_nobody_knows_how_it_ended_ends_the_run(
    replica, other: str, at, marks: Path, database: str, other_services
) -> None:
    run_id = killed_in_tool(replica, at, marks, database, "pay")
    received = rest(at(other), run_id)
    assert is_whole(received)
    assert (received[-1].type, received[-1].data["code"]) == ("run.failed", "tool_outcome_unknown")
    assert marks.read_text().split() == ["pay"]
    (call, output) = calls_and_outputs(other_services, received[0].data["conversation_id"])
    assert call == ("function_call", "pay")
    assert "nobody knows" in output[1]
    again = {"message": "And now?", "conversation_id": received[0].data["conversation_id"]}
    assert at(other).post("/api/v1/chat", json=again).status_code == 200


def test_a_replica_that_stops_hands_over_at_once(replica, other: str, at) -> None:
    # Its lease would keep others away for longer than this test may take.
    leaving, here = replica(run_lease_seconds=NEVER, agent_model_default=SMALL), at(other)
    received_events: list[Event] = []
    with at(leaving.url).stream("POST", STREAM, json=ONE_PAUSES) as answer:
        coming = events(answer)
        received_events += itertools.islice(coming, BEGINNING)
        leaving.terminate()
        with Stopwatch() as stopwatch:
            received_events += coming
    going_on = rest(here, received_events[0].data["run_id"], after=received_events[-1].id)
    whole = received_events + going_on
    # The server would wait 20 s for a stream that does not end.
    assert stopwatch.seconds < 15
    assert not any(event.type.startswith("run.") for event in received_events[1:])
    assert is_whole(whole)
    assert of_kind(whole, "run.resumed")[0]["reason"] == "handed_over"
    assert text_not_withdrawn(whole) == whole[-1].data["output"]
    assert whole[-1].data["usage"]["requests"] == 2
    assert leaving.wait() == 0


def test_who_waits_for_the_whole_answer_gets_it_from_the_leaving_replica(
    replica, other: str, at, settings: Settings, other_services
) -> None:
    leaving = replica(run_lease_seconds=NEVER, agent_model_default=SMALL)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(at(leaving.url).post, "/api/v1/chat", json=ONE_PAUSES)
        until(lambda: other_services.items)
        leaving.terminate()
        answer = waiting.result()
    assert answer.status_code == 200
    run = row(settings, answer.json()["run_id"])
    assert (answer.json()["response"], run["attempt"], run["losses"]) == (run["output"], 2, 0)
    assert leaving.wait() == 0


@pytest.mark.parametrize("is_streamed", [True, False])
def test_a_client_that_leaves_a_stopping_replica_cancels_nothing(
    replica, other: str, at, settings: Settings, resume_model, is_streamed: bool
) -> None:
    leaving, here = replica(run_lease_seconds=NEVER), at(other)
    token = here.headers["authorization"]
    message = {"role": "user", "content": PAUSING}
    body = json.dumps({"model": "triage", "messages": [message], "stream": is_streamed})
    with contextlib.closing(HTTPConnection(httpx.URL(leaving.url).netloc.decode(), timeout=60)) as leaver:
        sent = {"authorization": token, "content-type": "application/json"}
        leaver.request("POST", "/v1/chat/completions", body, sent)
        run_id = until(lambda: newest_running(here))
        leaving.terminate()
        until(lambda: row(settings, run_id)["attempt"] == 2)
    assert leaving.wait() == 0
    resume_model()
    assert is_whole(rest(here, run_id))
    assert row(settings, run_id)["status"] == "completed"


def newest_running(client: httpx.Client) -> str | None:
    """Return the id of the newest run if it is under way."""
    items = client.get("/api/v1/runs?status=running").json()["items"]
    return str(items[0]["id"]) if items else None


def test_a_replica_that_is_alone_takes_its_runs_up_again(replica, at) -> None:
    before = replica(run_lease_seconds=NEVER, agent_model_default=SMALL)
    received_events = started(at(before.url), ONE_PAUSES, most=BEGINNING)
    before.terminate()
    assert before.wait() == 0
    after = replica()
    whole = received_events + rest(at(after.url), received_events[0].data["run_id"], after=BEGINNING)
    assert is_whole(whole)
    assert text_not_withdrawn(whole) == whole[-1].data["output"]


def test_a_run_that_is_handed_over_is_claimed_at_once(replica, at) -> None:
    # By the clock alone, the other replica would look for it in ten minutes.
    leaving = replica(run_lease_seconds=NEVER, agent_model_default=SMALL)
    staying = replica(run_lease_seconds=3600)
    received_events = started(at(leaving.url), ONE_PAUSES, most=BEGINNING)
    leaving.terminate()
    whole = received_events + rest(at(staying.url), received_events[0].data["run_id"], after=BEGINNING)
    assert is_whole(whole)
    assert of_kind(whole, "run.resumed")[0]["reason"] == "handed_over"
    assert leaving.wait() == 0


def test_a_replica_that_stood_still_changes_nothing_any_more(
    replica, other: str, at, settings: Settings, other_services, resume_model
) -> None:
    asleep, here = replica(agent_model_default=SMALL), at(other)
    received_events = started(at(asleep.url), ONE_PAUSES, most=BEGINNING)
    asleep.pause()
    whole: list[Event] = []
    path = f"/api/v1/runs/{received_events[0].data['run_id']}/events"
    with here.stream("GET", path) as answer:
        for event in events(answer):
            whole.append(event)
            if event.type == "run.resumed":
                # It wakes to the rest of its answer.
                resume_model()
                asleep.resume()
    assert is_whole(whole)
    assert whole[:BEGINNING] == received_events
    assert_is_stored(whole, row(settings, received_events[0].data["run_id"]), other_services)
    assert rest(here, received_events[0].data["run_id"]) == whole


def test_a_replica_that_comes_too_late_to_store_its_answer_lets_the_run_go(
    at, settings: Settings, other_services, resume_model
) -> None:
    with serving(create_app(settings)) as url, ThreadPoolExecutor() as pool:
        received_events = started(at(url), {"message": PAUSING}, most=BEGINNING)
        run_id = received_events[0].data["run_id"]
        # As if the next attempt had opened its turn, and then been lost.
        other_services.attempts[run_id] = 2
        resume_model()
        reading = pool.submit(rest, at(url), run_id)
        # The next attempt asks the model again.
        resume_model()
        whole = reading.result()
    assert is_whole(whole)
    assert of_kind(whole, "run.resumed")
    run = row(settings, run_id)
    assert run["attempt"] == 2
    assert_is_stored(whole, run, other_services)


def assert_is_stored(received: list[Event], run: dict[str, Any], other_services) -> None:
    """Check that stream, row and conversation agree."""
    assert run["output"]
    assert text_not_withdrawn(received) == received[-1].data["output"] == run["output"]
    assert other_services.messages(str(run["conversation_id"]))[1:] == [("assistant", run["output"])]


def left_behind(
    settings: Settings, created: list[dict[str, Any]], other_services, losses: int = 0, message: str = "Hi"
) -> str:
    """Make a run as a lost replica leaves it: with what is stored of it, and a lease that has run out."""
    run_id, conversation_id = str(uuid4()), str(uuid4())
    values = (run_id, TENANT, ANN, conversation_id, losses, message)
    query(
        settings.database_url.get_secret_value(),
        "insert into runs (id, tenant_id, user_id, conversation_id, agent, model, message, status, owner,"
        " lease_expires_at, started_at, losses)"
        " values ($1, $2, $3, $4, 'triage', 'sandbox-large', $6, 'running', 'lost', now(), now(), $5)",
        *values,
    )
    request = {"type": "message", "role": "user", "content": message}
    other_services.owners[conversation_id] = f"{TENANT}/{ANN}"
    other_services.items[conversation_id] = [
        {"id": f"{run_id}-{number:04}", "data": data} for number, data in enumerate([request, *created], 1)
    ]
    return run_id


def answered(text: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"type": "message", "role": "assistant", "status": "completed", "id": "msg_1", "content": [part]}


@pytest.mark.parametrize("spoken_text", ["", "I am do", "I am done."])
def test_an_answer_that_is_stored_is_not_requested_again(
    at, settings: Settings, other_services, model_url: str, redis_url: str, spoken_text: str
) -> None:
    run_id = left_behind(settings, [answered("I am done.")], other_services)
    calls_before = httpx.get(f"{model_url}/_sandbox/calls", verify=NO_AUTHORITIES, timeout=60).json()
    log_of(redis_url, run_id, spoken_text, is_whole=spoken_text == "I am done.")
    with serving(create_app(settings)) as url:
        received = rest(at(url), run_id)
    assert is_whole(received)
    assert_is_stored(received, row(settings, run_id), other_services)
    assert received[-1].type == "run.completed"
    assert httpx.get(f"{model_url}/_sandbox/calls", verify=NO_AUTHORITIES, timeout=60).json() == calls_before
    assert received[-1].data["usage"]["estimated"] is True
    assert received[-1].data["usage"]["output_tokens"] > 0


def requests_of_model(model_url: str) -> Any:
    return httpx.get(f"{model_url}/_sandbox/calls", verify=NO_AUTHORITIES, timeout=60).json()


TOOL = {"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": {}}}


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({"input": "[sandbox: call=get_weather]", "tools": [TOOL]}, "completed", "function_call"),
        ({"input": "At length [sandbox: tokens=60]", "max_output_tokens": 5}, "incomplete", "message"),
    ],
)
def test_an_end_that_a_killed_replica_has_stored_is_the_end(
    replica, other: str, at, other_services, model_url: str, body: Any, status: str, kind: str
) -> None:
    lost = replica()
    other_services.is_silent_about_answers = True
    answer = at(lost.url).post("/v1/responses", json={"model": "triage", "background": True, **body})
    items = other_services.items
    until(lambda: len(items.get(answer.headers["acme-conversation-id"], ())) == 2)
    requests = requests_of_model(model_url)
    lost.kill()
    other_services.is_silent_about_answers = False

    def ended() -> Any:
        found = at(other).get(f"/v1/responses/{answer.json()['id']}").json()
        return found if found["status"] not in {"queued", "in_progress"} else None

    final = until(ended)
    assert (final["status"], [item["type"] for item in final["output"]]) == (status, [kind])
    assert requests_of_model(model_url) == requests


def test_the_outputs_of_a_clients_tools_outlive_a_killed_replica(
    replica, other: str, at, other_services, model_url: str
) -> None:
    lost, here = replica(), at(other)
    body = {"model": "triage", "tools": [TOOL]}
    question = "[sandbox: call=get_weather] [sandbox: tokens=60, pause-after=20]"
    first = at(lost.url).post("/v1/responses", json={**body, "input": question}).json()
    (call,) = first["output"]
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "Snow in Basel"}
    more = {"previous_response_id": first["id"], "input": [output], "background": True}
    second = at(lost.url).post("/v1/responses", json={**body, **more})
    run_id = str(UUID(second.json()["id"].removeprefix("resp_")))
    with here.stream("GET", f"/api/v1/runs/{run_id}/events") as answer:
        next(event for event in events(answer) if event.type == "message.delta")
    lost.kill()

    def goes_on() -> bool:
        httpx.post(f"{model_url}/_sandbox/resume", verify=NO_AUTHORITIES).raise_for_status()
        return reading.done()

    with ThreadPoolExecutor() as pool:
        reading = pool.submit(rest, here, run_id)
        until(goes_on)
    received = reading.result()
    assert is_whole(received)
    assert (received[-1].type, "Snow in Basel" in received[-1].data["output"]) == ("run.completed", True)
    conversation_id = second.headers["acme-conversation-id"]
    assert calls_and_outputs(other_services, conversation_id) == [
        ("function_call", "get_weather"),
        ("function_call_output", "Snow in Basel"),
    ]


def test_a_history_is_replaced_once(replica, other: str, at, other_services) -> None:
    lost = replica(agent_model_default=SMALL)
    path, thread = "/api/v1/agents/triage/ag-ui", str(uuid4())
    body = {"threadId": thread, "runId": "1", "messages": [{"id": "1", "role": "user", "content": "Hello"}]}
    assert at(lost.url).post(path, json=body).status_code == 200
    edited = [("user", "Good evening"), ("assistant", "Yes?"), ("user", ONE_PAUSES["message"])]
    body["messages"] = [
        {"id": str(number), "role": role, "content": text} for number, (role, text) in enumerate(edited)
    ]
    with at(lost.url).stream("POST", path, json=body) as answer:
        lines = answer.iter_lines()
        next(line for line in lines if "TEXT_MESSAGE_CONTENT" in line)
        lost.kill()
    run_id = answer.headers["acme-run-id"]
    assert rest(at(other), run_id)[-1].type == "run.completed"
    *history, final = other_services.messages(thread)
    assert (history, final[0]) == (edited, "assistant")
    assert len(other_services.superseded[thread]) == 2


def test_the_answer_of_a_lost_replica_is_counted_once(
    at, settings: Settings, other_services, redis_url: str, resume_model
) -> None:
    run_id = left_behind(settings, [], other_services, message=PAUSING)
    log_of(redis_url, run_id, "I am do", is_whole=False)
    path = f"/api/v1/runs/{run_id}/events"
    with serving(create_app(settings)) as url, at(url).stream("GET", path) as answer:
        received_events = events(answer)
        next(event for event in received_events if event.type == "message.delta" and event.id > 3)
    with serving(create_app(settings)) as url, ThreadPoolExecutor() as pool:
        reading = pool.submit(rest, at(url), run_id)
        resume_model()
        received = reading.result()
    assert is_whole(received)
    assert [data["reason"] for data in of_kind(received, "run.resumed")] == ["worker_lost", "handed_over"]
    # The lost one's, the one of the replica that was told to end, and the one that came to its end.
    assert received[-1].data["usage"]["requests"] == 3


def log_of(redis_url: str, run_id: str, spoken_text: str, *, is_whole: bool) -> None:
    """Write down what a lost replica has told."""
    item = {"id": "item_1", "kind": "message"}
    received: list[tuple[str, dict[str, Any]]] = [
        ("run.started", {"agent": "triage", "model": "sandbox-large"})
    ]
    if spoken_text:
        received += [
            ("item.started", {"item": item}),
            ("message.delta", {"item_id": "item_1", "delta": spoken_text}),
        ]
    if is_whole:
        received += [("item.completed", {"item": {**item, "role": "assistant", "text": spoken_text}})]
    with Redis.from_url(redis_url) as redis:
        for seq, (type_, fields) in enumerate(received, 1):
            data = json.dumps({"type": type_, "seq": seq, **fields})
            redis.xadd(f"run:{{{run_id}}}:events", {"type": type_, "data": data}, id=f"{seq}-0")
        redis.set(f"run:{{{run_id}}}:writer", 1)


def test_a_run_without_events_in_its_log_is_streamed_from_the_beginning(
    at, settings: Settings, other_services
) -> None:
    call = {"type": "function_call", "call_id": "c1", "name": "transfer_to_code_assistant", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c1", "output": "{'assistant': 'code_assistant'}"}
    run_id = left_behind(settings, [call, output], other_services)
    with serving(create_app(settings)) as url:
        received = rest(at(url), run_id)
    assert is_whole(received)
    assert received[0].type == "run.started"
    assert [data["to"] for data in of_kind(received, "agent.changed")] == ["code_assistant"]
    assert (received[-1].data["agent"], received[-1].data["handoffs"]) == (
        "code_assistant",
        ["code_assistant"],
    )


@pytest.mark.parametrize(("losses", "end"), [(4, "run.completed"), (5, "run.failed")])
def test_a_run_is_not_taken_over_for_ever(
    at, settings: Settings, other_services, losses: int, end: str
) -> None:
    run_id = left_behind(settings, [], other_services, losses)
    with serving(create_app(settings)) as url:
        received = rest(at(url), run_id)
    assert is_whole(received)
    assert received[-1].type == end
    assert received[-1].data.get("code") == ("worker_lost" if losses == 5 else None)


@pytest.mark.parametrize(
    ("change", "failure"),
    [
        ({"tenant_status": "suspended"}, "tenant_suspended"),
        ({"role": "viewer"}, "membership_ended"),
        (None, "membership_ended"),
    ],
)
def test_nobody_takes_over_the_run_of_an_owner_who_may_not_any_more(
    at, settings: Settings, other_services, change: dict[str, str] | None, failure: str
) -> None:
    other_services.membership_response = (
        None if change is None else {**other_services.membership_response, **change}
    )
    run_id = left_behind(settings, [], other_services)
    with serving(create_app(settings)) as url:
        received = rest(at(url), run_id)
    assert is_whole(received)
    assert (received[-1].type, received[-1].data["code"]) == ("run.failed", failure)
    assert other_services.membership_requests == [f"{TENANT}/{ANN}"]
    # Nothing was said that nobody may hear.
    assert text_not_withdrawn(received) == ""


def test_a_complete_answer_is_returned_also_without_membership(
    at, settings: Settings, other_services
) -> None:
    other_services.membership_response = None
    run_id = left_behind(settings, [answered("I am done.")], other_services)
    with serving(create_app(settings)) as url:
        received = rest(at(url), run_id)
    assert (received[-1].type, received[-1].data["output"]) == ("run.completed", "I am done.")


def test_nothing_of_a_run_that_is_not_stored_remains_after_a_kill(
    replica: Callable[..., ServiceProcess],
    other: str,
    at: Callable[[str], httpx.Client],
    settings: Settings,
    redis_url: str,
    other_services: Any,
) -> None:
    lost = replica(agent_model_default=SMALL)
    request = {"input": f"Wilhelmine {ONE_PAUSES['message']}", "store": False, "stream": True}
    with at(lost.url).stream("POST", "/v1/responses", json=request) as answer:
        run_id = answer.headers["acme-run-id"]
        # An iterator that nobody refers to is closed, and with it the connection, which cancels the run.
        lines = answer.iter_lines()
        next(line for line in lines if "response.output_text.delta" in line)
        assert "Wilhelmine" in str(row(settings, run_id))
        lost.kill()
    assert rest(at(other), run_id)[-1].type == "run.completed"
    until(lambda: answer.headers["acme-conversation-id"] not in other_services.items)
    assert "Wilhelmine" not in str(row(settings, run_id))
    assert json.loads(row(settings, run_id)["usage"])["output_tokens"] > 0
    with Redis.from_url(redis_url) as redis:
        assert redis.ttl(next(redis.scan_iter(f"run:*{run_id}*:events"))) <= 60
