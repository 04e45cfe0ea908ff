"""Log probabilities of tokens, with OpenAI's own client, and with either API of the model."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import openai
import pytest
from chat_agent.main import create_app
from chat_agent.settings import Settings
from openai import OpenAI
from testkit.live_server import serving

LONG: Any = [{"role": "user", "content": "Tell me something [sandbox: tokens=20]"}]
INCLUDE: Any = ["message.output_text.logprobs"]


@pytest.fixture(scope="module", params=["responses", "chat_completions"])
def api_url(request: pytest.FixtureRequest, settings: Settings) -> Iterator[str]:
    with serving(create_app(settings.model_copy(update={"openai_api": request.param}))) as url:
        yield url


@pytest.fixture
def client(openai_of: Callable[..., OpenAI], api_url: str, ann: httpx.Client) -> OpenAI:
    return openai_of(ann, base_url=f"{api_url}/v1")


def test_completions_have_those_of_each_token(client: OpenAI) -> None:
    request: dict[str, Any] = {"model": "triage", "messages": LONG, "logprobs": True, "top_logprobs": 2}
    [choice] = client.chat.completions.create(**request).choices
    assert choice.logprobs
    tokens = choice.logprobs.content or []
    assert "".join(one.token for one in tokens) == choice.message.content
    first = tokens[0]
    assert (first.logprob, first.bytes) == (-0.5, [*first.token.encode()])
    assert [(one.token, one.logprob) for one in first.top_logprobs] == [
        (first.token, -0.5),
        (f"{first.token}1", -1.5),
    ]
    chunks = [*client.chat.completions.create(**request, stream=True)]
    choices = [choice for chunk in chunks for choice in chunk.choices]
    streamed = [one for each in choices if each.logprobs for one in each.logprobs.content or []]
    assert streamed == tokens


def test_responses_have_those_of_each_token(client: OpenAI) -> None:
    request: dict[str, Any] = {"model": "triage", "input": LONG, "include": INCLUDE, "top_logprobs": 1}
    response: Any = client.responses.create(**request)
    [part] = response.output[-1].content
    assert "".join(one.token for one in part.logprobs) == part.text == response.output_text
    assert [len(one.top_logprobs) for one in part.logprobs] == [1] * len(part.logprobs)
    assert response.top_logprobs == 1
    events: list[Any] = [*client.responses.create(**request, stream=True)]
    deltas = [event for event in events if event.type == "response.output_text.delta"]
    assert [one.token for event in deltas for one in event.logprobs] == [one.token for one in part.logprobs]
    [done] = [event for event in events if event.type == "response.output_text.done"]
    assert [one.token for one in done.logprobs] == [one.token for one in part.logprobs]
    again: Any = client.responses.retrieve(response.id)
    assert again.output[-1].content[0].logprobs == part.logprobs


def test_without_alternatives(client: OpenAI) -> None:
    [choice] = client.chat.completions.create(model="triage", messages=LONG, logprobs=True).choices
    assert choice.logprobs
    assert {len(one.top_logprobs) for one in choice.logprobs.content or []} == {0}


def test_they_are_not_stored_and_do_not_come_unrequested(client: OpenAI, other_services: Any) -> None:
    request: dict[str, Any] = {"model": "triage", "messages": LONG, "logprobs": True, "top_logprobs": 2}
    raw = client.chat.completions.with_raw_response.create(**request, metadata={})
    stored = other_services.items[raw.headers["acme-conversation-id"]]
    assert "top_logprobs" not in str(stored).replace("'top_logprobs': []", "")
    [choice] = client.chat.completions.create(model="triage", messages=LONG).choices
    assert choice.logprobs is None


def test_alternatives_need_log_probabilities(client: OpenAI) -> None:
    for request in ({"top_logprobs": 2}, {"logprobs": True, "top_logprobs": 21}):
        with pytest.raises(openai.APIStatusError) as refused:
            client.chat.completions.create(model="triage", messages=LONG, **request)  # type: ignore[call-overload]
        assert (refused.value.status_code in {400, 422}, refused.value.param) == (True, "top_logprobs")


def test_each_choice_has_its_own(client: OpenAI) -> None:
    request: dict[str, Any] = {"model": "triage", "messages": LONG, "logprobs": True, "n": 2}
    for choice in client.chat.completions.create(**request).choices:
        assert choice.logprobs
        text = "".join(one.token for one in choice.logprobs.content or [])
        assert text == choice.message.content
