"""The variables that every service reads; each service adds its own few."""

from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

DEVELOPMENT = frozenset({"development", "dev", "local", "test"})
PLACEHOLDERS = ("change-me", "changeme", "replace-me", "placeholder", "secret", "password", "example")


def first_and(current: SecretStr, previous: SecretStr | None) -> tuple[SecretStr, ...]:
    """List a key and, as long as it is needed, the one before."""
    return (current, *([previous] if previous else []))


class ServiceSettings(BaseSettings):
    """What a service is told from outside. A variable is the upper-cased name of its field."""

    model_config = SettingsConfigDict(
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        # An environment file names what it leaves open: `STRIPE_SECRET_KEY=` means that there is none.
        env_ignore_empty=True,
    )

    environment: str = "production"
    debug: bool = False
    host: str = "127.0.0.1"
    port: int = 8000
    internal_port: int = 9000
    run_workers: bool = True
    # How many proxies of ours stand in front: each adds one address to X-Forwarded-For.
    trusted_proxy_count: int = Field(1, ge=0, le=8)

    database_url: SecretStr
    database_pool_size: int = 10
    redis_url: SecretStr

    auth_issuer: str
    auth_audience: str = "acme-api"
    auth_jwks_url: str

    service_client_secret: SecretStr | None = None
    auth_internal_url: str = "http://auth:9000"

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    logging_sink: Literal["stdout", "datadog", "otlp", "none"] = "stdout"
    logging_datadog_api_key: SecretStr | None = None
    logging_datadog_site: str = "datadoghq.com"
    logging_otlp_endpoint: str | None = None
    logging_otlp_headers: dict[str, str] = Field(default_factory=dict)
    otel_exporter_otlp_endpoint: str | None = None

    @field_validator("log_level", mode="before")
    @classmethod
    def upper(cls, value: object) -> object:
        """Take `info` for `INFO`."""
        return value.upper() if isinstance(value, str) else value

    @property
    def is_development(self) -> bool:
        """Tell whether shortcuts are allowed: in a development ENVIRONMENT, and only with DEBUG on."""
        return self.environment in DEVELOPMENT and self.debug

    @model_validator(mode="after")
    def refuse_to_boot_half_configured(self) -> Self:
        """Name every missing or placeholder variable in one message."""
        complaints = [*self.incomplete_sinks(), *([] if self.is_development else self.unfit_for_production())]
        if complaints:
            raise ValueError("; ".join(complaints))
        return self

    def incomplete_sinks(self) -> list[str]:
        """List what the chosen log sink still needs."""
        if self.logging_sink == "datadog" and not self.logging_datadog_api_key:
            return ["LOGGING_SINK=datadog needs LOGGING_DATADOG_API_KEY"]
        if self.logging_sink == "otlp" and not self.logging_otlp_endpoint:
            return ["LOGGING_SINK=otlp needs LOGGING_OTLP_ENDPOINT"]
        return []

    def unfit_for_production(self) -> list[str]:
        """List the secrets that nobody has replaced; a service adds its own conditions."""
        return [
            f"{name.upper()} is a placeholder: set a real secret"
            for name, value in self
            if isinstance(value, SecretStr) and is_placeholder(value.get_secret_value())
        ]


def is_placeholder(secret: str) -> bool:
    """Tell whether a secret is empty, or one that a sample file or a tutorial carries."""
    plain = secret.strip().lower()
    return not plain or plain in PLACEHOLDERS or plain.startswith(("change-me", "changeme", "replace-me"))
