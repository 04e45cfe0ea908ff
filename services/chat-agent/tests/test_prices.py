"""What runs cost, by the model that answered: to the cent as `genai-prices` says, or as the operator does."""

import asyncio
import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from math import ceil
from pathlib import Path
from typing import Any

import genai_prices
import httpx
import pytest
from agents import Agent, function_tool
from chat_agent.agents import AGENTS
from chat_agent.main import create_app
from chat_agent.model.prices import Catalogue, Tokens
from chat_agent.settings import Settings
from pydantic import ValidationError
from testkit.eventually import until
from testkit.issuer import Issuer
from testkit.live_server import NO_AUTHORITIES, serving
from testkit.sse import documents

from .provider_asker import Asker, settings_of

# By agent: the model, and what `genai-prices` calls its provider and itself.
MODELS = {
    "openai_clerk": ("gpt-5.1", "openai", "gpt-5.1"),
    "anthropic_clerk": ("anthropic/claude-sonnet-4-5", "anthropic", "claude-sonnet-4-5"),
    "gemini_clerk": ("gemini/gemini-3-pro-preview", "google", "gemini-3-pro-preview"),
    "xai_clerk": ("xai/grok-4", "x-ai", "grok-4"),
}


OTHERS = ("anthropic", "gemini", "xai")


@function_tool
def stock(article: str) -> str:
    """Count what is in stock."""
    return f"7 {article}"


