"""What the chat-agent is told from outside."""

from typing import Literal

from pydantic import SecretStr
from servicekit.settings import ServiceSettings


class Settings(ServiceSettings):
    """The variables of this service, beside those that every service has."""

    openai_api_key: SecretStr
    openai_base_url: str = "https://api.openai.com/v1"
    # Compatible servers that speak only the older protocol: `chat_completions`.
    openai_api: Literal["responses", "chat_completions"] = "responses"
    agent_model_default: str = "gpt-5.1"
    model_connect_seconds: float = 5
    model_read_seconds: float = 60
    model_max_retries: int = 2

    conversation_internal_url: str = "http://conversation:9000"

    chat_rate_limit_per_minute: int = 60
    chat_stream_rate_limit_per_minute: int = 30
    chat_stream_concurrent_limit: int = 5

    run_max_turns: int = 20
    run_seconds: float = 600
    run_lease_seconds: float = 10
    # For how long after its end a run's stream can be read again.
    run_log_seconds: int = 3600
    history_items: int = 200
