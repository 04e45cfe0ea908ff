"""Which guardrails are in force: a preset, or a configuration in the form of openai-guardrails.

https://openai.github.io/openai-guardrails-python/quickstart/
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Text = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Entity = Literal["CREDIT_CARD", "EMAIL_ADDRESS", "IBAN_CODE", "IP_ADDRESS", "PHONE_NUMBER", "US_SSN"]
Stage = Literal["pre_flight", "input", "output"]
MAX_GUARDRAILS, MAX_LIST = 20, 500


class Config(BaseModel):
    """What one guardrail is configured with."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PersonalDataConfig(Config):
    """Which personal data is masked, or ends the run."""

    entities: list[Entity] = Field(max_length=MAX_LIST)
    block: bool = False


class SecretKeysConfig(Config):
    """How readily something counts as a secret key.

    `permissive`: keys with a known prefix; `balanced`: private keys and signed tokens, too; `strict`:
    whatever is long and random.
    """

    threshold: Literal["strict", "balanced", "permissive"] = "balanced"


class UrlFilterConfig(Config):
    """Which URLs may be named; all others end the run."""

    url_allow_list: list[Text] = Field(default_factory=list, max_length=MAX_LIST)
    allowed_schemes: frozenset[Text] = frozenset({"https"})
    block_userinfo: bool = True
    allow_subdomains: bool = False


class KeywordsConfig(Config):
    """Words that end the run, in any case."""

    keywords: list[Text] = Field(min_length=1, max_length=MAX_LIST)


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


Guardrail = Annotated[PersonalData | SecretKeys | UrlFilter | Keywords, Field(discriminator="name")]


class Bundle(Config):
    """The guardrails of one stage."""

    version: Literal[1] = 1
    guardrails: list[Guardrail] = Field(default_factory=list, max_length=MAX_GUARDRAILS)


class GuardrailConfig(Config):
    """The guardrails of all stages: `pre_flight` and `input` check what people write, `output` the answer."""

    version: Literal[1] = 1
    pre_flight: Bundle = Bundle()
    input: Bundle = Bundle()
    output: Bundle = Bundle()


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
    },
    "strict": {
        "pre_flight": [_pii(*ENTITIES)],
        "input": [_secrets("strict")],
        "output": [_secrets("strict"), _pii(*ENTITIES, block=True), {"name": "URL Filter"}],
    },
}


def from_setting(value: object) -> object:
    """Return the configuration that a preset or a JSON text stands for; any other value as it is."""
    if not isinstance(value, str):
        return value
    if value in PRESETS:
        return {stage: {"guardrails": guardrails} for stage, guardrails in PRESETS[value].items()}
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        raise ValueError(f"must be a preset ({', '.join(PRESETS)}) or a JSON object") from None
