"""Where models come from: one provider for the process, so that connections are kept."""

from collections.abc import Sequence
from typing import Any

import httpx2
from agents import (
    Model,
    ModelProvider,
    ModelRefusalError,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    RunConfig,
    RunErrorHandlerInput,
    RunErrorHandlerResult,
    RunErrorHandlers,
    set_tracing_disabled,
)
from agents.models import get_default_model_settings
from agents.tracing import set_trace_provider
from agents.tracing.provider import DefaultTraceProvider
from openai import AsyncOpenAI
from redis.asyncio import Redis

from chat_agent.attachments.model_input import with_attachments
from chat_agent.model import any_llm
from chat_agent.model.call import Candidate, Limits
from chat_agent.model.fast_client import FastClient
from chat_agent.model.judge import Models
from chat_agent.model.output_schema import RequestedOutput
from chat_agent.model.own_clients import OwnClients
from chat_agent.model.passed_texts import PassedTexts
from chat_agent.model.plain_calls import PlainCalls
from chat_agent.model.providers import Client, connect_others, name_at_openai
from chat_agent.model.retry import ResilientModel
from chat_agent.model.service_guardrails import ServiceGuardrails
from chat_agent.model.structured import StructuredModel
from chat_agent.provider_keys.keys import own_key
from chat_agent.settings import ANY_LLM, OTHER_PROVIDERS, Settings

# The SDK's own tracing sends inputs and outputs to its vendor. Ours is OpenTelemetry; theirs stays off, in a
# provider without an exporter: that of the default one makes an HTTP client, which takes 20 ms.
set_trace_provider(DefaultTraceProvider())
set_tracing_disabled(disabled=True)


class Provider(ModelProvider):
    """Returns a model by its name, with all that stands by it."""

    def __init__(self, settings: Settings, redis: Redis) -> None:
        self._settings = settings
        self._limits = Limits(
            settings.model_first_token_timeout_seconds,
            settings.model_between_tokens_timeout_seconds,
            settings.run_token_budget,
        )
        self._main = build_client(
            settings, settings.openai_base_url, settings.openai_api_key.get_secret_value()
        )
        self._others = connect_others(settings)
        self._any_llm: dict[str, any_llm.AnyLlmModel] = {}
        self.own_clients = OwnClients(settings)
        self.plain_calls = PlainCalls(settings, self.own_clients)
        models = Models(self.get_model, self.plain_calls.send, PassedTexts(redis))
        self.guardrails = ServiceGuardrails(settings.guardrails, models)
        self._second = self._main
        if settings.model_fallback_base_url:
            key = settings.model_fallback_api_key or settings.openai_api_key
            self._second = build_client(settings, settings.model_fallback_base_url, key.get_secret_value())

    def get_model(self, model_name: str | None) -> Model:
        """Return the model of this name, or the default one for agents that name none; and its fallback."""
        settings, name = self._settings, model_name or self._settings.agent_model_default
        others = settings.model_fallbacks.get(name) or settings.model_fallbacks.get("*", [])
        names = dict.fromkeys([name, *others])
        candidates = [self._candidate(one, self._main) for one in names]
        fallback, has_second = settings.model_fallback, self._second is not self._main
        # A server of the installation's does not answer in place of one that takes the tenant's own key.
        is_own = has_second and own_key("openai") is not None
        if fallback and not is_own and (has_second or fallback not in names):
            candidates.append(self._candidate(fallback, self._second))
        return self._resilient(candidates, model_name)

    def chain(self, names: Sequence[str]) -> Model:
        """Return the first of these models, in whose place the others answer, and none beside them."""
        return self._resilient([self._candidate(name, self._main) for name in names], names[0])

    def direct_model(self, name: str) -> Model:
        """Return the model of this name, for which no other stands in."""
        return self.chain([name])

    def _resilient(self, candidates: Sequence[Candidate], name: str | None) -> Model:
        implicit = get_default_model_settings(name)
        model = ResilientModel(candidates, self._limits, self._settings.model_max_retries, implicit)
        structured = model if self._settings.openai_output_schemas else StructuredModel(model)
        return self.guardrails.model(structured)

    async def close(self) -> None:
        """Close the connections."""
        await self._main.close()
        await self._second.close()
        await self.own_clients.close()
        await self.plain_calls.close()
        for client in (*self._others.values(), *self._any_llm.values()):
            await client.close()

    def _candidate(self, name: str, at: AsyncOpenAI | FastClient) -> Candidate:
        """Return a model of the provider that its name begins with, or of a server of OpenAI's protocol."""
        prefix, _, rest = name.partition("/")
        is_own = False
        if at is self._main:
            for provider in OTHER_PROVIDERS:
                own_client = self.own_clients.of_provider(provider) if provider == prefix else None
                client = own_client or (self._others.get(provider) if provider == prefix else None)
                if client is not None:
                    model = responses_model(rest, client)
                    return Candidate(name, model, client.base_url.host, provider, own_client is not None)
        if name.startswith(any_llm.PREFIX):
            return Candidate(name, self._any_llm_model(name), ANY_LLM)
        if at is self._main:
            own_main = self.own_clients.main()
            at, is_own = own_main or at, own_main is not None
        own_name = name_at_openai(name, at.base_url.host)
        if self._settings.openai_api == "responses":
            model = responses_model(own_name, at)
        else:
            model = OpenAIChatCompletionsModel(own_name, at)  # type: ignore[arg-type]  # see below
        return Candidate(own_name, model, at.base_url.host, is_own_key=is_own)

    def _any_llm_model(self, name: str) -> Model:
        if name not in self._any_llm:
            self._any_llm[name] = any_llm.build_model(name.removeprefix(any_llm.PREFIX))
        return self._any_llm[name]


