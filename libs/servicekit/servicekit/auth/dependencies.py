"""Authorization policies: every route declares one of these.

`Caller`, `require()`: somebody in a tenant. `SignedIn`: a person without one, too. `on_behalf_of()`,
`service_only()`: our own services, on internal routes. `public`: anybody.

    Reader = Annotated[Principal, require("conversations:read")]

    @router.get("/{conversation_id}")
    async def read(conversation_id: UUID, caller: Reader) -> Conversation: ...

Tenant and role come from the token. `X-Tenant-Id` may repeat the tenant, `X-Tenant-Role` may lower the role.
`Acme-End-User` names the person for whom a tenant's machine calls; `user_id` is then that person's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.openapi.models import HTTPBearer
from fastapi.routing import RouteContext, iter_route_contexts
from fastapi.security.base import SecurityBase
from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute, Mount

from servicekit.auth import api_keys, call_limits
from servicekit.auth.call_limits import Kind
from servicekit.auth.end_users import apply_end_user
from servicekit.auth.header_claims import (
    TenantMismatch,
    apply_header_restrictions,
    get_single_header,
    parse_on_behalf_of,
)
from servicekit.auth.permissions import PERMISSIONS, allows, covers
from servicekit.auth.tokens import Principal, TokenVerifier
from servicekit.context import bind
from servicekit.errors import Forbidden, Unauthenticated


class TokenMissing(Unauthenticated):
    """The request carries no access token."""

    default_detail = "Send an access token in the Authorization header: Bearer <token>."

    def __init__(self) -> None:
        super().__init__(headers={"WWW-Authenticate": "Bearer"})


class InsufficientScope(Forbidden):
    """The token or key was issued for less than this (RFC 6750 section 3.1)."""

    default_detail = "The access token or API key lacks the scope that this needs."

    def __init__(self, scope: str) -> None:
        challenge = f'Bearer error="insufficient_scope", scope="{scope}"'
        detail = f"The access token or API key lacks the scope `{scope}`. Use one that has it."
        super().__init__(detail, headers={"WWW-Authenticate": challenge})


class BearerToken(SecurityBase):
    """Reads the access token from the Authorization header, and from nowhere else (RFC 6750 section 2.1)."""

    model = HTTPBearer(
        bearerFormat="at+jwt", description="An access token of the auth service, or an API key."
    )
    scheme_name = "access_token"

    async def __call__(self, connection: HTTPConnection) -> str:
        """Return the token; raises TokenMissing."""
        scheme, _, token = (get_single_header(connection, "Authorization") or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise TokenMissing
        return token.strip()


async def authenticated(
    connection: HTTPConnection, token: Annotated[str, Depends(BearerToken())]
) -> Principal:
    """Verify the token, or the API key in its place, and bind the principal to the request's logs."""
    if api_keys.is_api_key(token):
        check: api_keys.Check = connection.app.state.resources.api_keys
        principal = await check(connection, token)
    else:
        verifier: TokenVerifier = connection.app.state.resources.verifier
        principal = await verifier.verify(token)
    return bind_principal(connection, apply_end_user(connection, principal))


Authenticated = Annotated[Principal, Depends(authenticated)]


def bind_principal(connection: HTTPConnection, principal: Principal) -> Principal:
    """Bind a caller to the logs and the trace of the request."""
    bind(
        tenant_id=str(principal.tenant_id) if principal.tenant_id else None,
        user_id=principal.subject,
    )
    connection.state.principal = principal
    return principal


@dataclass(frozen=True)
class Public:
    """The policy of a route that needs no token."""

    async def __call__(self) -> None:
        """Allow everybody."""


@dataclass(frozen=True)
class TenantMember:
    """The policy of a route for anyone who belongs to a tenant, person or machine; it counts their calls."""

    async def __call__(self, connection: HTTPConnection, principal: Authenticated) -> Principal:
        """Allow members of a tenant, in at most the role that the token gives."""
        if principal.tenant_id is None:
            raise Forbidden("The token belongs to no tenant.")
        caller = bind_principal(connection, apply_header_restrictions(connection, principal))
        await call_limits.count(connection, caller)
        return caller


Caller = Annotated[Principal, Depends(TenantMember())]


