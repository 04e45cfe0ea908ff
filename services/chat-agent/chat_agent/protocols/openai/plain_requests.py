"""What OpenAI's clients send to the routes that are passed on to a model: bounded, and else as it is."""

from typing import Annotated, Any, Literal

from pydantic import Field

from chat_agent.api.plain_call import PlainRequest
from chat_agent.protocols.client_tools import denied_parameters
from chat_agent.protocols.errors import ParameterNotAllowed
from chat_agent.protocols.openai.parameters import LogitBias
from chat_agent.protocols.requests import LenientModel, Members, Name, Parts, Text
from chat_agent.runs.options import MaxTokens, Penalty, Probability, Seed, Temperature
from chat_agent.settings import Settings

TokenId = Annotated[int, Field(ge=0, lt=2**31)]
TokenIds = Annotated[list[TokenId], Field(fail_fast=True, min_length=1, max_length=16_384)]
Texts = Annotated[list[Text], Field(fail_fast=True, min_length=1, max_length=2048)]
ManyTokenIds = Annotated[list[TokenIds], Field(fail_fast=True, min_length=1, max_length=2048)]
Input = Text | Texts | TokenIds | ManyTokenIds
# What OpenAI takes where nothing is said.
DEFAULT_MAX_TOKENS = 16
CHARACTERS_PER_TOKEN = 4


class PlainBody(LenientModel):
    """A body that is passed on with all that is known of it; what is not known is left out."""

    model: Name
    user: Name | None = None
    safety_identifier: Name | None = None

    def passed_on(self, settings: Settings) -> dict[str, Any]:
        """Return what the provider gets; raises ParameterNotAllowed for what the operator forbids."""
        fields = self.model_dump(include=set(type(self).model_fields), exclude_none=True, exclude_unset=True)
        body = {name: value for name, value in fields.items() if name not in OURS}
        for name in body.keys() & denied_parameters(settings, self.model):
            raise ParameterNotAllowed(name, self.model)
        return body


# Whom the call is for is ours to know: the provider gets neither.
OURS = {"model", "user", "safety_identifier"}


class EmbeddingRequest(PlainBody):
    """A request for embeddings."""

    input: Input
    dimensions: Annotated[int, Field(ge=1, le=65_536)] | None = None
    encoding_format: Literal["float", "base64"] | None = None

    def translate(self, settings: Settings) -> PlainRequest:
        """Return the request."""
        return PlainRequest("embeddings", self.model, self.passed_on(settings), size_of(self.input))


class ModerationRequest(PlainBody):
    """A request for moderation: texts, or the parts of a message."""

    model: Name = Field("", description="Without it, the first model that can.")
    input: Text | Texts | Annotated[Parts[Members], Field(min_length=1)]

    def translate(self, settings: Settings) -> PlainRequest:
        """Return the request."""
        return PlainRequest("moderations", self.model, self.passed_on(settings), size_of(self.input))


class PlainStreamOptions(LenientModel):
    """What a stream shall tell."""

    include_usage: bool = False


class TextCompletionRequest(PlainBody):
    """A request for a completion of the older kind."""

    prompt: Input = "<|endoftext|>"
    suffix: Text | None = None
    max_tokens: MaxTokens | None = None
    temperature: Temperature | None = None
    top_p: Probability | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    best_of: Annotated[int, Field(ge=1, le=20)] | None = None
    stream: bool | None = None
    stream_options: PlainStreamOptions | None = None
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    echo: bool | None = None
    stop: Text | Annotated[list[Text], Field(max_length=4)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: LogitBias | None = None
    seed: Seed | None = None

    @property
    def wants_usage(self) -> bool:
        """Whether a stream is to end with its usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    def translate(self, settings: Settings) -> PlainRequest:
        """Return the request: a stream ends with its usage, so that it can be counted."""
        body = {"prompt": self.prompt, **self.passed_on(settings)}
        if self.stream:
            body["stream_options"] = {"include_usage": True}
        else:
            body.pop("stream_options", None)
        count = (self.n or 1) * (1 if isinstance(self.prompt, str) else prompts_of(self.prompt))
        max_tokens = (self.max_tokens or DEFAULT_MAX_TOKENS) * max(count, self.best_of or 1)
        return PlainRequest("completions", self.model, body, size_of(self.prompt), max_tokens)


def prompts_of(prompt: list[Any]) -> int:
    """Return of how many prompts a list is; tokens are one."""
    return 1 if prompt and isinstance(prompt[0], int) else len(prompt)


def size_of(value: Any) -> int:
    """Return of about how many characters an input is; a token stands for a few."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list):
        return sum(map(size_of, value))
    if isinstance(value, dict):
        return size_of(value.get("text"))
    return CHARACTERS_PER_TOKEN if isinstance(value, int) else 0
