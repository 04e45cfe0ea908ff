"""The client of auth: checks the membership of a run's user when the run resumes without their token."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal

from pydantic import BaseModel
from servicekit.auth.end_users import application_of
from servicekit.auth.permissions import Role, allows
from servicekit.http.client import DependencyUnavailable
from servicekit.http.service_tokens import ServiceClient

from chat_agent.clients.retry import retry
from chat_agent.errors import AuthUnavailable, MembershipEnded, TenantSuspended
from chat_agent.models import Run

SCOPE = "members:read"
# What whoever begins a run needs.
PERMISSION = "conversations:write"


class Membership(BaseModel):
    """A user's role and status in a tenant."""

    role: Role
    tenant_status: Literal["active", "suspended", "deleted"]
    user_status: Literal["pending", "active", "disabled"]


@dataclass(frozen=True)
class MembershipClient:
    """Those for whom runs are worked on; auth may be away for `patience` seconds."""

    client: ServiceClient
    timeout_seconds: float

    async def require_active_member(self, run: Run) -> None:
        """Verify a run's user may have runs; raises TenantSuspended, MembershipEnded, AuthUnavailable."""
        membership = await retry(
            lambda: self._membership(run),
            lambda error: isinstance(error, AuthUnavailable),
            self.timeout_seconds,
        )
        if membership is not None and membership.tenant_status == "suspended":
            raise TenantSuspended
        if (
            membership is None
            or membership.user_status != "active"
            or not allows(PERMISSION, membership.role, frozenset())
        ):
            raise MembershipEnded

    async def _membership(self, run: Run) -> Membership | None:
        # auth does not know the end users of applications.
        subject = application_of(run.user_id)
        path = f"/tenants/{run.tenant_id}/members/{subject}"
        try:
            answer = await self.client.request("GET", path, on_behalf_of=(run.tenant_id, subject))
        except DependencyUnavailable as error:
            raise AuthUnavailable from error
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise AuthUnavailable(f"The auth service answered {answer.status}.")
        return Membership.model_validate_json(answer.body)
