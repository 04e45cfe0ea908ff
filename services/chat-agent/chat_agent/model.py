"""The model, behind any server that speaks OpenAI's protocol."""

import httpx2
from agents import ModelSettings, OpenAIProvider, RunConfig, set_tracing_disabled
from openai import AsyncOpenAI

from chat_agent.settings import Settings

# The SDK's own tracing sends inputs and outputs to its vendor. Ours is OpenTelemetry; theirs stays off.
set_tracing_disabled(disabled=True)


def connect(settings: Settings) -> AsyncOpenAI:
    """Make the client: one for the process, so that connections are kept."""
    return AsyncOpenAI(
        api_key=settings.openai_api_key.get_secret_value(),
        base_url=settings.openai_base_url,
        max_retries=settings.model_max_retries,
        timeout=httpx2.Timeout(settings.model_read_seconds, connect=settings.model_connect_seconds),
    )


def run_config(settings: Settings, client: AsyncOpenAI) -> RunConfig:
    """Make what every run is told: which model, spoken to how; usage is always asked for."""
    return RunConfig(
        model=settings.agent_model_default,
        model_provider=OpenAIProvider(openai_client=client, use_responses=settings.openai_api == "responses"),
        model_settings=ModelSettings(include_usage=True, store=False),
        tracing_disabled=True,
        trace_include_sensitive_data=False,
        workflow_name="acme",
    )