@dataclass(frozen=True)
class SignedInUser:
    """The policy of a route for members of a tenant, and for people whose token names no tenant."""

    async def __call__(self, connection: HTTPConnection, principal: Authenticated) -> Principal:
        """Allow signed-in people, in the tenant if the token names one."""
        if principal.tenant_id is None and principal.session_id is None:
            raise Forbidden("The token belongs to no tenant.")
        caller = bind_principal(connection, apply_header_restrictions(connection, principal))
        await call_limits.count(connection, caller)
        return caller


SignedIn = Annotated[Principal, Depends(SignedInUser())]


@dataclass(frozen=True)
class RequirePermission:
    """The policy of a route for callers who have a permission."""

    permission: str

    async def __call__(self, caller: Caller) -> Principal:
        """Allow callers whose role has the permission, unless the token's scopes leave it out."""
        if allows(self.permission, caller.role, caller.scopes):
            return caller
        if allows(self.permission, caller.role, frozenset()):
            raise InsufficientScope(self.permission)
        raise Forbidden("Your role does not allow this.")


@dataclass(frozen=True)
class OnBehalfOf:
    """The policy of an internal route that a service calls on a user's behalf."""

    scope: str

    async def __call__(self, connection: HTTPConnection, service: Authenticated) -> Principal:
        """Allow services that hold the scope here; returns the principal on whose behalf they call."""
        require_service_scope(connection, service, self.scope)
        tenant_id, subject = parse_on_behalf_of(connection)
        if service.tenant_id not in {None, tenant_id}:
            raise TenantMismatch
        principal = replace(service, tenant_id=tenant_id, subject=subject, role=None, session_id=None)
        return bind_principal(connection, apply_header_restrictions(connection, principal))


@dataclass(frozen=True)
class ServiceOnly:
    """The policy of an internal route that a service calls for itself."""

    scope: str

    async def __call__(self, connection: HTTPConnection, service: Authenticated) -> Principal:
        """Allow services that hold the scope here."""
        require_service_scope(connection, service, self.scope)
        return service


def require_service_scope(connection: HTTPConnection, service: Principal, scope: str) -> None:
    """Verify that a service's token is for this audience and scope; raises Forbidden."""
    # A service account's token may be for this service, too, and its scopes are of the same names.
    if not service.is_ours or connection.app.state.resources.name not in service.audience:
        raise Forbidden("Only services that were let in here may call this.")
    if not covers(service.scopes, scope):
        raise InsufficientScope(scope)


POLICIES = (Public, TenantMember, SignedInUser, RequirePermission, OnBehalfOf, ServiceOnly)

public: Any = Depends(Public())


def require(permission: str) -> Any:
    """Require a permission of the table; raises ValueError for an unknown one."""
    if permission not in PERMISSIONS:
        raise ValueError(f"no such permission: {permission}")
    return Depends(RequirePermission(permission))


def on_behalf_of(scope: str) -> Any:
    """Require a service that acts on someone's behalf; for internal routes only."""
    return Depends(OnBehalfOf(scope))


def service_only(scope: str) -> Any:
    """Require a service that calls for itself; for internal routes only."""
    return Depends(ServiceOnly(scope))


def rate_limited(kind: Kind) -> Any:
    """Count the calls of a route against a further limit, besides that of reads or writes."""

    async def rate(connection: HTTPConnection, caller: Caller) -> None:
        await call_limits.count(connection, caller, kind)

    return Depends(rate)


class PolicyMissing(Exception):
    """Some routes declare no authorization policy."""


def assert_policies(*routers: APIRouter | FastAPI) -> None:
    """Verify that every route declares a policy; raises PolicyMissing with all that do not."""
    silent = [
        f"{sorted(route.methods or ())} {route.path}"
        for router in routers
        for route in every_route(router.routes)
        if (dependant := getattr(route, "dependant", None)) and not declares_policy(dependant)
    ]
    if silent:
        raise PolicyMissing(f"say who may call: {', '.join(silent)}")


def every_route(routes: Sequence[BaseRoute]) -> Iterator[RouteContext]:
    """Walk all routes as they are answered, through included routers and mounted apps."""
    for route in iter_route_contexts(routes):
        yield route
        if isinstance(route.original_route, Mount):
            yield from every_route(route.original_route.routes)


def declares_policy(dependant: Dependant) -> bool:
    """Return whether a policy is among the direct or indirect dependencies of a route."""
    return isinstance(dependant.call, POLICIES) or any(map(declares_policy, dependant.dependencies))
