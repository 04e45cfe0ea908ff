"""Models that are called by name, with OpenAI's own client: in runs, and passed on."""

import http.client
import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from chat_agent.main import create_app
from chat_agent.settings import Settings
from openai import APIError, APIStatusError, NotFoundError, OpenAI
from redis import Redis
from testkit.eventually import until
from testkit.live_server import NO_AUTHORITIES, serving

from ..billing_fake import Billing

pytestmark = pytest.mark.usefixtures("reset_billing")
PLAIN = uuid4()
MODELS: dict[str, Any] = {
    "acme/sandbox-small": {
        "tenants": ["*"],
        "endpoints": ["chat", "completions"],
        "name": "Small",
        "description": "A small one.",
        "capabilities": ["vision"],
        "created": 7,
    },
    "acme/embed": {"tenants": ["*"], "endpoints": ["embeddings"], "provider_name": "sandbox-embedding"},
    "acme/moderate": {"tenants": ["*"], "endpoints": ["moderations"]},
    "acme/nobodys": {"endpoints": ["chat", "embeddings"]},
    "acme/plain": {"tenants": [str(PLAIN)], "endpoints": ["chat", "embeddings"]},
}


@pytest.fixture(scope="module")
def direct_url(settings: Settings, billing: Billing) -> Iterator[str]:
    with serving(billing.app) as billing_url:
        values = {
            **settings.model_dump(),
            "direct_models": MODELS,
            "model_context_lengths": {"sandbox-small": 1000, "sandbox-large": 2000},
            "denied_parameters": {"acme/embed": ["dimensions"]},
            "enable_billing": True,
            "billing_internal_url": billing_url,
        }
        with serving(create_app(Settings.model_validate(values))) as url:
            yield url


@pytest.fixture
def client_of(direct_url: str, issuer: Any) -> Iterator[Callable[..., OpenAI]]:
    clients: list[OpenAI] = []

    def build(tenant_id: UUID | None = None) -> OpenAI:
        token = issuer.token(tenant_id=tenant_id or uuid4())
        http = httpx.Client(verify=NO_AUTHORITIES, timeout=60)
        clients.append(OpenAI(base_url=f"{direct_url}/v1", api_key=token, max_retries=0, http_client=http))
        return clients[-1]

    yield build
    for one in clients:
        one.close()


@pytest.fixture
def client(client_of: Callable[..., OpenAI]) -> OpenAI:
    return client_of()


@pytest.fixture
def usage_of(redis_url: str) -> Callable[[str], list[dict[str, Any]]]:
    """Read the usage that was published of the calls of a name."""

    def read(agent: str) -> list[dict[str, Any]]:
        with Redis.from_url(redis_url) as redis:
            entries = [fields for _, fields in redis.xrange("events:chat-agent")]
        completed = [entry for entry in entries if entry[b"type"] == b"chat.run.completed.v1"]
        events = {entry[b"id"]: json.loads(entry[b"data"]) for entry in completed}
        return [event for event in events.values() if event["agent"] == agent]

    return read


def test_models_are_listed_for_those_who_may_call_them(client_of: Callable[..., OpenAI]) -> None:
    ids = [model.id for model in client_of().models.list()]
    assert ids == [
        "triage",
        "code_assistant",
        "data_analyst",
        "research",
        "acme/sandbox-small",
        "acme/embed",
        "acme/moderate",
    ]
    assert "acme/plain" in [model.id for model in client_of(PLAIN).models.list()]


def test_a_model_says_what_it_is(client: OpenAI) -> None:
    small = client.models.retrieve("acme/sandbox-small").to_dict()
    assert small == {
        "id": "acme/sandbox-small",
        "object": "model",
        "created": 7,
        "owned_by": "acme",
        "name": "Small",
        "description": "A small one.",
        "context_length": 1000,
        "price": None,
        "capabilities": [
            "chat",
            "completions",
            "responses",
            "streaming",
            "structured_output",
            "tools",
            "vision",
        ],
    }
    triage = client.models.retrieve("triage").to_dict()
    assert (triage["name"], triage["context_length"]) == ("Triage", 2000)
    assert triage["created"]
    for name in ("acme/nobodys", "acme/plain", "no/such", "nobody"):
        with pytest.raises(NotFoundError) as caught:
            client.models.retrieve(name)
        assert caught.value.code == "agent_not_found"


def test_a_model_answers_as_a_run_without_an_agent(client: OpenAI, usage_of: Any) -> None:
    answer = client.chat.completions.with_raw_response.create(
        model="acme/sandbox-small", messages=[{"role": "user", "content": "Good morning"}]
    )
    completion = answer.parse()
    assert "scripted stand-in" in (completion.choices[0].message.content or "")
    assert completion.model == "acme/sandbox-small"
    run_id = answer.headers["Acme-Run-Id"]
    until(lambda: any(one["run_id"] == run_id for one in usage_of("acme/sandbox-small")))
    (event,) = [one for one in usage_of("acme/sandbox-small") if one["run_id"] == run_id]
    assert (event["messages"], [one["model"] for one in event["usage"]]) == (1, ["sandbox-small"])


