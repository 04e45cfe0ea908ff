"""Models of other providers, by any-llm, which is installed beside the service where it can be."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from agents import function_tool
from chat_agent.errors import ModelAuthenticationFailed, ModelRateLimited
from chat_agent.model import retry
from pydantic import ValidationError
from servicekit.errors import ServiceError
from testkit.client_environments import available, installed

from .provider_asker import Asker, settings_of

ENVIRONMENT = "chat-agent-any_llm"
MODEL = "any-llm/vllm/sandbox-large"


@pytest.fixture(scope="module", params=sorted({ENVIRONMENT} & available()))
def library(request: pytest.FixtureRequest) -> Iterator[None]:
    """Make the library importable, and what only it needs; all else is the service's."""
    (packages,) = (installed(request.param) / "lib").glob("python*/site-packages")
    sys.path.append(str(packages))
    yield
    sys.path.remove(str(packages))


@pytest.fixture
async def asker(library: None, model_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("VLLM_API_BASE", f"{model_url}/v1")
    monkeypatch.setenv("VLLM_API_KEY", "sk-sandbox")
    monkeypatch.setattr(retry, "FIRST_BACKOFF", 0.01)
    asker = Asker(settings_of(model_url, agent_model_default=MODEL), MODEL)
    yield asker
    await asker.provider.close()


@function_tool
def current_time() -> str:
    """Return the time."""
    return "12:34"


async def test_it_answers_in_pieces_and_is_counted(asker: Asker) -> None:
    events = await asker.events("Two slices of marzipan [sandbox: tokens=40]")
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert len(deltas) == 40
    assert asker.meter.total().output_tokens == 40
    assert [one.model for one in asker.meter.total().models] == [MODEL]


async def test_it_calls_tools(asker: Asker) -> None:
    result = await asker.run("What time is it?", tools=[current_time])
    assert "12:34" in result.final_output


@pytest.mark.parametrize(
    ("order", "expected"), [("error=429", ModelRateLimited), ("error=401", ModelAuthenticationFailed)]
)
async def test_its_failures_have_our_names(asker: Asker, order: str, expected: type[ServiceError]) -> None:
    with pytest.raises(expected):
        await asker.events(f"Hello [sandbox: {order}]")


def test_a_model_of_it_is_refused_where_it_is_not_installed(
    model_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "any_llm", None)
    with pytest.raises(ValidationError, match="any-llm-sdk"):
        settings_of(model_url, agent_model_default=MODEL)


def test_its_models_are_called_by_their_whole_name(library: None, model_url: str) -> None:
    settings = settings_of(model_url, direct_models={MODEL: {"tenants": ["*"]}})
    assert settings.direct_model_name(MODEL, settings.direct_models[MODEL]) == MODEL
    with pytest.raises(ValidationError, match="its one endpoint is chat"):
        settings_of(model_url, direct_models={MODEL: {"tenants": ["*"], "endpoints": ["embeddings"]}})
