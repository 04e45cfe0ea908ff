"""The settings of the chat-agent, from the environment."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator
from pydantic_settings import NoDecode
from servicekit.app import Resources
from servicekit.auth.call_limits import CallLimits
from servicekit.encryption import check_keys
from servicekit.settings import RotatingSecret, ServiceSettings

from chat_agent.direct_models import DirectModel, DirectModels
from chat_agent.guardrails.config import GuardrailConfig, from_setting
from chat_agent.schemas import MAX_CHAT_BODY, MAX_MESSAGE, MAX_MESSAGE_BODY, MESSAGE_BODY

# Variables of before, and what replaces each.
REPLACED_VARIABLES = {
    "APPROVAL_SECONDS": "APPROVAL_TIMEOUT_SECONDS",
    "AUTH_PATIENCE_SECONDS": "AUTH_TIMEOUT_SECONDS",
    "CONVERSATION_PATIENCE_SECONDS": "CONVERSATION_TIMEOUT_SECONDS",
    "MODEL_BETWEEN_TOKENS_SECONDS": "MODEL_BETWEEN_TOKENS_TIMEOUT_SECONDS",
    "MODEL_CONNECT_SECONDS": "MODEL_CONNECT_TIMEOUT_SECONDS",
    "MODEL_FIRST_TOKEN_SECONDS": "MODEL_FIRST_TOKEN_TIMEOUT_SECONDS",
    "RUN_LOG_SECONDS": "RUN_LOG_TTL_SECONDS",
    "RUN_SECONDS": "RUN_TIMEOUT_SECONDS",
}


Protocol = Literal["chat_completions", "responses", "ag_ui", "ui_messages"]
# Whose models are called as `provider/model` where a key is set for them.
OtherProvider = Literal["anthropic", "gemini", "xai"]
OTHER_PROVIDERS: tuple[OtherProvider, ...] = get_args(OtherProvider)
# All others, by the library of this name.
ANY_LLM = "any-llm"
OnDisconnect = Literal["continue", "cancel"]
InputKind = Literal["image", "file", "audio"]
IMAGES_AND_FILES: frozenset[InputKind] = frozenset({"image", "file"})


class Price(BaseModel):
    """What a model's tokens cost, in millionths of a dollar for a million of them."""

    input: int = Field(ge=0)
    cached: int = Field(ge=0)
    # Of what is written to the provider's cache; without it, that of the rest of the input.
    cache_write: int | None = Field(None, ge=0)
    output: int = Field(ge=0)


class ModelFacts(BaseModel):
    """What an operator knows better of a model than the estimates."""

    model_config = ConfigDict(extra="forbid")

    price: Price | None = None
    # In tokens.
    context_length: int | None = Field(None, ge=1)


