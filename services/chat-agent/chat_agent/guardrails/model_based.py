"""The configuration of guardrails that ask a model, in the form of openai-guardrails."""

from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError
from servicekit.schemas import BoundedModel

from chat_agent.schemas import storable

MAX_CATEGORIES, MAX_DETAILS = 50, 4000
# Messages before a text that are read with it.
MAX_TURNS = 10
Word = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(storable)]
Details = Annotated[str, StringConstraints(min_length=1, max_length=MAX_DETAILS), AfterValidator(storable)]


class Config(BoundedModel):
    """What one guardrail is configured with."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CheckConfig(Config):
    """What is done where a check cannot be made."""

    on_error: Literal["block", "allow"] = Field(
        "block", description="Whether a text passes that could not be checked."
    )
    timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 15


class ModelCheckConfig(CheckConfig):
    """How a model is asked about a text."""

    model: Word | None = Field(None, description="Without it the model of the agent.")
    confidence_threshold: Annotated[float, Field(ge=0, le=1)] = 0.7
    max_turns: Annotated[int, Field(ge=1, le=50)] = Field(
        MAX_TURNS, description="How many messages before the text the model reads."
    )
    include_reasoning: bool = Field(
        False, description="Whether the model reasons first; nobody reads its reasons."
    )


class PromptCheckConfig(ModelCheckConfig):
    """What a text is checked for, in the words of who configures it."""

    system_prompt_details: Details


class ModerationConfig(CheckConfig):
    """Which categories end the run."""

    categories: list[Word] = Field(default_factory=list, max_length=MAX_CATEGORIES, description="None: any.")
    model: Word = "omni-moderation-latest"


class ModelCheck(Config):
    """Checks a text with a model."""

    name: Literal["Jailbreak", "NSFW Text", "Prompt Injection Detection"]
    config: ModelCheckConfig = ModelCheckConfig()


class PromptCheck(Config):
    """Checks a text with a model for what the configuration describes."""

    name: Literal["Off Topic Prompts", "Custom Prompt Check"]
    config: PromptCheckConfig


class Moderation(Config):
    """Checks a text with the provider's moderation."""

    name: Literal["Moderation"]
    config: ModerationConfig = ModerationConfig()


def require_supported(value: object) -> object:
    """Refuse a guardrail that is part of openai-guardrails and not of this service, by its name."""
    if isinstance(value, dict) and value.get("name") == "Hallucination Detection":
        raise PydanticCustomError(
            "guardrail_unsupported",
            "Hallucination Detection is not supported: it needs a vector store at OpenAI",
        )
    return value


ModelBased = ModelCheck | PromptCheck | Moderation


def qualified_name(model: str) -> str:
    """Return the name of a model with its provider, which openai-guardrails leaves out."""
    return model if "/" in model else f"openai/{model}"
