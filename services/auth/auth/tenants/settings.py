"""The settings of a tenant, replaced as a whole with If-Match (RFC 9110 section 13.1.1)."""

import re

from servicekit.auth.permissions import Role
from servicekit.auth.tokens import Principal
from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit
from auth.access.errors import RoleTooLow
from auth.access.roles import authorize, require_role
from auth.access.sensitive_actions import SensitiveAction
from auth.api_keys import orphaned
from auth.audit import Action
from auth.models import OrphanedApiKeys, Tenant
from auth.services import AuthServices
from auth.tenants import mfa_requirement
from auth.tenants.errors import PreconditionRequired, SettingsChanged
from auth.tenants.schemas import NewTenantSettings, TenantSettings

# A strong tag inside a list; a weak one never fits If-Match.
STRONG_TAG = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')


async def read(db: AsyncSession, caller: Principal) -> tuple[TenantSettings, str]:
    """Return the settings of the caller's tenant, and their entity tag."""
    tenant, _ = await require_role(db, caller, Role.VIEWER)
    return TenantSettings.model_validate(tenant), etag_of(tenant)


async def replace(
    db: AsyncSession,
    services: AuthServices,
    caller: Principal,
    request: NewTenantSettings,
    if_match: str | None,
) -> tuple[TenantSettings, str]:
    """Replace the settings of the caller's tenant.

    Raises PreconditionRequired, SettingsChanged, OwnSecondFactorMissing or RoleTooLow.
    """
    if if_match is None:
        raise PreconditionRequired
    tenant, own = await authorize(db, caller, SensitiveAction.CHANGE_TENANT_SETTINGS)
    if not etag_matches(etag_of(tenant), if_match):
        raise SettingsChanged
    tenant.default_locale = request.default_locale
    tenant.invite_domains = sorted(set(request.invite_domains))
    tenant.settings_version += 1
    audit.record(db, Action.TENANT_CHANGED, tenant_id=tenant.id, actor=caller.subject, settings=True)
    if request.mfa_required not in {None, tenant.mfa_required}:
        await mfa_requirement.change(db, services, caller, tenant, required=not tenant.mfa_required)
    if request.orphaned_api_keys not in {None, tenant.orphaned_api_keys}:
        await change_orphaned_keys(db, caller, tenant, own)
    return TenantSettings.model_validate(tenant), etag_of(tenant)


async def change_orphaned_keys(db: AsyncSession, caller: Principal, tenant: Tenant, own: Role) -> None:
    """Switch between stopping and keeping orphaned API keys; raises RoleTooLow."""
    keeps = tenant.orphaned_api_keys is OrphanedApiKeys.STOP
    if keeps and own < Role.OWNER:
        # An admin could let a key of their own outlive their removal.
        raise RoleTooLow
    tenant.orphaned_api_keys = OrphanedApiKeys.KEEP if keeps else OrphanedApiKeys.STOP
    value = tenant.orphaned_api_keys.value
    audit.record(
        db, Action.TENANT_CHANGED, tenant_id=tenant.id, actor=caller.subject, orphaned_api_keys=value
    )
    if not keeps:
        await orphaned.stop_all(db, tenant)


def etag_of(tenant: Tenant) -> str:
    """Return the entity tag of the settings."""
    return f'"{tenant.settings_version}"'


def etag_matches(tag: str, if_match: str) -> bool:
    """Return whether If-Match names the tag."""
    return if_match.strip() == "*" or ("", tag) in STRONG_TAG.findall(if_match)