class Settings(ServiceSettings):
    """The variables of this service, beside those that every service has."""

    # As JSON: {"writes_per_person": 60} changes that one, of the calls a minute.
    chat_limits: CallLimits = CallLimits()

    required_in_production = frozenset({"service_client_secret"})
    replaced_variables = REPLACED_VARIABLES

    @property
    def limits(self) -> CallLimits:
        """How often the service may be called."""
        return self.chat_limits

    @classmethod
    def of(cls, resources: Resources) -> Self:
        """Return those that a service was made with."""
        assert isinstance(resources.settings, cls)  # noqa: S101  # what `create_app` makes it with
        return resources.settings

    @property
    def secret_keys(self) -> tuple[SecretStr, ...]:
        """The keys of tenants' secrets, the newest first; none where tenants can store none."""
        keys = self.tenant_secrets_encryption_key
        return keys.values if keys is not None else ()

    @property
    def providers(self) -> frozenset[OtherProvider]:
        """Return the providers beside OpenAI that have a key."""
        return frozenset(name for name in OTHER_PROVIDERS if getattr(self, f"{name}_api_key"))

    def access_to(self, provider: OtherProvider) -> tuple[str, str]:
        """Return the base URL of a provider, and the key."""
        key: SecretStr = getattr(self, f"{provider}_api_key")
        return getattr(self, f"{provider}_base_url"), key.get_secret_value()

    def direct_model_name(self, name: str, model: DirectModel) -> str:
        """Return the name by which a direct model is called, with its provider where that is not OpenAI."""
        provider, _, rest = name.partition("/")
        return model.provider_name or (name if provider in {*self.providers, ANY_LLM} else rest)

    @property
    def model_names(self) -> frozenset[str]:
        """Return the names of all models that the settings name."""
        fallbacks = [name for names in self.model_fallbacks.values() for name in names]
        direct = [self.direct_model_name(*one) for one in self.direct_models.items()]
        return frozenset({self.agent_model_default, *fallbacks, *direct})

    @model_validator(mode="after")
    def _any_llm_installed(self) -> Self:
        is_missing = find_spec("any_llm") is None
        for name in sorted(self.model_names):
            if is_missing and name.startswith(f"{ANY_LLM}/"):
                raise ValueError(f"{name!r} needs the package any-llm-sdk: install acme-chat-agent[any-llm]")
        return self

    @model_validator(mode="after")
    def _other_providers_chat(self) -> Self:
        for name, model in self.direct_models.items():
            provider = self.direct_model_name(name, model).partition("/")[0]
            if provider in {*self.providers, ANY_LLM} and model.endpoints != {"chat"}:
                raise ValueError(
                    f"direct_models: {name!r} is a model of {provider}: its one endpoint is chat"
                )
        return self

    openai_api_key: SecretStr = Field(description="the key of the model's provider")
    openai_base_url: str = "https://api.openai.com/v1"
    # Compatible servers that speak only the older protocol: `chat_completions`.
    openai_api: Literal["responses", "chat_completions"] = "responses"
    # False for a provider that does not take the schema of an answer: the model gets it in its instructions.
    openai_output_schemas: bool = True
    # Their models are called `anthropic/…`, `gemini/…`, `xai/…`; without a key, as any name at the URL above.
    anthropic_api_key: SecretStr | None = None
    anthropic_base_url: str = "https://api.anthropic.com"
    gemini_api_key: SecretStr | None = None
    gemini_base_url: str = "https://generativelanguage.googleapis.com"
    xai_api_key: SecretStr | None = None
    xai_base_url: str = "https://api.x.ai/v1"
    agent_model_default: str = "gpt-5.1"
    # `openai`: the vendor's own client, at about seven times the cost of a token.
    model_client: Literal["fast", "openai"] = "fast"
    model_connect_timeout_seconds: float = 5
    model_first_token_timeout_seconds: float = 60
    model_between_tokens_timeout_seconds: float = 30
    # Before the first token only; what was said is never said again.
    model_max_retries: int = 2
    # Who answers when the model does not: at the same provider, unless another is named.
    model_fallback: str | None = None
    # Before that one, by model, "*" for all others: {"gpt-5.1": ["anthropic/claude-sonnet-4-5"]}.
    model_fallbacks: dict[str, list[str]] = Field(default_factory=dict)
    model_fallback_base_url: str | None = None
    model_fallback_api_key: SecretStr | None = None
    # As JSON, by model: {"gpt-5.1": {"input": 1250000, "cached": 125000, "output": 10000000}}.
    model_prices: dict[str, Price] = Field(default_factory=dict)
    # The same and more of many models, as a file: {"gpt-5.1": {"price": {…}, "context_length": 400000}}.
    model_catalogue_file: Path | None = None

    # Of a body with messages, images and files; 6 MiB of it may be text.
    max_message_body_bytes: int = Field(MESSAGE_BODY, ge=MAX_CHAT_BODY, le=MAX_MESSAGE_BODY)
    # Of one message, and of what is said in one request to a model whose context is known: no more than fits.
    max_message_characters: int = Field(MAX_MESSAGE, ge=1, le=MAX_MESSAGE)
    # How many tokens fit into a model, as JSON: {"gpt-5.1": 400000}. `/v1/models` says so.
    model_context_lengths: dict[str, int] = Field(default_factory=dict)
    # What models take beside text, as JSON by model, "*" for all: {"gpt-audio": ["audio"]}.
    model_inputs: dict[str, frozenset[InputKind]] = Field(
        default_factory=lambda: {"gpt-5.1": IMAGES_AND_FILES}
    )
    # Of the images and files of a conversation that a model is sent; the oldest are left out.
    model_attachment_bytes: int = Field(20 * 1024 * 1024, ge=0)
    # Of all uploaded files of a tenant together.
    max_file_storage_bytes: int = Field(1024**3, ge=0)
    # Models that tenants may call without an agent, as JSON: {"openai/gpt-5.1": {"tenants": ["*"]}}.
    direct_models: DirectModels = Field(default_factory=dict)

    # Encrypts the secrets that tenants store; without it they can store none. During a change `new,old`.
    tenant_secrets_encryption_key: Annotated[RotatingSecret, AfterValidator(check_keys)] | None = Field(
        None, description="32 random bytes in base64 (openssl rand -base64 32)"
    )

    # Hosts of private networks that tools may call, as JSON: ["orders.internal:8080"].
    tool_private_hosts: frozenset[str] = frozenset()

    conversation_internal_url: str = "http://conversation:9000"
    # How long a run that is under way waits for the conversation service; one that begins, a sixth of it.
    conversation_timeout_seconds: float = 60
    # How long a run that goes on, after an answer or a lost replica, waits to hear that its owner still may.
    auth_timeout_seconds: float = 60

    # True: what a run may use is reserved at billing before it starts, and before each call of a model.
    enable_billing: bool = False
    billing_internal_url: str = "http://billing-webhook:9000"
    billing_timeout_seconds: float = 5
    # For a call of a model without `max_tokens`, and again when its answer becomes longer.
    billing_reserved_output_tokens: int = Field(1024, ge=1)

    chat_rate_limit_per_minute: int = 60
    chat_stream_rate_limit_per_minute: int = 30
    chat_stream_concurrent_limit: int = 5
    # Streams that are taken up again; more than one replica's end may have broken off at once.
    chat_resume_rate_limit_per_minute: int = 300
    chat_resume_concurrent_limit: int = 20
    # All people of a tenant together.
    chat_tenant_rate_limit_per_minute: int = 3000
    chat_tenant_stream_rate_limit_per_minute: int = 1500
    chat_tenant_stream_concurrent_limit: int = 500

    # A preset (`none`, `minimal`, `standard`, `strict`), or JSON in the form of openai-guardrails.
    guardrails: Annotated[GuardrailConfig, BeforeValidator(from_setting), NoDecode] = GuardrailConfig()

    # By which memories are recalled that are like a message, at OPENAI_BASE_URL; without one, by words alone.
    memory_embedding_model: str | None = None

    # From how many tokens of a call conversations are summarized whose agent says nothing of it; else never.
    compaction_tokens: int | None = Field(None, ge=1)

    # What callers may not set, as JSON by agent, "*" for all: {"triage": ["temperature", "top_p"]}.
    denied_parameters: dict[str, frozenset[str]] = Field(default_factory=dict)

    # What becomes of a run whose client disconnects, as JSON by protocol: {"chat_completions": "continue"}.
    # Of others it continues where somebody can read the rest.
    on_disconnect: dict[Protocol, OnDisconnect] = Field(default_factory=dict)

    run_max_turns: int = 20
    run_timeout_seconds: float = 600
    run_token_budget: int = 1_000_000
    # A lost replica's runs go on elsewhere after this and a look around: in all, within ten seconds.
    run_lease_seconds: float = 6
    # For how long after its end a run's stream can be read again.
    run_log_ttl_seconds: int = 3600
    # For how long a run waits for a person to allow what a tool is about to do.
    approval_timeout_seconds: int = 86_400
    run_retention_days: int = 90
    history_items: int = 200
    # For how long the conversations of chat completions are stored that nobody has named or continued.
    temporary_conversation_hours: int = Field(24, ge=1)
