"""Events that this service consumes, with only the fields that it reads."""

from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, Field, JsonValue
from servicekit.auth.claims import SUBJECT_PATTERN

MAX_DETAILS = 32
# The actions of other services begin with the service, and a newer service may have more than we know.
RECEIVED_ACTION = "^(billing|chat)_[a-z_]{1,56}$"


class AuditRecorded(BaseModel):
    """`<service>.audit.recorded.v1`: somebody has done what belongs in the tenant's audit log."""

    tenant_id: UUID
    action: Annotated[str, Field(pattern=RECEIVED_ACTION)]
    # None: an operator of the installation, or the system itself.
    actor: Annotated[str, Field(pattern=f"^{SUBJECT_PATTERN}$")] | None
    session_id: UUID | None
    request_id: Annotated[str, Field(max_length=255)] | None
    detail: Annotated[dict[str, JsonValue], Field(max_length=MAX_DETAILS)]
