"""What OpenAI's clients see as models: agents, and the models that can be called directly."""

from collections.abc import Iterable, Iterator
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, Field

from chat_agent.agent_definitions.store import Answering
from chat_agent.agents import AGENTS
from chat_agent.direct_models import DirectModel, Endpoint
from chat_agent.model.prices import Catalogue
from chat_agent.settings import Price, Settings

# Agents are part of the service: they are as old as its first version (2026-01-01).
CREATED = 1_767_225_600
CHAT = frozenset({"chat", "responses", "streaming", "structured_output", "tools"})
CAPABILITIES: dict[Endpoint, frozenset[str]] = {
    "chat": CHAT,
    "completions": frozenset({"completions", "streaming"}),
    "embeddings": frozenset({"embeddings"}),
    "moderations": frozenset({"moderations"}),
}


class Model(BaseModel):
    """An agent or a model, as a model."""

    id: str
    object: Literal["model"] = "model"
    created: int = CREATED
    owned_by: str = "acme"
    name: str
    description: str = ""
    context_length: int | None = Field(None, description="In tokens; null where it is not known.")
    price: Price | None = Field(
        None, description="In millionths of a US dollar for a million tokens; null where it is not known."
    )
    capabilities: list[str]


class ModelList(BaseModel):
    """All agents and models."""

    object: Literal["list"] = "list"
    data: list[Model]


def models_for(
    settings: Settings, catalogue: Catalogue, tenant_id: UUID | None, own: Iterable[Answering]
) -> list[Model]:
    """Return what a tenant may name as a model."""
    by_name = {one.name: one for one in own}
    return [
        *(one for one in agents(settings, catalogue) if one.id not in by_name),
        *own_agents(settings, catalogue, by_name.values()),
        *direct_models(settings, catalogue, tenant_id),
    ]


def agents(settings: Settings, catalogue: Catalogue) -> Iterator[Model]:
    """Yield the agents."""
    model = settings.agent_model_default
    for name, agent in AGENTS.items():
        yield Model(
            id=name,
            name=name.replace("_", " ").capitalize(),
            description=agent.handoff_description or "",
            context_length=catalogue.context_length(model),
            price=catalogue.price(model),
            capabilities=sorted(CHAT),
        )


def own_agents(settings: Settings, catalogue: Catalogue, own: Iterable[Answering]) -> Iterator[Model]:
    """Yield the agents of the tenant."""
    for one in own:
        named = one.definition.model or ""
        direct = settings.direct_models.get(named)
        model = settings.direct_model_name(named, direct) if direct else settings.agent_model_default
        yield Model(
            id=one.name,
            created=int(one.published_at.timestamp()),
            owned_by="tenant",
            name=one.name.replace("_", " ").capitalize(),
            description=one.definition.description,
            context_length=catalogue.context_length(model),
            price=catalogue.price(model),
            capabilities=sorted(CHAT),
        )


def direct_models(settings: Settings, catalogue: Catalogue, tenant_id: UUID | None) -> Iterator[Model]:
    """Yield the models that a tenant may call directly."""
    for id_, model in settings.direct_models.items():
        if model.allows(tenant_id):
            model_name = settings.direct_model_name(id_, model)
            yield Model(
                id=id_,
                created=model.created or CREATED,
                owned_by=id_.partition("/")[0],
                name=model.name or id_.partition("/")[2],
                description=model.description,
                context_length=catalogue.context_length(model_name),
                price=catalogue.price(model_name),
                capabilities=sorted(capabilities_of(model)),
            )


def capabilities_of(model: DirectModel) -> set[str]:
    """Return what a model can do."""
    return {*model.capabilities, *(one for each in model.endpoints for one in CAPABILITIES[each])}
