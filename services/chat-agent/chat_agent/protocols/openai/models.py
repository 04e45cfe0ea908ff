"""An agent as OpenAI's clients see it: a model."""

from typing import Literal

from pydantic import BaseModel


class Model(BaseModel):
    """An agent, as a model."""

    id: str
    object: Literal["model"] = "model"
    # Agents are part of the service; there is no moment at which one was made.
    created: int = 0
    owned_by: str = "acme"


class ModelList(BaseModel):
    """All agents, as models."""

    object: Literal["list"] = "list"
    data: list[Model]


def model_of(name: str) -> Model:
    """Describe an agent as a model."""
    return Model(id=name)
