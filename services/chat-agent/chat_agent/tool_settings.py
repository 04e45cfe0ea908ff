"""Settings of tools, from the environment."""

import logging
from functools import cache
from typing import TypeVar
from urllib.parse import urlsplit

from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError

logger = logging.getLogger(__name__)


class ToolSettings(BaseSettings):
    """Settings of a tool, from the environment; each kind has a prefix of its own."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", frozen=True)


S = TypeVar("S", bound=ToolSettings)


@cache
def load_settings(kind: type[S]) -> S:
    """Return the settings of a tool, read once; raises ValidationError or SettingsError, and logs why."""
    try:
        return kind()
    except (ValidationError, SettingsError) as error:
        logger.error("settings of a tool are invalid", extra=problems_of(kind, error))
        raise


def problems_of(kind: type[ToolSettings], error: ValidationError | SettingsError) -> dict[str, object]:
    """Return what is wrong with which variable, without its value; a SettingsError names it in its text."""
    if isinstance(error, SettingsError):
        return {"settings": kind.__name__, "problems": [str(error)]}
    prefix = kind.model_config.get("env_prefix", "")
    problems = [
        f"{prefix}{'__'.join(map(str, one['loc']))}".upper() + f": {one['type']}" for one in error.errors()
    ]
    return {"settings": kind.__name__, "problems": problems}


class WebSearchSettings(ToolSettings):
    """How the web is searched."""

    tavily_api_key: SecretStr | None = None
    tavily_base_url: str = "https://api.tavily.com"

    @property
    def host(self) -> str:
        """The host and port, which may be of a private network."""
        parts = urlsplit(self.tavily_base_url)
        return f"{parts.hostname}:{parts.port or 443}"
