"""Settings that every service reads; each service adds its own few."""

import os
import sys
from collections.abc import Mapping
from fnmatch import filter as matching
from typing import Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    Field,
    ModelWrapValidatorHandler,
    SecretStr,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from servicekit.auth.call_limits import CallLimits
from servicekit.postgres import AddressInvalid, Connector
from servicekit.sample_secrets import is_sample, parts
from servicekit.settings_errors import SettingsInvalid, messages_of, missing, of_fields, report

DEVELOPMENT = frozenset({"development", "dev", "local", "test"})
PLACEHOLDERS = ("change-me", "changeme", "replace-me", "placeholder", "secret", "password", "example")
PLACEHOLDER_PREFIXES = ("change-me", "changeme", "replace-me", "development-only")
REDIS_SCHEMES = ("redis://", "rediss://", "unix://")
# NIST SP 800-63B-4, 3.1.1.2, asks for 112 bits of a pepper; a random character carries about six.
MIN_SECRET_LENGTH = 16


class RotatingSecret(SecretStr):
    """A secret, or several with commas during a rotation: the first is for new data, all are accepted."""

    @property
    def values(self) -> tuple[SecretStr, ...]:
        """All values, the current one first."""
        parts = [part.strip() for part in self.get_secret_value().split(",")]
        return tuple(SecretStr(part) for part in parts if part) or (SecretStr(""),)

    @property
    def current(self) -> SecretStr:
        """The value for everything new."""
        return self.values[0]


