"""One conversation of agents whose models are of different providers."""

import itertools
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from agents import Agent, ModelSettings, function_tool
from chat_agent.agents import AGENTS
from chat_agent.main import create_app
from chat_agent.settings import Settings
from openai.types.shared import Reasoning
from testkit.issuer import Issuer
from testkit.live_server import NO_AUTHORITIES, serving

MODELS = {
    "openai": "sandbox-large",
    "anthropic": "anthropic/sandbox-large",
    "gemini": "gemini/sandbox-large",
    "xai": "xai/sandbox-large",
}
ORDER = ["openai", "anthropic", "gemini", "openai", "xai", "gemini", "anthropic", "openai"]
THINKING = ModelSettings(reasoning=Reasoning(effort="low"), response_include=["reasoning.encrypted_content"])


@function_tool
def stock(article: str) -> str:
    """Count what is in stock."""
    return f"7 {article}"


@function_tool
def opening_hours() -> str:
    """Return when the shop is open."""
    return "9 to 5"


@pytest.fixture(autouse=True)
def _agents(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add a clerk of each provider; each may hand over to the next in the order."""
    clerks = {
        name: Agent[Any](
            name=name,
            instructions=f"You are the clerk of {name}.",
            model=model,
            tools=[stock, opening_hours],
            model_settings=THINKING,
        )
        for name, model in MODELS.items()
    }
    for name, following in itertools.pairwise(ORDER[:4]):
        clerks[name].handoffs = [clerks[following]]
    for name, clerk in clerks.items():
        monkeypatch.setitem(AGENTS, name, clerk)


@pytest.fixture(scope="module")
def shop_url(settings: Settings, model_url: str) -> Iterator[str]:
    """Serve the chat-agent with a key for every provider, all of which are the sandbox."""
    keys = {f"{name}_api_key": "sk-sandbox" for name in ("anthropic", "gemini")} | {
        "xai_api_key": "xai-sandbox"
    }
    urls = {"anthropic_base_url": model_url, "gemini_base_url": model_url, "xai_base_url": f"{model_url}/v1"}
    app = create_app(Settings.model_validate({**settings.model_dump(), **keys, **urls}))
    with serving(app) as url:
        yield url


@pytest.fixture
def customer(shop_url: str, issuer: Issuer) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {issuer.token(role='member')}"}
    with httpx.Client(base_url=shop_url, headers=headers, timeout=60, verify=NO_AUTHORITIES) as client:
        yield client


def test_every_provider_goes_on_where_another_has_called_tools_and_thought(customer: httpx.Client) -> None:
    conversation: dict[str, str] = {}
    for number, clerk in enumerate(ORDER):
        question = (
            f"How is the stock, and the opening_hours? article=nails{number} [sandbox: reasoning, redacted]"
        )
        answer = customer.post(
            "/api/v1/chat", json={"message": question, "agent_type": clerk, **conversation}
        )
        assert answer.status_code == 200, answer.text
        body = answer.json()
        conversation = {"conversation_id": body["conversation_id"]}
        assert f"7 nails{number}" in body["response"]
        assert "9 to 5" in body["response"]
        assert [one["model"] for one in body["usage"]["models"]] == [MODELS[clerk]]
        assert body["usage"]["reasoning_tokens"] > 0


def test_a_run_is_handed_over_from_one_provider_to_the_next(customer: httpx.Client) -> None:
    question = "How is the stock? article=nails [sandbox: reasoning, call=transfer_to_anthropic]"
    answer = customer.post("/api/v1/chat", json={"message": question, "agent_type": "openai"})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    again = "And the opening_hours? [sandbox: reasoning, call=transfer_to_gemini, call=transfer_to_openai]"
    following = customer.post(
        "/api/v1/chat",
        json={"message": again, "agent_type": "anthropic", "conversation_id": body["conversation_id"]},
    )
    assert following.status_code == 200, following.text
    assert (body["agent_used"], following.json()["agent_used"]) == ("anthropic", "openai")
    models = [one["model"] for one in following.json()["usage"]["models"]]
    assert models == [MODELS["anthropic"], MODELS["gemini"], MODELS["openai"]]
