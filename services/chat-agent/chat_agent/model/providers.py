"""The providers that names of models begin with: `anthropic/claude-sonnet-4-5`."""

from collections.abc import Callable
from functools import partial

from chat_agent.model.dialects import anthropic, gemini
from chat_agent.model.dialects.client import DialectClient
from chat_agent.model.fast_client import FastClient
from chat_agent.model.transport import Connections
from chat_agent.settings import OtherProvider, Settings

OPENAI = "openai/"
# Other servers of its protocol have models whose names begin with `openai/`.
OPENAI_HOST = "api.openai.com"
Client = FastClient | DialectClient
# By the base URL, the key, the seconds to connect, and the connections where others share them.
CLIENTS: dict[OtherProvider, Callable[[str, str, float, Connections | None], Client]] = {
    "anthropic": anthropic.connect,
    "gemini": gemini.connect,
    "xai": partial(FastClient, provider="xai"),
}


def connect_others(settings: Settings) -> dict[OtherProvider, Client]:
    """Return a client of each provider beside OpenAI that has a key."""
    seconds = settings.model_connect_timeout_seconds
    return {name: CLIENTS[name](*settings.access_to(name), seconds, None) for name in settings.providers}


def name_at_openai(name: str, host: str) -> str:
    """Return what OpenAI, or a server of its protocol, calls a model."""
    return name.removeprefix(OPENAI) if host == OPENAI_HOST else name
