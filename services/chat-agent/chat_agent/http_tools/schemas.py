"""The schemas of responses about tenants' HTTP tools."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field


class Tool(BaseModel):
    """A tool of the tenant, in its newest version."""

    name: str
    version: int
    digest: str
    created_by: str
    created_at: datetime
    definition: dict[str, Any] = Field(description="With the endpoint, also of an OpenAPI operation.")
    model_schema: dict[str, Any] = Field(description="The schema of the arguments that the model fills in.")
