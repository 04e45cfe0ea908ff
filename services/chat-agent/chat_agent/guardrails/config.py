"""Which guardrails are in force: a preset, or a configuration in the form of openai-guardrails.

https://openai.github.io/openai-guardrails-python/quickstart/
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import orjson
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from chat_agent.guardrails.model_based import (
    Config,
    ModelCheck,
    Moderation,
    PromptCheck,
    Word,
    require_supported,
)
from chat_agent.schemas import Stage

Entity = Literal["CREDIT_CARD", "EMAIL_ADDRESS", "IBAN_CODE", "IP_ADDRESS", "PHONE_NUMBER", "US_SSN"]
STAGES: tuple[Stage, ...] = ("pre_flight", "input", "output", "tool")
MAX_GUARDRAILS, MAX_LIST = 20, 500
# Of all words of a list together.
MAX_KEYWORD_CHARACTERS = 20_000


class PersonalDataConfig(Config):
    """Which personal data is masked, or ends the run."""

    entities: list[Entity] = Field(max_length=MAX_LIST)
    block: bool = False
    # Of openai-guardrails; that it is set must not go unnoticed.
    detect_encoded_pii: Literal[False] = False


class SecretKeysConfig(Config):
    """How readily something counts as a secret key.

    `permissive`: keys with a known prefix; `balanced`: private keys and signed tokens, too; `strict`:
    whatever is long and random.
    """

    threshold: Literal["strict", "balanced", "permissive"] = "balanced"


def check_url(value: str) -> str:
    """Return an entry of a list of URLs; raises ValueError for one that cannot be read."""
    urlsplit(value if "://" in value else f"//{value}")
    return value


AllowedUrl = Annotated[Word, AfterValidator(check_url)]


class UrlFilterConfig(Config):
    """Which URLs may be named; all others end the run."""

    url_allow_list: list[AllowedUrl] = Field(default_factory=list, max_length=MAX_LIST)
    allowed_schemes: list[Word] = Field(default_factory=lambda: ["https"], max_length=MAX_LIST)
    block_userinfo: bool = True
    allow_subdomains: bool = False


class KeywordsConfig(Config):
    """Words that end the run, in any case."""

    keywords: list[Word] = Field(min_length=1, max_length=MAX_LIST)

    @model_validator(mode="after")
    def limit_characters(self) -> Self:
        """Refuse a list that is too long as a whole."""
        if sum(map(len, self.keywords)) > MAX_KEYWORD_CHARACTERS:
            raise ValueError(f"keywords have more than {MAX_KEYWORD_CHARACTERS} characters together")
        return self


class PersonalData(Config):
    """Finds personal data by its form and its checksum."""

    name: Literal["Contains PII"]
    config: PersonalDataConfig


class SecretKeys(Config):
    """Finds secret keys."""

    name: Literal["Secret Keys"]
    config: SecretKeysConfig = SecretKeysConfig()


class UrlFilter(Config):
    """Finds URLs that are not allowed."""

    name: Literal["URL Filter"]
    config: UrlFilterConfig = UrlFilterConfig()


class Keywords(Config):
    """Finds words of a list."""

    name: Literal["Keyword Filter", "Competitor Detection"]
    config: KeywordsConfig


Guardrail = Annotated[
    PersonalData | SecretKeys | UrlFilter | Keywords | ModelCheck | PromptCheck | Moderation,
    Field(discriminator="name"),
    BeforeValidator(require_supported),
]


class Bundle(Config):
    """The guardrails of one stage."""

    version: Literal[1] = 1
    stage_name: Stage | None = None
    guardrails: list[Guardrail] = Field(default_factory=list, max_length=MAX_GUARDRAILS)


class GuardrailConfig(Config):
    """The guardrails of all stages.

    `pre_flight` and `input` check what people write, `output` the answer, `tool` the arguments and outputs of
    tools.
    """

    version: Literal[1] = 1
    pre_flight: Bundle = Bundle()
    input: Bundle = Bundle()
    output: Bundle = Bundle()
    tool: Bundle = Bundle()


def _pii(*entities: str, block: bool = False) -> dict[str, Any]:
    return {"name": "Contains PII", "config": {"entities": [*entities], "block": block}}


def _secrets(threshold: str) -> dict[str, Any]:
    return {"name": "Secret Keys", "config": {"threshold": threshold}}


NUMBERS = ("CREDIT_CARD", "IBAN_CODE", "US_SSN")
ENTITIES = (*NUMBERS, "EMAIL_ADDRESS", "IP_ADDRESS", "PHONE_NUMBER")
# By preset and stage.
PRESETS: Mapping[str, Mapping[Stage, list[dict[str, Any]]]] = {
    "none": {},
    "minimal": {"output": [_secrets("permissive")]},
    "standard": {
        "pre_flight": [_pii(*NUMBERS)],
        "input": [_secrets("balanced")],
        "output": [_secrets("balanced"), _pii(*NUMBERS)],
        "tool": [_secrets("balanced"), _pii(*NUMBERS)],
    },
    "strict": {
        "pre_flight": [_pii(*ENTITIES)],
        "input": [_secrets("strict"), {"name": "Jailbreak"}],
        "output": [_secrets("strict"), _pii(*ENTITIES, block=True), {"name": "URL Filter"}],
        "tool": [_secrets("balanced"), _pii(*ENTITIES), {"name": "Prompt Injection Detection"}],
    },
}


def preset_members(name: str) -> dict[str, Any]:
    """Return the configuration that a preset stands for."""
    return {stage: {"guardrails": guardrails} for stage, guardrails in PRESETS[name].items()}


class AgentGuardrails(GuardrailConfig):
    """The guardrails of an agent, beside those of the service: a preset, guardrails by stage, or both."""

    preset: Literal["none", "minimal", "standard", "strict"] | None = None

    @property
    def config(self) -> GuardrailConfig:
        """The guardrails of the preset, and its own."""
        preset = GuardrailConfig.model_validate(preset_members(self.preset or "none"))
        stages = {
            stage: {"guardrails": [*getattr(preset, stage).guardrails, *getattr(self, stage).guardrails]}
            for stage in STAGES
        }
        return GuardrailConfig.model_validate(stages)


def models_of(config: GuardrailConfig | None) -> Iterator[tuple[str, str]]:
    """Yield the models that guardrails name, and where; moderation has models of its own."""
    for stage in STAGES if config else ():
        for index, one in enumerate(getattr(config, stage).guardrails):
            if isinstance(one, ModelCheck | PromptCheck) and one.config.model is not None:
                yield f"{stage}.guardrails[{index}].config.model", one.config.model


def from_setting(value: object) -> object:
    """Return the configuration that a preset or a JSON text stands for; any other value as it is."""
    if not isinstance(value, str):
        return value
    if value in PRESETS:
        return preset_members(value)
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        raise ValueError(f"must be a preset ({', '.join(PRESETS)}) or a JSON object") from None
