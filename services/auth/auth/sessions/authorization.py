"""The FastAPI dependency that enforces a row of the table of sensitive actions."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from fastapi import Depends
from fastapi.dependencies.models import Dependant
from servicekit.auth.dependencies import Caller, RequirePermission, SignedIn
from servicekit.auth.tokens import Principal
from sqlalchemy.ext.asyncio import AsyncSession

from auth import users
from auth.access import roles
from auth.access.errors import OperatorsOnly
from auth.access.sensitive_actions import POLICIES, Policy, SensitiveAction, Where
from auth.services import AuthServices, Services
from auth.sessions import step_up


@dataclass(frozen=True)
class RequireSensitive:
    """The policy of a route that issues or changes a credential or a right."""

    action: SensitiveAction

    async def __call__(self, caller: Caller, services: Services) -> Principal:
        """Verify all that the table requires.

        Raises InsufficientScope, Forbidden, OperatorsOnly, PeopleOnly, SessionEnded,
        InsufficientUserAuthentication or RoleTooLow.
        """
        policy = POLICIES[self.action]
        if policy.permission:
            await RequirePermission(policy.permission)(caller)
        if policy.where is Where.OPERATORS and caller.tenant_id != services.settings.auth_operator_tenant_id:
            raise OperatorsOnly
        if not policy.machines:
            users.user_id_of(caller)
        # A transaction of its own: the route may have to hash, which must not happen with one open.
        async with services.database.begin() as db:
            await verify_session(db, services, caller, policy)
            await verify_current_role(db, caller, policy)
        return caller


@dataclass(frozen=True)
class RequireSensitiveWithoutTenant:
    """The policy of a route for whoever is signed in, also with a session that is in no active tenant."""

    action: SensitiveAction

    async def __call__(self, caller: SignedIn, services: Services) -> Principal:
        """Verify all that the table requires; raises as `RequireSensitive` does."""
        return await RequireSensitive(self.action)(caller, services)


def sensitive(action: SensitiveAction) -> Any:
    """Require what the table says of an action."""
    is_elsewhere = POLICIES[action].where is Where.NAMED_TENANT
    return Depends(RequireSensitiveWithoutTenant(action) if is_elsewhere else RequireSensitive(action))


@dataclass(frozen=True)
class RequireSensitiveUnlessOwnSession:
    """The policy of a route that names a session: what the table says, unless it is the session that asks."""

    action: SensitiveAction

    async def __call__(self, session_id: UUID, caller: Caller, services: Services) -> Principal:
        """Verify all that the table requires; raises as `RequireSensitive` does."""
        return (
            caller
            if str(session_id) == caller.session_id
            else await RequireSensitive(self.action)(caller, services)
        )


def sensitive_unless_own_session(action: SensitiveAction) -> Any:
    """Require what the table says of an action, unless `session_id` is the session that asks."""
    return Depends(RequireSensitiveUnlessOwnSession(action))


def actions_of(dependant: Dependant | None) -> list[SensitiveAction]:
    """List the actions that a route is guarded by."""
    if dependant is None:
        return []
    policy = dependant.call
    kinds = RequireSensitive | RequireSensitiveWithoutTenant | RequireSensitiveUnlessOwnSession
    own = [policy.action] if isinstance(policy, kinds) else []
    return own + [action for one in dependant.dependencies for action in actions_of(one)]


async def verify_session(db: AsyncSession, services: AuthServices, caller: Principal, policy: Policy) -> None:
    """Verify that a person's session is live, and proved recently where the table asks for it."""
    if caller.is_service:
        return
    session = await step_up.current_session(db, caller)
    if policy.recent_auth:
        await step_up.require_recent_auth(db, services, session, policy.max_auth_age_minutes)


async def verify_current_role(db: AsyncSession, caller: Principal, policy: Policy) -> None:
    """Verify the role that the caller has now; the use case does so once more, with the tenant locked."""
    if policy.min_role and not caller.is_service and policy.where is not Where.NAMED_TENANT:
        await roles.current_role(db, caller, policy.min_role)
