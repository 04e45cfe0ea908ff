"""What a model does to a run: whatever it sends, the run ends as something that a client can rely on."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from agents import Agent, ModelRefusalError, RunConfig, Runner
from chat_agent.errors import ModelRefusedRequest
from chat_agent.main import create_app
from chat_agent.model import failures
from chat_agent.model.provider import ERROR_HANDLERS, run_config
from chat_agent.model.usage import METER, UsageMeter
from chat_agent.settings import Settings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from testkit.issuer import Issuer
from testkit.live_server import NO_AUTHORITIES, serving
from testkit.sse import events

from .provider_asker import provider_of

STREAM = "/api/v1/chat/stream"


@pytest.fixture
def someone(settings: Settings, issuer: Issuer) -> Iterator[Callable[..., httpx.Client]]:
    """Return a function that starts the service with other settings, and a client of it."""
    with contextlib.ExitStack() as open_things:

        def client_for(**more: Any) -> httpx.Client:
            url = open_things.enter_context(serving(create_app(settings.model_copy(update=more))))
            headers = {"Authorization": f"Bearer {issuer.token(tenant_id=uuid4(), role='member')}"}
            return open_things.enter_context(
                httpx.Client(base_url=url, headers=headers, timeout=60, verify=NO_AUTHORITIES)
            )

        yield client_for


def ask(client: httpx.Client, message: str) -> dict[str, Any]:
    answer = client.post("/api/v1/chat", json={"message": message})
    assert answer.status_code == 200, answer.text
    received: dict[str, Any] = answer.json()
    return received


def emit(client: httpx.Client, message: str) -> list[Any]:
    with client.stream("POST", STREAM, json={"message": message}) as answer:
        return list(events(answer))


@pytest.mark.parametrize("client", ["fast", "openai"])
@pytest.mark.parametrize("api", ["responses", "chat_completions"])
def test_tools_and_handoffs_work_whoever_speaks_to_the_model(someone: Any, client: str, api: str) -> None:
    caller = someone(model_client=client, openai_api=api)
    answer = ask(caller, "What time is it, and can you review this Python function?")
    assert (answer["agent_used"], answer["metadata"]["handoffs"]) == ("code_assistant", ["code_assistant"])
    assert answer["usage"]["requests"] == 3
    assert answer["usage"]["estimated"] is False
    assert answer["usage"]["cached_tokens"] > 0


def test_the_model_gets_the_error_of_arguments_that_are_no_json(ann: httpx.Client) -> None:
    received = emit(ann, "What did we say? [sandbox: malformed-arguments]")
    (output,) = [event.data["output"] for event in received if event.type == "tool.output"]
    assert "error" in output.lower()
    assert received[-1].type == "run.completed"


def test_the_model_gets_the_error_of_a_tool_that_does_not_exist(ann: httpx.Client) -> None:
    received = emit(ann, "Hi [sandbox: invent=open_pod_bay_doors]")
    assert received[-1].type == "run.completed"
    assert received[-1].data["usage"]["requests"] == 2


@pytest.mark.parametrize("api", ["responses", "chat_completions"])
def test_bytes_that_are_no_text_are_replaced(someone: Any, other_services: Any, api: str) -> None:
    answer = ask(someone(openai_api=api), "Hi [sandbox: invalid-utf8]")
    assert answer["response"].endswith("\ufffd\ufffd.")
    assert other_services.messages(answer["conversation_id"])[-1] == ("assistant", answer["response"])


@pytest.mark.parametrize("api", ["responses", "chat_completions"])
def test_a_refusal_is_an_answer(someone: Any, api: str) -> None:
    received = emit(someone(openai_api=api), "Hi [sandbox: refuse]")
    (item,) = [event.data["item"] for event in received if event.type == "item.completed"]
    assert item["refusal"] is True
    assert (received[-1].type, received[-1].data["output"]) == ("run.completed", item["text"])


def test_a_silent_model_is_an_error_by_name_and_its_text_is_stored(someone: Any) -> None:
    received = emit(
        someone(model_between_tokens_timeout_seconds=3), "Hi [sandbox: tokens=60, stall-after=20]"
    )
    last = received[-1]
    assert (last.type, last.data["code"]) == ("run.failed", "model_timed_out")
    assert last.data["output"]
    assert last.data["usage"]["estimated_output_tokens"] == last.data["usage"]["output_tokens"] > 0


def test_what_a_run_used_is_counted_when_its_time_is_over(someone: Any) -> None:
    # Longer than a busy machine takes to call the model.
    received = emit(someone(run_timeout_seconds=8), "Hi [sandbox: tokens=500, pause-after=20]")
    usage = received[-1].data["usage"]
    assert received[-1].data["code"] == "run_timed_out"
    assert (usage["requests"], usage["estimated"]) == (1, True)
    assert usage["estimated_input_tokens"] > 100  # instructions, tools and what was said


def test_a_run_may_not_use_tokens_for_ever(someone: Any) -> None:
    caller = someone(run_token_budget=3000, run_max_turns=1000)
    answer = caller.post("/api/v1/chat", json={"message": "Hi [sandbox: loop]"})
    assert (answer.status_code, answer.json()["code"]) == (502, "token_budget_exceeded")


def test_another_model_that_answers_is_named_in_the_usage(someone: Any) -> None:
    caller = someone(model_fallback="sandbox-small", model_max_retries=0)
    answer = ask(caller, "What time is it? [sandbox: only=sandbox-large, error=503]")
    assert [each["model"] for each in answer["usage"]["models"]] == ["sandbox-small"]
    assert answer["usage"]["requests"] == 2


def test_wrong_credentials_have_a_name(someone: Any, settings: Settings) -> None:
    invalid = type(settings.openai_api_key)("sk-invalid-1")
    answer = someone(openai_api_key=invalid).post("/api/v1/chat", json={"message": "Hi"})
    assert (answer.status_code, answer.json()["code"]) == (502, "model_authentication_failed")


async def test_agents_that_are_tools_are_counted_under_their_models(settings: Settings) -> None:
    helper = Agent[Any](name="helper", instructions="You are a helper.", model="sandbox-small")
    tool = helper.as_tool("ask_helper", "Ask the helper.")
    chief = Agent[Any](name="chief", instructions="You are the chief.", tools=[tool])
    provider = provider_of(settings)
    config: RunConfig = run_config(provider)
    meter = UsageMeter()
    METER.set(meter)
    result = await Runner.run(chief, "Please call ask_helper", run_config=config)
    await provider.close()
    assert sum(each.requests for each in meter.total().models) == 3
    assert {each.model: each.requests for each in meter.total().models} == {
        "sandbox-large": 2,
        "sandbox-small": 1,
    }
    assert meter.total().input_tokens == result.context_wrapper.usage.input_tokens


@pytest.mark.parametrize("api", ["responses", "chat_completions"])
async def test_a_refusal_instead_of_a_shape_fails_by_name(settings: Settings, api: str) -> None:
    judge = Agent[Any](name="judge", instructions="You are a judge.", output_type=list[str])
    provider = provider_of(settings.model_copy(update={"openai_api": api}))
    with pytest.raises(ModelRefusalError) as caught:
        await Runner.run(
            judge, "[sandbox: refuse]", run_config=run_config(provider), error_handlers=ERROR_HANDLERS
        )
    await provider.close()
    assert failures.to_service_error(caught.value).code() == "model_refused_answer"


async def test_agents_without_a_model_get_no_settings_of_the_sdks_own_choice(settings: Settings) -> None:
    bodies: list[dict[str, Any]] = []

    async def answer(request: Request) -> Response:
        bodies.append(await request.json())
        return Response(status_code=400)

    app = Starlette(routes=[Route("/responses", answer, methods=["POST"])])
    with serving(app) as url:
        provider = provider_of(settings.model_copy(update={"openai_base_url": url}))
        for name in (None, "gpt-5.1", "sandbox-small"):
            agent = Agent[Any](name="clerk", instructions="You are a clerk.", model=name)
            with pytest.raises(ModelRefusedRequest):
                await Runner.run(agent, "Hi", run_config=run_config(provider))
        await provider.close()
    assert [body["model"] for body in bodies] == ["sandbox-large", "gpt-5.1", "sandbox-small"]
    assert ["reasoning" in body for body in bodies] == [False, True, False]