def test_a_model_answers_responses_and_calls_the_clients_tools(client: OpenAI) -> None:
    tool: Any = {
        "type": "function",
        "name": "current_time",
        "parameters": {"type": "object", "properties": {}},
    }
    stream = client.responses.create(
        model="acme/sandbox-small", input="What time is it?", tools=[tool], stream=True
    )
    final = list(stream)[-1]
    assert final.type == "response.completed"
    (call,) = final.response.output
    assert (call.type, getattr(call, "name", None)) == ("function_call", "current_time")
    answer = client.responses.create(
        model="acme/sandbox-small",
        previous_response_id=final.response.id,
        input=[{"type": "function_call_output", "call_id": call.call_id, "output": "noon"}],  # type: ignore[union-attr]
    )
    assert "noon" in answer.output_text


@pytest.mark.parametrize(
    "name", ["acme/nobodys", "acme/plain", "acme/embed", "openai/gpt-5.1", "sandbox-small"]
)
def test_what_a_tenant_may_not_call_is_not_there(client: OpenAI, name: str) -> None:
    for create in (
        lambda: client.chat.completions.create(model=name, messages=[{"role": "user", "content": "Hi"}]),
        lambda: client.responses.create(model=name, input="Hi"),
        lambda: client.completions.create(model=name, prompt="Hi"),
        lambda: client.moderations.create(model=name, input="Hi"),
    ):
        with pytest.raises(NotFoundError):
            create()


def test_embeddings_are_passed_on_and_metered(client: OpenAI, usage_of: Any, billing: Billing) -> None:
    billing.limits = {"tokens": 1000}
    known = {one["run_id"] for one in usage_of("acme/embed")}
    answer = client.embeddings.create(model="acme/embed", input=["the cat sat", "the cat sat"], user="u-1")
    assert answer.model == "acme/embed"
    assert answer.data[0].embedding == answer.data[1].embedding
    until(lambda: {one["run_id"] for one in usage_of("acme/embed")} - known)
    (event,) = [one for one in usage_of("acme/embed") if one["run_id"] not in known]
    assert (event["messages"], event["estimated"], event["status"]) == (0, False, "completed")
    (used,) = event["usage"]
    assert (used["model"], used["input_tokens"], used["output_tokens"]) == ("sandbox-embedding", 6, 0)
    until(lambda: all(call.settled for call in billing.of_run(event["run_id"]).values()))
    (call,) = billing.of_run(event["run_id"]).values()
    assert call.settled == {"input_tokens": 6, "output_tokens": 0}
    assert (call.request["agent"], call.request["model"]) == ("acme/embed", "sandbox-embedding")


def test_a_whole_completion_is_cancelled_and_metered_when_its_client_disconnects(
    direct_url: str, client: OpenAI, usage_of: Any, billing: Billing, model_url: str
) -> None:
    billing.limits = {"tokens": 100_000}
    known = {one["run_id"] for one in usage_of("acme/sandbox-small")}
    prompt = f"Go on {uuid4()} [sandbox: tokens=60, pause-after=30]"
    connection = http.client.HTTPConnection(httpx.URL(direct_url).netloc.decode(), timeout=60)
    headers = {"authorization": f"Bearer {client.api_key}", "content-type": "application/json"}
    body = {"model": "acme/sandbox-small", "prompt": prompt, "max_tokens": 60}
    connection.request("POST", "/v1/completions", json.dumps(body), headers)
    with httpx.Client(base_url=f"{model_url}/_sandbox", verify=NO_AUTHORITIES, timeout=60) as model:
        until(lambda: [one for one in model.get("/calls").json() if prompt in one["question"]])
        connection.close()
        # The model is still to answer.
        (event,) = until(
            lambda: [one for one in usage_of("acme/sandbox-small") if one["run_id"] not in known]
        )
        model.post("/resume")
    (used,) = event["usage"]
    assert (event["estimated"], used["output_tokens"]) == (True, 0)
    assert used["input_tokens"] > 0
    until(lambda: all(call.settled for call in billing.of_run(event["run_id"]).values()))


def test_a_limit_refuses_a_call_before_the_model_is_called(
    client: OpenAI, billing: Billing, model_url: str
) -> None:
    billing.limits = {"tokens": 3}
    text = f"more than is left {uuid4()}"
    with pytest.raises(APIStatusError) as caught:
        client.embeddings.create(model="acme/embed", input=text)
    assert (caught.value.status_code, caught.value.code) == (402, "insufficient_quota")
    calls = httpx.get(f"{model_url}/_sandbox/calls", verify=NO_AUTHORITIES, timeout=60).json()
    assert text not in [call["question"] for call in calls]