class Environment(EnvSettingsSource):
    """The environment as a source of settings; malformed JSON is reported like any other invalid setting."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """Decode JSON; leave anything else to the validation, which names all that is wrong."""
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            return value


class ServiceSettings(BaseSettings):
    """The settings of a service. A variable is the upper-cased name of its field."""

    model_config = SettingsConfigDict(
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        # An environment file names what it leaves open: `STRIPE_SECRET_KEY=` means that there is none.
        env_ignore_empty=True,
    )

    # Fields that development may go without, and secrets of our own making, which can be long.
    required_in_production: ClassVar[frozenset[str]] = frozenset()
    strong_secrets: ClassVar[frozenset[str]] = frozenset({"service_client_secret"})
    # Variables of before (`*`: anything), and what replaces each.
    replaced_variables: ClassVar[Mapping[str, str]] = {}

    environment: str = "production"
    debug: bool = False
    host: str = "127.0.0.1"
    port: int = 8000
    internal_port: int = 9000
    run_workers: bool = True
    # How many proxies of ours stand in front: each adds one address to X-Forwarded-For.
    trusted_proxy_count: int = Field(1, ge=0, le=8)

    # Of one client address: answered by 400, 413, 414, 415, 422 or 431; what is more gets 429.
    invalid_requests_per_minute: int = Field(120, ge=1)

    database_url: SecretStr = Field(
        description="the address of the service's own database, as in postgresql://USER:PASSWORD@HOST/NAME"
    )
    database_pool_size: int = 10
    # False behind a pooler that shares servers by transaction and keeps no prepared statements.
    database_prepared_statements: bool = True
    redis_url: SecretStr = Field(description="the address of Redis, as in redis://:PASSWORD@HOST:6379/0")

    auth_issuer: str = Field(
        description="the public address of the installation, as in https://api.example.com"
    )
    auth_audience: str = "acme-api"
    auth_jwks_url: str = Field(
        description="the address of auth's keys, http://auth:8000/.well-known/jwks.json"
    )

    service_client_secret: SecretStr | None = Field(
        None, description="this service's own secret out of auth's AUTH_SERVICE_SECRETS"
    )
    auth_internal_url: str = "http://auth:9000"

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    logging_sink: Literal["stdout", "datadog", "otlp", "none"] = "stdout"
    logging_datadog_api_key: SecretStr | None = None
    logging_datadog_site: str = "datadoghq.com"
    logging_otlp_endpoint: str | None = None
    logging_otlp_headers: dict[str, str] = Field(default_factory=dict)
    otel_exporter_otlp_endpoint: str | None = None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # Environment takes its place
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read what the caller gives, then the environment."""
        return init_settings, Environment(settings_cls)

    @field_validator("log_level", mode="before")
    @classmethod
    def upper(cls, value: object) -> object:
        """Convert to upper case."""
        return value.upper() if isinstance(value, str) else value

    @property
    def limits(self) -> CallLimits:
        """How often the service may be called; each service has a setting of its own for it."""
        return CallLimits()

    @property
    def is_development(self) -> bool:
        """Return whether shortcuts are allowed: in a development ENVIRONMENT, and only with DEBUG on."""
        return self.environment in DEVELOPMENT and self.debug

    @classmethod
    def load(cls) -> Self:
        """Read the environment; exit with a message that names each variable that is missing or unfit."""
        try:
            return cls()
        except ValidationError as error:
            sys.exit(report(error))

    def obsolete_variables(self) -> dict[str, str]:
        """Return the variables that are set and not read any more, with what replaces each."""
        known = {name.upper() for name in type(self).model_fields}
        return {
            name: replacement
            for pattern, replacement in self.replaced_variables.items()
            for name in matching(os.environ, pattern)
            if name not in known
        }

    @model_validator(mode="wrap")
    @classmethod
    def validate_all(cls, values: dict[str, Any], handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Name every missing or unfit variable in one message."""
        try:
            settings = handler(values)
        except ValidationError as error:
            raise SettingsInvalid([*of_fields(cls, error), *cls.validators_errors(values, error)]) from None
        if complaints := settings.problems():
            raise SettingsInvalid(complaints)
        return settings

    @classmethod
    def validators_errors(cls, values: dict[str, Any], error: ValidationError) -> list[str]:
        """List what is unfit besides the fields of an error; each of those has its default, or None, here."""
        refused = {str(detail["loc"][0]) for detail in error.errors()}
        without_default: Any = {
            name: (Any, None)
            for name in refused
            if (field := cls.model_fields.get(name)) and field.is_required()
        }
        partial = create_model(cls.__name__, __base__=cls, **without_default)
        try:
            # Not partial(...), which would read the refused values out of the environment again.
            BaseModel.__init__(
                partial.__new__(partial),
                **{name: value for name, value in values.items() if name not in refused},
            )
        except ValidationError as others:
            return messages_of(others)
        return []

    def problems(self) -> list[str]:
        """List the invalid settings for this environment; a setting that could not be read is None."""
        return [*self.unfit_anywhere(), *([] if self.is_development else self.unfit_for_production())]

    def unfit_anywhere(self) -> list[str]:
        """List what is invalid in every environment; a service adds its own conditions."""
        return [*self.unusable_addresses(), *self.incomplete_sinks()]

    def unusable_addresses(self) -> list[str]:
        """List what is invalid in the addresses of Postgres and Redis."""
        complaints = []
        if self.redis_url and not self.redis_url.get_secret_value().startswith(REDIS_SCHEMES):
            complaints.append(f"REDIS_URL is invalid: it begins with {' or '.join(REDIS_SCHEMES)}")
        try:
            Connector(self.database_url.get_secret_value() if self.database_url else "postgresql://", "")
        except AddressInvalid as error:
            complaints.append(f"DATABASE_URL is invalid: {error}")
        return complaints

    def incomplete_sinks(self) -> list[str]:
        """List what the chosen log sink still needs."""
        if self.logging_sink == "datadog" and not self.logging_datadog_api_key:
            return ["LOGGING_DATADOG_API_KEY is missing: LOGGING_SINK=datadog needs it"]
        if self.logging_sink == "otlp" and not self.logging_otlp_endpoint:
            return ["LOGGING_OTLP_ENDPOINT is missing: LOGGING_SINK=otlp needs it"]
        return []

    def unfit_for_production(self) -> list[str]:
        """List what is required outside development: secrets that are set, not samples, and long enough."""
        return [
            *(missing(type(self), name) for name in self.required_in_production if not getattr(self, name)),
            *(
                f"{name} {fault}"
                for name, secret in self.secrets().items()
                if (fault := self.fault(name, secret))
            ),
        ]

    def secrets(self) -> dict[str, str]:
        """Return every secret that is set, by its variable; one of several, as in NAME[key]."""
        found: dict[str, str] = {}
        for name, value in self:
            inner = value if isinstance(value, dict) else {}
            found |= {
                f"{name.upper()}[{key}]": secret.get_secret_value()
                for key, secret in inner.items()
                if isinstance(secret, SecretStr)
            }
            if isinstance(value, SecretStr):
                found[name.upper()] = value.get_secret_value()
        return found

    def fault(self, name: str, secret: str) -> str | None:
        """Return what is wrong with a secret, or None."""
        if is_placeholder(secret):
            return "is a placeholder: set a real secret, which is in no sample file"
        shortest = min(map(len, parts(secret)), default=0)
        if name.partition("[")[0].lower() in self.strong_secrets and shortest < MIN_SECRET_LENGTH:
            return (
                f"is shorter than {MIN_SECRET_LENGTH} characters: set a random one (openssl rand -base64 32)"
            )
        return None


def is_placeholder(secret: str) -> bool:
    """Return whether a secret is empty, or contains one from a sample file, a test or a tutorial."""
    return not secret.strip() or any(is_known(part) for part in parts(secret))


def is_known(secret: str) -> bool:
    """Return whether a secret is a published sample."""
    plain = secret.lower()
    return plain in PLACEHOLDERS or plain.startswith(PLACEHOLDER_PREFIXES) or is_sample(secret)
