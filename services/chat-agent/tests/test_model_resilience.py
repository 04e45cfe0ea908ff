"""When a model is asked again, when somebody else is, when nobody; and what is counted meanwhile."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Any

import httpx
import pytest
from agents import Model, ModelSettings
from agents.items import TResponseStreamEvent
from agents.models.interface import ModelTracing
from chat_agent.errors import (
    ModelAuthenticationFailed,
    ModelRateLimited,
    ModelRefusedRequest,
    ModelTimedOut,
    ModelUnavailable,
    TokenBudgetExceeded,
)
from chat_agent.model import retry
from chat_agent.model.provider import Provider
from chat_agent.model.usage import METER, UsageMeter
from chat_agent.schemas import Usage
from chat_agent.settings import Settings
from servicekit.errors import ServiceError
from testkit.eventually import time_limit, until, until_async
from testkit.live_server import NO_AUTHORITIES

from .provider_asker import NOWHERE, provider_of

# What the service needs beside the model; none of it is asked here.
WAYS = [
    ("fast", "responses"),
    ("fast", "chat_completions"),
    ("openai", "responses"),
    ("openai", "chat_completions"),
]
PassTime = Callable[[float], None]
# That of the loop which services run on cannot.
clock_can_be_set = pytest.mark.parametrize(
    "anyio_backend", [("asyncio", {"use_uvloop": False})], ids=["asyncio"]
)


@pytest.fixture(autouse=True)
def _without_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_BACKOFF", 0.01)


@pytest.fixture
def calls(model_url: str) -> Callable[[], list[dict[str, Any]]]:
    """Return what the sandbox says of the calls of this test."""
    httpx.delete(f"{model_url}/_sandbox/calls", verify=NO_AUTHORITIES, timeout=60)
    return lambda: httpx.get(f"{model_url}/_sandbox/calls", verify=NO_AUTHORITIES, timeout=60).json()  # type: ignore[no-any-return]  # a list, it says


@pytest.fixture(params=WAYS, ids="-".join)
async def provide(request: pytest.FixtureRequest, model_url: str) -> AsyncIterator[Callable[..., Model]]:
    """Return a function that makes a guarded model, on each way to the provider."""
    created: list[Provider] = []
    client, api = request.param

    def make(**more: Any) -> Model:
        values = {
            **NOWHERE,
            "openai_api_key": "sk-sandbox",
            "openai_base_url": f"{model_url}/v1",
            "openai_api": api,
            "agent_model_default": "sandbox-large",
            "model_client": client,
            "model_max_retries": 2,
        }
        provider = provider_of(Settings(environment="test", debug=True, **{**values, **more}))
        created.append(provider)
        return provider.get_model(None)

    yield make
    for provider in created:
        await provider.close()


@pytest.fixture
def meter() -> UsageMeter:
    return UsageMeter()


@pytest.fixture
def pass_time(monkeypatch: pytest.MonkeyPatch) -> PassTime:
    """Return a function that lets so many seconds pass at once, for all that waits in this loop."""

    def jump(seconds: float) -> None:
        loop = asyncio.get_running_loop()
        clock = loop.time
        monkeypatch.setattr(loop, "time", lambda: clock() + seconds)

    return jump


def stream(model: Model, text: str) -> Any:
    rest: Any = {"previous_response_id": None, "conversation_id": None, "prompt": None}
    settings = ModelSettings(include_usage=True)
    return model.stream_response(None, text, settings, [], None, [], ModelTracing.DISABLED, **rest)


async def collect(model: Model, text: str, meter: UsageMeter | None = None) -> list[TResponseStreamEvent]:
    METER.set(meter)
    return [event async for event in stream(model, text)]


async def read_words(model: Model, text: str, after: Mapping[int, Callable[[], object]]) -> int:
    """Count the words of an answer; after some of them something happens."""
    count = 0
    async for event in stream(model, text):
        if event.type == "response.output_text.delta":
            count += 1
            after.get(count, int)()
    return count


async def failure(model: Model, text: str, meter: UsageMeter | None = None) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        await collect(model, text, meter)
    return caught.value


def names(usage: Usage) -> list[str]:
    return [each.model for each in usage.models]


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_trouble_that_passes_is_not_noticed(
    provide: Any, calls: Any, meter: UsageMeter, status: int
) -> None:
    events = await collect(provide(), f"Hi [sandbox: error={status}x2, retry-after=0.01]", meter)
    assert [event.type for event in events].count("response.created") == 1
    assert [call["attempt"] for call in calls()] == [2]
    assert meter.total().requests == 1


async def test_a_trouble_that_stays_has_its_name(provide: Any) -> None:
    model = provide(model_max_retries=1)
    assert isinstance(await failure(model, "Hi [sandbox: error=500, retry-after=0.01]"), ModelUnavailable)
    limited = await failure(model, "Hi [sandbox: error=429, retry-after=0.01]")
    assert isinstance(limited, ModelRateLimited)
    assert limited.retry_after == 0.01


async def test_retry_after_is_honoured(provide: Any) -> None:
    started = time.monotonic()
    await collect(provide(), "Hi [sandbox: error=429x1, retry-after=0.4]")
    assert time.monotonic() - started >= 0.4


async def test_nobody_waits_for_longer_than_is_decent(provide: Any) -> None:
    started = time.monotonic()
    limited = await failure(provide(), "Hi [sandbox: error=429x1, retry-after=3600]")
    assert time.monotonic() - started < 1800
    assert limited.retry_after == 3600


@pytest.mark.parametrize("status", [400, 404, 422])
async def test_a_refusal_is_not_retried(provide: Any, status: int) -> None:
    model = provide(model_fallback="sandbox-small")
    assert isinstance(await failure(model, f"Hi [sandbox: error={status}x1]"), ModelRefusedRequest)


async def test_wrong_credentials_have_a_name_and_show_nothing(provide: Any) -> None:
    refused = await failure(provide(openai_api_key="sk-invalid-1"), "Hi")
    assert isinstance(refused, ModelAuthenticationFailed)
    assert "API key" not in refused.detail


async def test_a_failure_before_the_first_token_is_retried_and_counted(
    provide: Any, calls: Any, meter: UsageMeter
) -> None:
    assert isinstance(await failure(provide(), "Hi [sandbox: die-after=0]", meter), ModelUnavailable)
    assert [call["attempt"] for call in calls()] == [0, 1, 2]
    total = meter.total()
    assert (total.requests, total.estimated) == (3, True)
    assert total.output_tokens == 0


async def test_no_text_is_sent_twice(provide: Any, calls: Any, meter: UsageMeter) -> None:
    model = provide(model_fallback="sandbox-small")
    assert isinstance(await failure(model, "Hi [sandbox: tokens=60, die-after=20]", meter), ModelUnavailable)
    assert len(calls()) == 1
    total = meter.total()
    assert total.estimated
    assert 10 < total.estimated_output_tokens < 40
    assert total.estimated_input_tokens > 0
    assert names(total) == ["sandbox-large"]


async def test_another_model_answers_when_the_first_does_not(
    provide: Any, calls: Any, meter: UsageMeter
) -> None:
    model = provide(model_fallback="sandbox-small", model_max_retries=1)
    events = await collect(model, "Hi [sandbox: only=sandbox-large, error=503, retry-after=0.01]", meter)
    assert events[-1].type == "response.completed"
    assert [call["model"] for call in calls()] == ["sandbox-small"]
    assert names(meter.total()) == ["sandbox-small"]
    assert meter.total().output_tokens == calls()[0]["usage"]["output"]


async def test_the_other_model_may_be_somewhere_else(provide: Any, model_url: str, calls: Any) -> None:
    elsewhere = {"model_fallback_base_url": f"{model_url}/v1", "model_fallback_api_key": "sk-other"}
    model = provide(
        openai_base_url="http://127.0.0.1:1/v1",
        model_fallback="sandbox-large",
        model_max_retries=0,
        **elsewhere,
    )
    assert (await collect(model, "Hi"))[-1].type == "response.completed"
    assert len(calls()) == 1


async def test_when_both_fail_the_last_one_says_why(provide: Any) -> None:
    model = provide(model_fallback="sandbox-small", model_max_retries=0)
    text = "Hi [sandbox: error=500] [sandbox: only=sandbox-small, error=429]"
    assert isinstance(await failure(model, text), ModelRateLimited)


@clock_can_be_set
async def test_the_first_word_has_its_time(
    provide: Any, calls: Any, meter: UsageMeter, pass_time: PassTime
) -> None:
    model = provide(model_first_token_timeout_seconds=60, model_max_retries=0)
    answer = asyncio.create_task(failure(model, "Hi [sandbox: pause-after=0]", meter))

    async def is_waited_for() -> bool:
        return any(call["is_paused"] for call in await asyncio.to_thread(calls))

    await until_async(is_waited_for)
    pass_time(100)
    assert isinstance(await answer, ModelTimedOut)
    assert (meter.total().requests, meter.total().estimated) == (1, True)


@clock_can_be_set
async def test_what_follows_the_first_word_may_take_longer(provide: Any, pass_time: PassTime) -> None:
    model = provide(model_first_token_timeout_seconds=60, model_between_tokens_timeout_seconds=3600)
    assert await read_words(model, "Hi [sandbox: rate=20/s, tokens=10]", {1: partial(pass_time, 100)}) == 10


@clock_can_be_set
async def test_each_word_has_its_time(
    provide: Any, calls: Any, meter: UsageMeter, pass_time: PassTime
) -> None:
    METER.set(meter)
    model = provide(model_between_tokens_timeout_seconds=60)
    # In a moment, when the next word is waited for.
    soon = partial(asyncio.get_running_loop().call_later, 0.05, pass_time, 100)
    with pytest.raises(ModelTimedOut):
        await read_words(model, "Hi [sandbox: tokens=60, stall-after=20]", {20: soon})
    assert meter.total().estimated_output_tokens > 5
    assert len(calls()) == 1


async def test_what_is_left_in_the_middle_is_counted(provide: Any, calls: Any, meter: UsageMeter) -> None:
    METER.set(meter)
    answer = stream(provide(), "Hi [sandbox: rate=100/s, tokens=500]")
    async for event in answer:
        if event.type == "response.output_text.delta":
            break
    await answer.aclose()
    assert (meter.total().requests, meter.total().estimated) == (1, True)
    assert meter.total().estimated_output_tokens > 0


async def test_what_is_cancelled_is_counted_and_let_go(provide: Any, calls: Any, meter: UsageMeter) -> None:
    has_begun = asyncio.Event()

    async def read() -> None:
        METER.set(meter)
        async for event in stream(provide(), "Hi [sandbox: pause-after=20, tokens=5000]"):
            if event.type == "response.output_text.delta":
                has_begun.set()

    task = asyncio.create_task(read())
    async with time_limit():
        await has_begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (meter.total().requests, meter.total().estimated) == (1, True)
    until(lambda: calls()[0]["status"] == "disconnected")


@pytest.mark.parametrize("order", ["reasoning", "refuse", "tokens=40"])
async def test_the_whole_answer_is_the_streams(
    provide: Any, calls: Any, meter: UsageMeter, order: str
) -> None:
    METER.set(meter)
    model, text = provide(), f"Hi [sandbox: {order}]"
    rest: Any = {"previous_response_id": None, "conversation_id": None, "prompt": None}
    query: Any = (None, text, ModelSettings(include_usage=True), [], None, [], ModelTracing.DISABLED)
    whole = await model.get_response(*query, **rest)
    (received,) = [call["usage"] for call in calls()]
    assert (whole.usage.requests, whole.usage.input_tokens) == (1, received["input"])
    assert whole.usage.output_tokens == received["output"] == meter.total().output_tokens
    assert (
        whole.usage.output_tokens_details.reasoning_tokens
        == meter.total().reasoning_tokens
        == received["reasoning"]
    )
    assert whole.output[-1].type == "message"


async def test_a_run_that_has_used_its_tokens_asks_nobody(
    provide: Any, calls: Any, meter: UsageMeter
) -> None:
    model = provide(run_token_budget=100, model_fallback="sandbox-small")
    meter.estimate("sandbox-large", 400, 0)
    assert isinstance(await failure(model, "Hi", meter), TokenBudgetExceeded)
    assert calls() == []


async def test_a_run_is_stopped_while_it_uses_its_last_tokens(
    provide: Any, calls: Any, meter: UsageMeter
) -> None:
    model = provide(run_token_budget=100)
    assert isinstance(await failure(model, "Hi [sandbox: tokens=1000]", meter), TokenBudgetExceeded)
    assert 90 < meter.tokens < 130
    assert len(calls()) == 1


async def test_without_a_meter_a_model_answers_too(provide: Any) -> None:
    assert (await collect(provide(), "Hi"))[-1].type == "response.completed"