@pytest.fixture(autouse=True)
def _agents(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, (model, _, _) in MODELS.items():
        instructions = "You are a clerk. " * 200
        clerk = Agent[Any](name=name, instructions=instructions, model=model, tools=[stock])
        monkeypatch.setitem(AGENTS, name, clerk)
    fallen = Agent[Any](
        name="fallen", instructions="You are a clerk.", model="anthropic/first", tools=[stock]
    )
    monkeypatch.setitem(AGENTS, "fallen", fallen)


@pytest.fixture(scope="module")
def shop_url(settings: Settings, model_url: str) -> Iterator[str]:
    """Serve the chat-agent with a key for every provider, all of which are the sandbox."""
    all_ = settings_of(model_url).model_dump()
    access = {f"{name}_{part}" for name in OTHERS for part in ("api_key", "base_url")}
    fallbacks = {"anthropic/first": ["gemini/second", "xai/grok-4"]}
    direct = {"anthropic/claude-sonnet-4-5": {"tenants": ["*"]}}
    values = {
        **settings.model_dump(),
        "direct_models": direct,
        **{name: all_[name] for name in access},
        "model_fallbacks": fallbacks,
    }
    with serving(create_app(Settings.model_validate(values))) as url:
        yield url


@pytest.fixture
def customer(shop_url: str, issuer: Issuer) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {issuer.token(role='member')}"}
    with httpx.Client(base_url=shop_url, headers=headers, timeout=60, verify=NO_AUTHORITIES) as client:
        yield client


@pytest.fixture
def calls(model_url: str) -> Callable[[], list[dict[str, Any]]]:
    """Return a function that lists what the sandbox says of the calls of this test."""
    httpx.delete(f"{model_url}/_sandbox/calls", verify=NO_AUTHORITIES, timeout=60)
    return lambda: httpx.get(f"{model_url}/_sandbox/calls", verify=NO_AUTHORITIES, timeout=60).json()  # type: ignore[no-any-return]  # a list, it says


def cost_of(call: dict[str, Any], provider: str, model: str) -> Decimal:
    """Return what `genai-prices` says of a call that the sandbox has counted."""
    used = call["usage"]
    usage = genai_prices.Usage(
        input_tokens=used["input"],
        cache_read_tokens=used["cached"],
        cache_write_tokens=used["cache_write"],
        output_tokens=used["output"],
    )
    return genai_prices.calc_price(usage, model, provider_id=provider).total_price * 1_000_000


@pytest.mark.parametrize("agent", MODELS)
def test_a_run_costs_what_its_calls_cost(
    customer: httpx.Client, calls: Any, completed_events: Any, agent: str
) -> None:
    model, provider, name = MODELS[agent]
    question = "How is the stock? article=nails [sandbox: reasoning]"
    answer = customer.post("/api/v1/chat", json={"message": question, "agent_type": agent})
    assert answer.status_code == 200, answer.text
    made = calls()
    assert len(made) == 2
    assert made[1]["usage"]["cached"] > 0
    expected = ceil(sum(cost_of(call, provider, name) for call in made))
    assert expected > 0
    run_id = answer.json()["run_id"]
    run = customer.get(f"/api/v1/runs/{run_id}").json()
    assert (run["cost"], run["usage"]["cost"], answer.json()["usage"]["cost"]) == (expected,) * 3
    until(lambda: completed_events(run_id))
    (event,) = completed_events(run_id)
    assert [(used["model"], used["cost"]) for used in event["usage"]] == [(model, expected)]
    written = sum(call["usage"]["cache_write"] for call in made)
    assert [used["cache_write_tokens"] for used in event["usage"]] == [written]
    assert (written > 0) == (provider == "anthropic")


@pytest.mark.parametrize(
    ("tokens", "cost"),
    [
        # 0.01 M at $3, 0.06 M at $0.30, 0.03 M at $3.75, 0.01 M at $15.
        (Tokens(input=100_000, cached=60_000, cache_write=30_000, output=10_000), 310_500),
        # Of more than 0.2 M: $6, $0.60, $7.50, $22.50.
        (Tokens(input=1_000_000, cached=600_000, cache_write=300_000, output=100_000), 5_460_000),
    ],
)
def test_written_and_cached_tokens_have_their_own_prices(tokens: Tokens, cost: int) -> None:
    assert Catalogue().cost("anthropic/claude-sonnet-4-5", tokens) == cost


def test_what_is_not_known_is_not_free() -> None:
    catalogue = Catalogue()
    for model in ("sandbox-large", "anthropic/no-such-model", "elsewhere/gpt-5.1"):
        assert catalogue.cost(model, Tokens(1, 0, 0, 1)) is None
        assert (catalogue.price(model), catalogue.context_length(model)) == (None, None)


def test_the_operators_file_wins_over_the_estimates_and_variables_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "catalogue.json"
    price = {"input": 2_000_000, "cached": 1_000_000, "cache_write": 3_000_000, "output": 4_000_000}
    facts = {"gpt-5.1": {"price": price, "context_length": 7}, "own": {"context_length": 9}}
    file.write_text(json.dumps(facts))
    values = {"model_catalogue_file": file, "model_context_lengths": {"own": 11}}
    catalogue = Catalogue.from_settings(settings_of("http://nowhere", **values))
    assert catalogue.cost("gpt-5.1", Tokens(10, 2, 3, 1)) == 5 * 2 + 2 * 1 + 3 * 3 + 1 * 4
    assert (catalogue.context_length("gpt-5.1"), catalogue.context_length("own")) == (7, 11)
    assert catalogue.cost("own", Tokens(1, 0, 0, 0)) is None
    assert catalogue.context_length("anthropic/claude-sonnet-4-5") == 200_000
    file.write_text('{"gpt-5.1": {"prize": 1}}')
    with pytest.raises(ValidationError):
        Catalogue.from_settings(settings_of("http://nowhere", **values))


def test_a_fallback_is_an_event_and_is_metered(customer: httpx.Client, calls: Any) -> None:
    orders = (
        "[sandbox: only=first, error=529, retry-after=0.01] [sandbox: only=second, error=429, retry-after=60]"
    )
    question = {"message": f"How is the stock? article=nails {orders}", "agent_type": "fallen"}
    events = documents(customer.post("/api/v1/chat/stream", json=question))
    fell = [(one["model"], one["fallback"], one["code"]) for one in events if one["type"] == "model.fallback"]
    first, second = (
        ("anthropic/first", "gemini/second", "model_unavailable"),
        ("gemini/second", "xai/grok-4", "model_rate_limited"),
    )
    assert fell == [first, second] * 2
    assert [used["model"] for used in events[-1]["usage"]["models"]] == ["xai/grok-4"]
    assert events[-1]["usage"]["cost"] == ceil(sum(cost_of(call, "x-ai", "grok-4") for call in calls()))


def test_nothing_falls_back_once_text_was_sent(customer: httpx.Client, calls: Any) -> None:
    question = {"message": "Hi [sandbox: only=first, fail-after=5, tokens=40]", "agent_type": "fallen"}
    answer = customer.post("/api/v1/chat", json=question)
    assert (answer.status_code, answer.json()["code"]) == (503, "model_unavailable")
    assert [call["model"] for call in calls()] == ["first"]


def test_models_are_listed_with_what_is_known_of_them(customer: httpx.Client) -> None:
    listed = {one["id"]: one for one in customer.get("/v1/models").json()["data"]}
    assert (listed["triage"]["price"], listed["triage"]["context_length"]) == (None, None)
    sonnet = listed["anthropic/claude-sonnet-4-5"]
    assert sonnet["context_length"] == 200_000
    assert sonnet["price"] == {
        "input": 3_000_000,
        "cached": 300_000,
        "cache_write": 3_750_000,
        "output": 15_000_000,
    }


def test_a_direct_model_of_another_provider_answers(customer: httpx.Client, calls: Any) -> None:
    body = {"model": "anthropic/claude-sonnet-4-5", "messages": [{"role": "user", "content": "Good morning"}]}
    answer = customer.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    assert "Good morning" in answer.json()["choices"][0]["message"]["content"]
    assert [(call["path"], call["model"]) for call in calls()] == [("/v1/messages", "claude-sonnet-4-5")]


def test_other_providers_have_no_endpoint_but_chat() -> None:
    models = {"anthropic/embed": {"tenants": ["*"], "endpoints": ["embeddings"]}}
    with pytest.raises(ValidationError, match="its one endpoint is chat"):
        settings_of("http://nowhere", direct_models=models)
    assert settings_of("http://nowhere", direct_models=models, anthropic_api_key=None).direct_models


def test_names_without_a_key_go_whole_where_all_others_go(model_url: str, calls: Any) -> None:
    for name in ("anthropic/sandbox-large", "openai/gpt-oss-120b", "meta-llama/llama"):
        asker = Asker(settings_of(model_url, anthropic_api_key=None), name)

        async def ask(asker: Asker = asker) -> None:
            await asker.events("Hi")
            await asker.provider.close()

        asyncio.run(ask())
        assert [(call["path"], call["model"]) for call in calls()][-1] == ("/v1/responses", name)