def test_moderations_are_passed_on_and_estimated(client: OpenAI, usage_of: Any) -> None:
    known = {one["run_id"] for one in usage_of("acme/moderate")}
    answer = client.moderations.create(input=["I will kill the process", "Good morning"])
    assert [one.flagged for one in answer.results] == [True, False]
    until(lambda: {one["run_id"] for one in usage_of("acme/moderate")} - known)
    (event,) = [one for one in usage_of("acme/moderate") if one["run_id"] not in known]
    assert event["estimated"]


def test_completions_are_passed_on_whole_and_as_a_stream(client: OpenAI, usage_of: Any) -> None:
    known = {one["run_id"] for one in usage_of("acme/sandbox-small")}
    whole = client.completions.create(model="acme/sandbox-small", prompt="Good morning", max_tokens=9)
    stream = client.completions.create(
        model="acme/sandbox-small", prompt="Good morning", max_tokens=9, stream=True
    )
    chunks = [*stream]
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert {chunk.model for chunk in chunks} == {"acme/sandbox-small"}
    until(lambda: len({one["run_id"] for one in usage_of("acme/sandbox-small")} - known) == 2)
    one, other = [each["usage"] for each in usage_of("acme/sandbox-small") if each["run_id"] not in known]
    assert one == other
    assert one[0]["output_tokens"] == 9
    with_usage = client.completions.create(
        model="acme/sandbox-small", prompt="Hi", stream=True, stream_options={"include_usage": True}
    )
    assert [*with_usage][-1].usage is not None


def test_what_passes_is_retried_and_what_does_not_has_a_name(client: OpenAI) -> None:
    assert client.embeddings.create(model="acme/embed", input="Hi [sandbox: error=503x1]").data
    for status, expected in {401: 502, 503: 503, 429: 503}.items():
        with pytest.raises(APIStatusError) as caught:
            client.embeddings.create(model="acme/embed", input=f"Hi [sandbox: error={status}]")
        assert caught.value.status_code == expected
    with pytest.raises(APIStatusError) as caught:
        client.completions.create(model="acme/sandbox-small", prompt="[sandbox: error=503]", stream=True)
    assert caught.value.status_code == 503


def test_a_stream_that_breaks_off_says_so_and_is_counted(client: OpenAI, usage_of: Any) -> None:
    known = {one["run_id"] for one in usage_of("acme/sandbox-small")}
    stream = client.completions.create(
        model="acme/sandbox-small", prompt="Hi [sandbox: fail-after=3]", max_tokens=9, stream=True
    )
    with pytest.raises(APIError, match="model"):
        list(stream)
    until(lambda: {one["run_id"] for one in usage_of("acme/sandbox-small")} - known)
    (event,) = [one for one in usage_of("acme/sandbox-small") if one["run_id"] not in known]
    assert event["estimated"]


def test_a_stream_that_its_client_leaves_is_counted(client: OpenAI, usage_of: Any) -> None:
    known = {one["run_id"] for one in usage_of("acme/sandbox-small")}
    stream = client.completions.create(
        model="acme/sandbox-small", prompt="Hi [sandbox: stall-after=3]", max_tokens=9, stream=True
    )
    assert next(iter(stream)).choices[0].text
    stream.close()
    until(lambda: {one["run_id"] for one in usage_of("acme/sandbox-small")} - known)


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"dimensions": 64}, "dimensions"),
        ({"dimensions": 0}, "dimensions"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"input": []}, "input"),
        ({"input": "\ud83d"}, "input"),
    ],
)
def test_what_may_not_be_set_is_named(direct_url: str, issuer: Any, parameters: Any, named: str) -> None:
    body = {"model": "acme/embed", "input": "Hi", **parameters}
    headers = {
        "Authorization": f"Bearer {issuer.token(tenant_id=uuid4())}",
        "Content-Type": "application/json",
    }
    with httpx.Client(verify=NO_AUTHORITIES, timeout=60) as http:
        answer = http.post(f"{direct_url}/v1/embeddings", content=json.dumps(body), headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith(named)


def test_nobody_may_call_a_model_unless_the_operator_says_so(url: str, issuer: Any) -> None:
    http = httpx.Client(verify=NO_AUTHORITIES, timeout=60)
    token = issuer.token(tenant_id=uuid4())
    with OpenAI(base_url=f"{url}/v1", api_key=token, max_retries=0, http_client=http) as client:
        with pytest.raises(NotFoundError):
            client.embeddings.create(model="sandbox-embedding", input="Hi")
        with pytest.raises(NotFoundError):
            client.moderations.create(input="Hi")


def test_choices_are_runs_that_are_metered_each(
    client: OpenAI, usage_of: Callable[[str], list[dict[str, Any]]]
) -> None:
    messages: Any = [{"role": "user", "content": "Hello"}]
    whole = client.chat.completions.create(model="acme/sandbox-small", messages=messages, n=2)
    assert [choice.index for choice in whole.choices] == [0, 1]
    until(lambda: len(usage_of("acme/sandbox-small")) == 2)
    used = [model for event in usage_of("acme/sandbox-small") for model in event["usage"]]
    assert whole.usage
    assert whole.usage.total_tokens == sum(one["input_tokens"] + one["output_tokens"] for one in used)
