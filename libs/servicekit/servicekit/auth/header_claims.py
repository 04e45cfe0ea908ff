"""Headers that restrict a caller's rights; none may add to what the token says."""

from dataclasses import replace
from uuid import UUID

from starlette.requests import HTTPConnection

from servicekit.auth.claims import TENANT_AND_SUBJECT
from servicekit.auth.permissions import Role
from servicekit.auth.tokens import Principal
from servicekit.errors import BadRequest, Forbidden


class TenantMismatch(Forbidden):
    """The request names another tenant than the token does."""

    default_detail = "The token belongs to another tenant. Get one for this tenant first."


class RoleEscalation(Forbidden):
    """The request claims a higher role than the token gives."""

    default_detail = "X-Tenant-Role may only lower the role that the token gives."


class InvalidRole(BadRequest):
    """X-Tenant-Role does not name exactly one role."""

    default_detail = "X-Tenant-Role takes one of owner, admin, member, viewer."


class HeaderRepeated(BadRequest):
    """A header that must have one meaning came more than once."""


class InvalidOnBehalfOf(BadRequest):
    """A service does not say for whom it calls."""

    default_detail = "Acme-On-Behalf-Of must be <tenant id>/<subject>."


def get_single_header(connection: HTTPConnection, name: str) -> str | None:
    """Return a header that may come once."""
    values = connection.headers.getlist(name)
    if len(values) > 1:
        raise HeaderRepeated(f"{name} came more than once.")
    return values[0] if values else None


def apply_header_restrictions(connection: HTTPConnection, principal: Principal) -> Principal:
    """Apply `X-Tenant-Id` and `X-Tenant-Role`, which can only take away."""
    tenant = get_single_header(connection, "X-Tenant-Id")
    if tenant is not None and tenant.lower() != str(principal.tenant_id):
        raise TenantMismatch
    role = get_single_header(connection, "X-Tenant-Role")
    return principal if role is None else replace(principal, role=downgrade_role(principal.role, role))


def downgrade_role(own: Role | None, requested: str) -> Role:
    """Return the requested role if it is not above the token's; raises RoleEscalation."""
    try:
        role = Role(requested)
    except ValueError:
        raise InvalidRole from None
    if own is None or role > own:
        raise RoleEscalation
    return role


def parse_on_behalf_of(connection: HTTPConnection) -> tuple[UUID, str]:
    """Read for whom a service calls: a tenant, and a person or machine of it."""
    match = TENANT_AND_SUBJECT.fullmatch(get_single_header(connection, "Acme-On-Behalf-Of") or "")
    if match is None:
        raise InvalidOnBehalfOf
    return UUID(match[1]), match[2]
