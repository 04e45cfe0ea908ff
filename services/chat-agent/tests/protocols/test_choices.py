"""Several choices of one completion (`n`), with OpenAI's own client: each is a run, and all are counted."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import httpx
import openai
import pytest
from chat_agent.main import create_app
from chat_agent.settings import Settings
from openai import OpenAI
from sandbox.model import create_model
from testkit.eventually import until
from testkit.live_server import NO_AUTHORITIES, serving

HELLO: Any = [{"role": "user", "content": "Hello"}]
PAUSE = "tokens=60, pause-after=30"
PAUSING: Any = [{"role": "user", "content": f"Tell me something [sandbox: {PAUSE}]"}]
LONG: Any = [{"role": "user", "content": "Tell me something [sandbox: tokens=40]"}]
TOOL: Any = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


@pytest.fixture
def runs(ann: httpx.Client) -> Callable[[], list[dict[str, Any]]]:
    def read() -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = ann.get("/api/v1/runs").json()["items"]
        return items

    return read


def test_each_choice_is_a_run_and_all_are_counted(client: OpenAI, runs: Any) -> None:
    raw = client.chat.completions.with_raw_response.create(model="triage", messages=HELLO, n=3)
    whole = raw.parse()
    assert [choice.index for choice in whole.choices] == [0, 1, 2]
    assert all("Hello" in (choice.message.content or "") for choice in whole.choices)
    assert {choice.finish_reason for choice in whole.choices} == {"stop"}
    started = runs()
    ids = raw.headers["acme-run-id"].split(", ")
    assert whole.id == f"chatcmpl-{ids[0].replace('-', '')}"
    assert {run["id"] for run in started} == {*ids}
    assert len({run["conversation_id"] for run in started}) == len(ids) == 3
    assert whole.usage
    assert whole.usage.completion_tokens == sum(run["usage"]["output_tokens"] for run in started)
    assert whole.usage.prompt_tokens == sum(run["usage"]["input_tokens"] for run in started)


def test_chunks_say_which_choice_they_belong_to(client: OpenAI) -> None:
    request: dict[str, Any] = {"model": "triage", "messages": LONG, "n": 2, "stream": True}
    chunks = [*client.chat.completions.create(**request, stream_options={"include_usage": True})]
    whole = client.chat.completions.create(model="triage", messages=LONG, n=2)
    texts = ["", ""]
    for choice in [choice for chunk in chunks for choice in chunk.choices]:
        texts[choice.index] += choice.delta.content or ""
    assert texts == [choice.message.content for choice in whole.choices]
    ends = [(one.index, one.finish_reason) for chunk in chunks for one in chunk.choices if one.finish_reason]
    assert sorted(ends) == [(0, "stop"), (1, "stop")]
    assert len({chunk.id for chunk in chunks}) == 1
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert (chunks[-1].choices, chunks[-1].usage) == ([], whole.usage)


def test_the_clients_own_stream_helper_reads_all_choices(client: OpenAI) -> None:
    with client.chat.completions.stream(model="triage", messages=LONG, n=2) as stream:
        received = Counter(event.type for event in stream)
        final = stream.get_final_completion()
    assert received["content.done"] == len(final.choices) == 2
    assert all(choice.message.content for choice in final.choices)


def test_each_choice_calls_the_clients_tools(client: OpenAI) -> None:
    look: Any = [{"role": "user", "content": "Look [sandbox: call=look]"}]
    whole = client.chat.completions.create(model="triage", messages=look, tools=[TOOL], n=2)
    calls = [call for choice in whole.choices for call in choice.message.tool_calls or []]
    assert [choice.finish_reason for choice in whole.choices] == ["tool_calls", "tool_calls"]
    assert [call.function.name for call in calls] == ["look", "look"]
    messages: Any = [
        *look,
        whole.choices[1].message.to_dict(),
        {"role": "tool", "tool_call_id": calls[1].id, "content": "Nothing."},
    ]
    assert client.chat.completions.create(model="triage", messages=messages).choices[0].message.content


def test_choices_differ_by_their_seeds(settings: Settings, client: OpenAI, model_url: str) -> None:
    with (
        serving(create_app(settings.model_copy(update={"openai_api": "chat_completions"}))) as url,
        httpx.Client(base_url=f"{model_url}/_sandbox", timeout=60, verify=NO_AUTHORITIES) as model,
    ):
        model.delete("/calls")
        other = client.with_options(base_url=f"{url}/v1")
        other.chat.completions.create(model="triage", messages=HELLO, n=3, seed=-4)
        seeds = [call["parameters"]["seed"] for call in model.get("/calls").json()]
    assert sorted(seeds) == [-4, -3, -2]


def test_a_repeated_request_has_the_same_runs(client: OpenAI, runs: Any) -> None:
    request: dict[str, Any] = {"model": "triage", "messages": HELLO}
    request["extra_headers"] = {"Idempotency-Key": str(uuid4())}
    first, second = (client.chat.completions.create(**request, n=2) for _ in range(2))
    assert first == second
    assert len(runs()) == 2
    with pytest.raises(openai.APIStatusError) as refused:
        client.chat.completions.create(**request, n=3)
    assert refused.value.code == "idempotency_conflict"


@pytest.mark.parametrize("number", [0, 9, 1.5, "2", True])
def test_refuses_other_numbers(client: OpenAI, number: Any) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        client.chat.completions.create(model="triage", messages=HELLO, n=number)
    assert refused.value.param == "n"


def test_a_conversation_has_one_answer_to_a_message(client: OpenAI) -> None:
    metadata = {"conversation_id": str(uuid4())}
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="triage", messages=HELLO, n=2, metadata=metadata)
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "n")


def test_each_choice_counts_as_a_call(settings: Settings, client: OpenAI, runs: Any) -> None:
    few = settings.model_copy(update={"chat_rate_limit_per_minute": 2})
    with serving(create_app(few)) as url, pytest.raises(openai.RateLimitError):
        client.with_options(base_url=f"{url}/v1").chat.completions.create(model="triage", messages=LONG, n=3)
    # What has begun for nobody is cancelled, unless it was over already.
    until(lambda: {run["status"] for run in runs()} <= {"cancelled", "completed"})
    assert len(runs()) == 2


def test_a_failed_choice_ends_the_completion(client: OpenAI) -> None:
    failing: Any = [{"role": "user", "content": "Fail [sandbox: fail-after=5, tokens=20]"}]
    chunks = client.chat.completions.create(model="triage", messages=failing, n=2, stream=True)
    with pytest.raises(openai.APIError) as broken:
        for _ in chunks:
            pass
    with pytest.raises(openai.APIStatusError) as failed:
        client.chat.completions.create(model="triage", messages=failing, n=2)
    assert broken.value.code == failed.value.code == "model_unavailable"


class SplitModel:
    """A model that is asked something else by the second of its calls."""

    def __init__(self, text: str) -> None:
        self._model = create_model()
        self._text = text
        self._calls = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] != "/v1/responses":
            await self._model(scope, receive, send)
            return
        self._calls += 1
        is_second = self._calls == 2

        async def receive_changed() -> Any:
            message = await receive()
            if not is_second or message["type"] != "http.request":
                return message
            return {**message, "body": message["body"].replace(PAUSE.encode(), self._text.encode())}

        headers = [(name, value) for name, value in scope["headers"] if name != b"content-length"]
        await self._model({**scope, "headers": headers}, receive_changed, send)


@contextmanager
def split(settings: Settings, client: OpenAI, text: str) -> Iterator[tuple[OpenAI, httpx.Client]]:
    """Serve an app whose second call of a model has another text; yield its client and that of the model."""
    with serving(SplitModel(text)) as model_url:
        changes = {"openai_base_url": f"{model_url}/v1", "model_between_tokens_timeout_seconds": 600}
        with (
            serving(create_app(settings.model_copy(update=changes))) as url,
            httpx.Client(base_url=f"{model_url}/_sandbox", timeout=60, verify=NO_AUTHORITIES) as model,
        ):
            yield client.with_options(base_url=f"{url}/v1"), model


def statuses(runs: Any) -> list[str]:
    """Return the statuses of all runs."""
    return sorted(run["status"] for run in runs())


@pytest.mark.parametrize("is_streamed", [True, False])
def test_a_choice_that_fails_cancels_the_others(
    settings: Settings, client: OpenAI, runs: Any, is_streamed: bool
) -> None:
    request: dict[str, Any] = {"model": "triage", "messages": PAUSING, "n": 2, "stream": is_streamed}
    with split(settings, client, "error=400") as (other, _):
        with pytest.raises(openai.APIError) as failed:
            [*other.chat.completions.create(**request)]
        assert failed.value.code == "model_refused_request"
        until(lambda: statuses(runs) == ["cancelled", "failed"])


@pytest.mark.parametrize("is_streamed", [True, False])
def test_a_choice_that_fails_cancels_no_others_that_shall_continue(
    settings: Settings, client: OpenAI, runs: Any, is_streamed: bool
) -> None:
    request: dict[str, Any] = {"model": "triage", "messages": PAUSING, "n": 2, "stream": is_streamed}
    with split(settings, client, "error=400") as (other, model):
        with pytest.raises(openai.APIError):
            [*other.chat.completions.create(**request, metadata={"on_disconnect": "continue"})]

        def ended() -> bool:
            model.post("/resume")
            return "running" not in statuses(runs)

        until(ended)
        assert statuses(runs) == ["completed", "failed"]


def test_a_disconnect_cancels_no_choice_that_waits_for_an_approval(
    settings: Settings, client: OpenAI, ann: httpx.Client, runs: Any
) -> None:
    with split(settings, client, "call=forget_conversation") as (other, _):
        chunks = other.chat.completions.create(model="triage", messages=PAUSING, n=2, stream=True)
        for chunk in chunks:
            if any(choice.finish_reason for choice in chunk.choices):
                break
        chunks.close()
        until(lambda: "cancelled" in statuses(runs))
        (run_id,) = [run["id"] for run in runs() if run["status"] == "waiting"]
        (approval,) = ann.get(f"/api/v1/runs/{run_id}").json()["approvals"]
        path = f"/api/v1/runs/{run_id}/approvals/{approval['id']}"
        assert ann.post(path, json={"approve": False}).status_code == 200


def test_choices_that_are_not_stored(client: OpenAI, other_services: Any) -> None:
    request: dict[str, Any] = {"model": "triage", "messages": HELLO, "n": 2, "store": False}
    raw = client.chat.completions.with_raw_response.create(**request)
    assert len(raw.parse().choices) == 2
    conversations = raw.headers["acme-conversation-id"].split(", ")
    until(lambda: not [one for one in conversations if other_services.items.get(one)])


def test_each_choice_waits_for_its_own_approval(client: OpenAI, ann: httpx.Client) -> None:
    forget: Any = [{"role": "user", "content": "Forget it [sandbox: call=forget_conversation]"}]
    raw = client.chat.completions.with_raw_response.create(model="triage", messages=forget, n=2)
    whole: Any = raw.parse()
    assert whole.acme["status"] == "waiting"
    runs = [ann.get(f"/api/v1/runs/{one}").json() for one in raw.headers["acme-run-id"].split(", ")]
    pending = [(run["id"], approval["id"]) for run in runs for approval in run["approvals"]]
    requested = [(approval["run_id"], approval["approval_id"]) for approval in whole.acme["approvals"]]
    assert requested == pending
    request: dict[str, Any] = {"model": "triage", "messages": forget, "n": 2, "stream": True}
    chunks = [*client.chat.completions.create(**request)]
    waits = [choice.index for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert sorted(waits) == [0, 1]
