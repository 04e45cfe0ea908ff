"""One suite for all providers: whoever answers, a run sees the same."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from agents import AgentOutputSchema, ModelSettings, function_tool
from chat_agent.errors import ModelAuthenticationFailed, ModelRateLimited, ModelUnavailable
from chat_agent.model import retry
from chat_agent.model.usage import UsageMeter
from openai.types.shared import Reasoning
from pydantic import BaseModel
from servicekit.errors import ServiceError
from testkit.live_server import NO_AUTHORITIES

from .provider_asker import Asker, settings_of

# Each with the API that the main provider is called by.
PROVIDERS = {
    "openai": ("sandbox-large", "responses"),
    "openai-chat": ("sandbox-large", "chat_completions"),
    "xai": ("xai/sandbox-large", "responses"),
    "anthropic": ("anthropic/sandbox-large", "responses"),
    "gemini": ("gemini/sandbox-large", "responses"),
}
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "YPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
THINK = "[sandbox: reasoning]"
THINKING = ModelSettings(reasoning=Reasoning(effort="low"), response_include=["reasoning.encrypted_content"])
executed: list[str] = []


class Verdict(BaseModel):
    """An answer in a shape."""

    is_fine: bool
    reason: str


@function_tool
def current_time() -> str:
    """Return the time."""
    executed.append("current_time")
    return "12:34"


@function_tool
def refund(order: str, amount: int) -> str:
    """Refund the money."""
    executed.append(f"refund {order} {amount}")
    return f"{amount} for {order}"


@pytest.fixture(autouse=True)
def _without_long_pauses(monkeypatch: pytest.MonkeyPatch, model_url: str) -> None:
    monkeypatch.setattr(retry, "FIRST_BACKOFF", 0.01)
    executed.clear()
    httpx.delete(f"{model_url}/_sandbox/calls", verify=NO_AUTHORITIES, timeout=60)


@pytest.fixture
def calls(model_url: str) -> Callable[[], list[dict[str, Any]]]:
    """Return a function that lists what the sandbox says of the calls of this test."""
    return lambda: httpx.get(f"{model_url}/_sandbox/calls", verify=NO_AUTHORITIES, timeout=60).json()  # type: ignore[no-any-return]  # a list, it says


@pytest.fixture(params=PROVIDERS)
async def asker(request: pytest.FixtureRequest, model_url: str) -> AsyncIterator[Asker]:
    name, api = PROVIDERS[request.param]
    asker = Asker(settings_of(model_url, openai_api=api), name)
    yield asker
    await asker.provider.close()


async def failure(asker: Asker, text: str) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        await asker.events(text)
    return caught.value


def reported(call: dict[str, Any]) -> tuple[int, ...]:
    names = ("input", "cached", "cache_write", "output", "reasoning")
    return tuple(call["usage"][name] for name in names)


def counted(meter: UsageMeter) -> tuple[int, ...]:
    total = meter.total()
    cache = (total.cached_tokens, total.cache_write_tokens)
    return (total.input_tokens, *cache, total.output_tokens, total.reasoning_tokens)


async def test_text_comes_in_pieces_and_is_counted(asker: Asker, calls: Any) -> None:
    events = await asker.events("Two slices of marzipan [sandbox: tokens=40]")
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    (call,) = calls()
    assert len(deltas) == 40
    assert "".join(deltas) == call["text"]
    assert "".join(part.text for item in events[-1].response.output for part in item.content) == call["text"]
    assert counted(asker.meter) == reported(call)
    assert [one.model for one in asker.meter.total().models] == [asker.name]


async def test_tools_are_called_in_parallel_and_without_arguments(asker: Asker, calls: Any) -> None:
    result = await asker.run("What time is it? refund order=A-7 amount=12", tools=[current_time, refund])
    assert sorted(executed) == ["current_time", "refund A-7 12"]
    assert [call["status"] for call in calls()] == ["completed", "completed"]
    assert "12:34" in result.final_output
    assert "12 for A-7" in result.final_output
    assert counted(asker.meter) == tuple(map(sum, zip(*map(reported, calls()), strict=True)))


async def test_a_tool_is_called_after_the_other_where_that_is_set(asker: Asker, calls: Any) -> None:
    await asker.run(
        "What time is it? refund order=A-7 amount=12",
        tools=[current_time, refund],
        model_settings=ModelSettings(parallel_tool_calls=False),
    )
    assert len(executed) == 2
    assert len(calls()) == 3


async def test_a_tool_that_is_required_is_called(asker: Asker) -> None:
    for choice in ("required", "refund"):
        executed.clear()
        await asker.run(
            "order=A-7 amount=12", tools=[refund], model_settings=ModelSettings(tool_choice=choice)
        )
        assert executed == ["refund A-7 12"]


async def test_an_answer_matches_its_schema(asker: Asker) -> None:
    result = await asker.run("Is it? reason=yes", output_type=AgentOutputSchema(Verdict))
    assert result.final_output.reason == "yes"


async def test_an_image_arrives(asker: Asker) -> None:
    parts = [
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_image", "image_url": PIXEL, "detail": "auto"},
    ]
    result = await asker.run([{"role": "user", "content": parts}])
    assert "image/png of" in result.final_output


@pytest.mark.parametrize("provider", ["openai", "gemini"])
async def test_audio_arrives_where_models_take_it(model_url: str, provider: str) -> None:
    name, api = PROVIDERS[provider]
    asker = Asker(settings_of(model_url, openai_api=api), name)
    audio = {"type": "input_audio", "input_audio": {"format": "wav", "data": "UklGRg=="}}
    content = [{"type": "input_text", "text": "What is in it?"}, audio]
    result = await asker.run([{"role": "user", "content": content}])
    assert "audio/wav of" in result.final_output
    await asker.provider.close()


async def test_thoughts_go_back_where_tools_are_called_over_turns(asker: Asker, calls: Any) -> None:
    tools: Any = {
        "tools": [current_time, refund],
        "model_settings": THINKING,
    }
    first = await asker.run(f"What time is it? {THINK}", **tools)
    second = await asker.run(
        [
            *first.to_input_list(),
            {"role": "user", "content": "refund order=A-7 amount=12 [sandbox: reasoning]"},
        ],
        **tools,
    )
    assert executed == ["current_time", "refund A-7 12"]
    assert "12 for A-7" in second.final_output
    assert [call["status"] for call in calls()] == ["completed"] * 4
    assert asker.meter.total().reasoning_tokens == sum(call["usage"]["reasoning"] for call in calls()) > 0


async def test_a_refusal_is_one(asker: Asker) -> None:
    output = (await asker.events("Hi [sandbox: refuse]"))[-1].response.output
    assert [part.type for item in output for part in item.content] == ["refusal"]


async def test_an_answer_ends_at_a_limit_of_tokens(asker: Asker) -> None:
    result = await asker.run("Hi", model_settings=ModelSettings(max_tokens=5))
    assert result.final_output
    assert asker.meter.is_truncated


async def test_a_failure_in_the_middle_has_its_name(asker: Asker) -> None:
    assert isinstance(await failure(asker, "Hi [sandbox: fail-after=3]"), ModelUnavailable)
    assert isinstance(await failure(asker, "Hi [sandbox: die-after=3]"), ModelUnavailable)
    assert asker.meter.total().estimated


@pytest.mark.parametrize("status", [500, 503, 529])
async def test_an_overloaded_provider_is_called_again(
    model_url: str, asker: Asker, calls: Any, status: int
) -> None:
    patient = Asker(settings_of(model_url, model_max_retries=1), asker.name)
    await patient.events(f"Hi [sandbox: error={status}x1, retry-after=0.01]")
    assert [call["attempt"] for call in calls()] == [1]
    await patient.provider.close()


async def test_a_rate_limit_says_for_how_long(asker: Asker) -> None:
    limited = await failure(asker, "Hi [sandbox: error=429, retry-after=7]")
    assert isinstance(limited, ModelRateLimited)
    assert limited.retry_after == 7


async def test_wrong_credentials_have_a_name(model_url: str, asker: Asker) -> None:
    keys = {f"{name}_api_key": "sk-invalid" for name in ("openai", "xai", "anthropic", "gemini")}
    stranger = Asker(settings_of(model_url, **keys), asker.name)
    assert isinstance(await failure(stranger, "Hi"), ModelAuthenticationFailed)
    await stranger.provider.close()


async def test_an_event_of_an_unknown_kind_is_passed_over(asker: Asker, calls: Any) -> None:
    events = await asker.events("Hi [sandbox: unknown-event]")
    assert (
        "".join(event.delta for event in events if event.type == "response.output_text.delta")
        == (calls()[0]["text"])
    )