def responses_model(name: str, client: AsyncOpenAI | Client) -> Model:
    """Return the SDK's model over a client."""
    return OpenAIResponsesModel(name, client)  # type: ignore[arg-type]  # it asks no more of its client


def build_client(settings: Settings, base_url: str, api_key: str) -> AsyncOpenAI | FastClient:
    """Build a client; its own retries are off, ours know more."""
    if settings.model_client == "fast":
        return FastClient(base_url, api_key, settings.model_connect_timeout_seconds)
    read_timeout = max(
        settings.model_first_token_timeout_seconds, settings.model_between_tokens_timeout_seconds
    )
    timeout = httpx2.Timeout(read_timeout, connect=settings.model_connect_timeout_seconds)
    return AsyncOpenAI(api_key=api_key, base_url=base_url, max_retries=0, timeout=timeout)


def build_provider(settings: Settings, redis: Redis) -> Provider:
    """Build the provider."""
    return Provider(settings, redis)


def refusal_as_answer(failure: RunErrorHandlerInput[Any]) -> RunErrorHandlerResult | None:
    """Return a refusal as the answer, unless an agent that others rely on requires a schema of its own."""
    output_type = failure.run_data.last_agent.output_type
    is_answer = output_type is None or isinstance(output_type, RequestedOutput)
    if not isinstance(failure.error, ModelRefusalError) or not is_answer:
        return None
    if isinstance(output_type, RequestedOutput):
        output_type.refusal = failure.error.refusal
    return RunErrorHandlerResult(failure.error.refusal, include_in_history=False)  # there it is already


ERROR_HANDLERS: RunErrorHandlers[Any] = {"model_refusal": refusal_as_answer}


def run_config(provider: ModelProvider) -> RunConfig:
    """Build the configuration of every run: the model provider and its settings, with usage."""
    return RunConfig(
        model_provider=provider,
        model_settings=ModelSettings(include_usage=True, store=False),
        tool_not_found_behavior="return_error_to_model",
        call_model_input_filter=with_attachments,
        tracing_disabled=True,
        trace_include_sensitive_data=False,
        workflow_name="acme",
    )
