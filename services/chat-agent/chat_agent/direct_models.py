"""Models that tenants call by name (`provider/model`), without an agent; those that the operator names."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, StringConstraints

# In a name there is a slash, so that it is no agent's.
ModelName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_.-]+/[A-Za-z0-9_.:/-]+$", max_length=200)]
Endpoint = Literal["chat", "completions", "embeddings", "moderations"]


class DirectModel(BaseModel):
    """A model of the provider, and who may call it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # By their ids, "*" for all; without any nobody may.
    tenants: frozenset[Literal["*"] | UUID] = frozenset()
    endpoints: frozenset[Endpoint] = frozenset({"chat"})
    # What the provider calls it, where that is not what follows the slash; may begin with the provider.
    provider_name: str | None = None
    name: str = ""
    description: str = ""
    # What it can do beside its endpoints, such as "vision".
    capabilities: frozenset[str] = frozenset()
    created: int = 0

    def allows(self, tenant_id: UUID | None) -> bool:
        """Return whether a tenant may call it."""
        return "*" in self.tenants or tenant_id in self.tenants


DirectModels = dict[ModelName, DirectModel]


def names_for(models: DirectModels, tenant_id: UUID | None, endpoint: Endpoint) -> list[str]:
    """List the models that a tenant may call at an endpoint."""
    return [name for name in models if find_model(models, tenant_id, name, endpoint)]


def find_model(
    models: DirectModels, tenant_id: UUID | None, name: str, endpoint: Endpoint
) -> DirectModel | None:
    """Return the model of this name that a tenant may call at an endpoint."""
    model = models.get(name)
    return model if model and endpoint in model.endpoints and model.allows(tenant_id) else None
