"""Settings of tools, from the environment."""

from functools import cache
from typing import TypeVar
from urllib.parse import urlsplit

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class ToolSettings(BaseSettings):
    """Settings of a tool, from the environment; each kind has a prefix of its own."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", frozen=True)


S = TypeVar("S", bound=ToolSettings)


@cache
def load_settings(kind: type[S]) -> S:
    """Return the settings of a tool, read once; raises ValidationError where one is missing."""
    return kind()


class WebSearchSettings(ToolSettings):
    """How the web is searched."""

    tavily_api_key: SecretStr | None = None
    tavily_base_url: str = "https://api.tavily.com"

    @property
    def host(self) -> str:
        """The host and port, which may be of a private network."""
        parts = urlsplit(self.tavily_base_url)
        return f"{parts.hostname}:{parts.port or 443}"
