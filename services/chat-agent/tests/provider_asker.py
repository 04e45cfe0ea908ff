"""Models of every provider, all of them the sandbox."""

from typing import Any

from agents import Agent, Model, ModelSettings, Runner, RunResult
from agents.models.interface import ModelTracing
from chat_agent.model.provider import Provider, run_config
from chat_agent.model.usage import METER, UsageMeter
from chat_agent.settings import Settings
from redis.asyncio import Redis

NOWHERE: dict[str, Any] = {
    "database_url": "postgresql://nowhere",
    "redis_url": "redis://nowhere",
    "auth_issuer": "http://nowhere",
    "auth_jwks_url": "http://nowhere",
    "service_client_secret": "a-secret-of-this-test",
    "model_connect_timeout_seconds": 60,
}


def settings_of(sandbox: str, **more: Any) -> Settings:
    """Return settings in which the sandbox is every provider."""
    values = {
        **NOWHERE,
        "openai_api_key": "sk-sandbox",
        "openai_base_url": f"{sandbox}/v1",
        "xai_api_key": "xai-sandbox",
        "xai_base_url": f"{sandbox}/v1",
        "anthropic_api_key": "sk-sandbox",
        "anthropic_base_url": sandbox,
        "gemini_api_key": "sk-sandbox",
        "gemini_base_url": sandbox,
        "model_max_retries": 0,
    }
    return Settings(environment="test", debug=True, **{**values, **more})


def provider_of(settings: Settings) -> Provider:
    """Return the provider of a service with these settings."""
    return Provider(settings, Redis.from_url(settings.redis_url.get_secret_value()))


class Asker:
    """A model of one provider."""

    def __init__(self, settings: Settings, name: str) -> None:
        self.provider = provider_of(settings)
        self.name = name
        self.meter = UsageMeter()

    @property
    def model(self) -> Model:
        return self.provider.get_model(self.name)

    async def run(self, input: Any, **agent: Any) -> RunResult:
        """Run an agent of this model."""
        METER.set(self.meter)
        agent_ = Agent[Any](name="asker", instructions="You are a careful clerk.", model=self.name, **agent)
        return await Runner.run(agent_, input, run_config=run_config(self.provider))

    async def events(self, input: str) -> list[Any]:
        """Return the events of an answer."""
        METER.set(self.meter)
        rest: Any = {"previous_response_id": None, "conversation_id": None, "prompt": None}
        settings = ModelSettings(include_usage=True)
        model = self.model
        stream = model.stream_response(None, input, settings, [], None, [], ModelTracing.DISABLED, **rest)
        return [event async for event in stream]
