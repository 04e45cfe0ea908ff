"""The routes of a tenant's own keys of providers; no route returns one."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, status
from servicekit.auth.dependencies import require
from servicekit.auth.tokens import Principal
from servicekit.database import Session
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent import audit
from chat_agent.api.agent_routes import tenant_of
from chat_agent.api.dependencies import ManagerDep
from chat_agent.clients.supplied_urls import is_callable
from chat_agent.execution.manager import RunManager
from chat_agent.provider_keys import store
from chat_agent.provider_keys.errors import InvalidBaseUrl
from chat_agent.provider_keys.keys import Provider
from chat_agent.provider_keys.schemas import NewProviderKey, ProviderKey

Author = Annotated[Principal, require("agents:manage")]
Name = Annotated[Provider, Path(description="Whose key it is.")]

router = APIRouter(prefix="/api/v1/provider-keys", tags=["provider keys"])


@router.get("/{provider}")
async def get_provider_key(
    provider: Name, caller: Author, session: Session, manager: ManagerDep
) -> ProviderKey:
    """Return what can be read of the tenant's own key: its last characters, and who stored it when."""
    return await store.find(session, manager.settings.secret_keys, tenant_of(caller), provider)


@router.put("/{provider}")
async def put_provider_key(
    provider: Name, new: NewProviderKey, caller: Author, session: Session, manager: ManagerDep
) -> ProviderKey:
    """Store a key of the tenant's own, which calls of models use from now on in place of the one before."""
    tenant_id, settings = tenant_of(caller), manager.settings
    if new.base_url is not None:
        await check_base_url(new.base_url, settings.tool_private_hosts)
    stored = await store.write(session, settings.secret_keys, tenant_id, provider, new, caller.subject)
    audit.record_action(session, caller, "chat_provider_key_saved", provider=provider)
    forget_after_commit(session, manager, tenant_id)
    return stored


@router.delete("/{provider}", status_code=status.HTTP_204_NO_CONTENT)
async def delete_provider_key(provider: Name, caller: Author, session: Session, manager: ManagerDep) -> None:
    """Delete a key: calls of models use the installation's key from now on."""
    await store.remove(session, tenant_of(caller), provider)
    audit.record_action(session, caller, "chat_provider_key_deleted", provider=provider)
    forget_after_commit(session, manager, tenant_of(caller))


async def check_base_url(url: str, private_hosts: frozenset[str]) -> None:
    """Raise InvalidBaseUrl for an address that may not be called, or to which no path can be added."""
    if "?" in url or "#" in url or not await is_callable(url, private_hosts):
        raise InvalidBaseUrl


def forget_after_commit(session: AsyncSession, manager: RunManager, tenant_id: UUID) -> None:
    """Read the keys of a tenant again once the transaction is committed."""
    event.listen(
        session.sync_session, "after_commit", lambda _: manager.provider_keys.forget(tenant_id), once=True
    )
