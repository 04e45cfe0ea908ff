"""Events that this service consumes, with only the fields that it reads."""

from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, Field

Count = Annotated[int, Field(ge=0, lt=2**53)]


class ModelUsage(BaseModel):
    """Usage of one model by a run."""

    model: Annotated[str, Field(min_length=1, max_length=200)]
    requests: Count
    input_tokens: Count
    output_tokens: Count
    cached_tokens: Count
    reasoning_tokens: Count
    # Of the tokens above, those that were used with a key of the tenant's own; none in older events.
    own_key_input_tokens: Count = 0
    own_key_output_tokens: Count = 0
    own_key_cached_tokens: Count = 0


def validate_unique_models(usage: list[ModelUsage]) -> list[ModelUsage]:
    """Reject a list that names a model twice."""
    if len({entry.model for entry in usage}) < len(usage):
        raise ValueError("a model is named twice")
    return usage


class RunCompleted(BaseModel):
    """`chat.run.completed.v1`: a run has ended, in whichever way."""

    run_id: UUID
    conversation_id: UUID
    tenant_id: UUID
    user_id: str
    agent: str
    # The agent that the run was started with, and whose budgets it reserved; none in older events.
    initial_agent: str | None = None
    # 0 for a call of a model that was no run.
    messages: Count = 1
    usage: Annotated[list[ModelUsage], AfterValidator(validate_unique_models)]
    estimated: bool
    started_at: AwareDatetime
    completed_at: AwareDatetime


class EndUserErased(BaseModel):
    """`chat.end_user.erased.v1`: what is stored of an application's end user was erased."""

    tenant_id: UUID
    user_id: str


class TenantCreated(BaseModel):
    """`auth.tenant.created.v1`: there is a new tenant."""

    tenant_id: UUID
