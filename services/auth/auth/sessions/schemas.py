"""The schemas of sessions that operators end."""

from typing import Literal, Self
from uuid import UUID

from pydantic import BaseModel, model_validator
from servicekit.schemas import RequestModel


class SessionsToEnd(RequestModel):
    """Whose sessions to end: exactly one of these."""

    user_id: UUID | None = None
    tenant_id: UUID | None = None
    everybody: Literal[True] | None = None

    @model_validator(mode="after")
    def one_alone(self) -> Self:
        """Require exactly one target."""
        if sum(value is not None for value in (self.user_id, self.tenant_id, self.everybody)) != 1:
            raise ValueError("name exactly one: user_id, tenant_id or everybody")
        return self


class SessionsEnded(BaseModel):
    """How many sessions were ended."""

    ended: int
