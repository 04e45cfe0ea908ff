"""The schemas of tenants."""

import re
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from servicekit.auth.permissions import Role
from servicekit.schemas import RequestModel

from auth.email_address import Domain, Email
from auth.models import OrphanedApiKeys, RequestStatus, Status, TenantStatus
from auth.schemas import DisplayName, Name, OpaqueToken, TenantName

MAX_USES = 100
MAX_INVITE_HOURS = 14 * 24

Slug = Annotated[str, StringConstraints(min_length=2, max_length=48, pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
# A language, and perhaps a script and a region (the common forms of RFC 5646).
Locale = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|[0-9]{3}))?$")]
SUBJECT = re.compile(r"user:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class View(BaseModel):
    """The schema of a row."""

    model_config = ConfigDict(from_attributes=True)


class NewTenant(RequestModel):
    """The tenant to create."""

    name: TenantName


class TenantChange(RequestModel):
    """The changes of a tenant; at least one."""

    name: TenantName | None = None
    slug: Slug | None = None


class Tenant(View):
    """A tenant."""

    id: UUID
    slug: str
    name: str
    status: TenantStatus
    created_at: datetime


class OwnTenant(Tenant):
    """A tenant with the caller's current role."""

    role: Role


class NewTenantSettings(RequestModel):
    """The settings of a tenant as they are to be; `invite_domains` empty allows all.

    Without `mfa_required` that stays as it is: a client that does not know it must not switch it off.
    """

    default_locale: Locale | None = None
    invite_domains: Annotated[list[Domain], Field(fail_fast=True, max_length=50, default_factory=list)]
    mfa_required: bool | None = None
    orphaned_api_keys: OrphanedApiKeys | None = None


class TenantSettings(View):
    """The settings of a tenant; with `mfa_required`, nobody gets a session in it by one factor alone."""

    default_locale: str | None
    invite_domains: list[str]
    mfa_required: bool
    orphaned_api_keys: OrphanedApiKeys


class Member(BaseModel):
    """A member of the tenant."""

    user_id: str
    display_name: str | None
    email: str
    role: Role
    joined_at: datetime


class RoleChange(RequestModel):
    """The new role of a member."""

    role: Role


class NewOwner(RequestModel):
    """The new owner of the tenant."""

    user_id: UUID


class NewInvite(RequestModel):
    """An invite for an address; or an open one, for `max_uses` people with the link."""

    email: Email | None = None
    role: Role
    max_uses: Annotated[int, Field(ge=1, le=MAX_USES)] = 1
    expires_in_hours: Annotated[int, Field(ge=1, le=MAX_INVITE_HOURS)] | None = None

    @model_validator(mode="after")
    def one_address_once(self) -> "NewInvite":
        """Reject several uses of an invite for one email address."""
        if self.email and self.max_uses > 1:
            raise ValueError("an invite for an address is good once")
        return self


class Inviter(BaseModel):
    """Who invited."""

    user_id: str
    display_name: str | None
    email: str


class Invite(BaseModel):
    """An invite, without its token."""

    id: UUID
    email: str | None
    role: Role
    status: Literal["pending", "used", "revoked", "expired"]
    max_uses: int
    uses: int
    invited_by: Inviter | None
    created_at: datetime
    expires_at: datetime


class CreatedInvite(BaseModel):
    """A new invite; the token of an open one is returned only now, that of an emailed one never."""

    id: UUID
    expires_at: datetime
    token: str | None


class InviteToken(RequestModel):
    """The token of an invite."""

    token: OpaqueToken


class Joined(BaseModel):
    """The tenant that was joined, and the role in it."""

    tenant_id: UUID
    tenant_name: str
    role: Role


class SignupPolicy(BaseModel):
    """The sign-up policy."""

    policy: Literal["public", "invite_only", "approval"]


class AccessRequest(RequestModel):
    """The applicant of a request for access."""

    email: Email
    name: DisplayName
    company: TenantName
    message: Annotated[Name, StringConstraints(max_length=1000)] | None = None


class SignupRequest(View):
    """A request for access, as operators see it."""

    id: UUID
    email: str
    name: str
    company: str
    message: str | None
    status: RequestStatus
    created_at: datetime
    decided_at: datetime | None


class Rejection(RequestModel):
    """The reason, which is sent by email."""

    reason: Annotated[Name, StringConstraints(max_length=500)] | None = None


class CurrentMembership(BaseModel):
    """A subject's membership, for services that act on its behalf."""

    subject: str
    tenant_id: UUID
    role: Role
    tenant_status: TenantStatus
    # One that is being closed is told as `disabled`: what is left of it is for nobody but us.
    user_status: Literal[Status.PENDING, Status.ACTIVE, Status.DISABLED]


class TenantOwner(BaseModel):
    """An owner of a tenant, and where email reaches them."""

    user_id: str
    email: str
    display_name: str | None


class TenantOwners(BaseModel):
    """A tenant's name and its active owners."""

    tenant_name: str
    owners: list[TenantOwner]
