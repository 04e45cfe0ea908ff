"""The routes of a tenant's secrets, which its tools name; no route returns one."""

from typing import Annotated

from fastapi import APIRouter, Path, status
from servicekit.auth.dependencies import require
from servicekit.auth.tokens import Principal
from servicekit.database import Session

from chat_agent import audit
from chat_agent.api.agent_routes import tenant_of
from chat_agent.api.dependencies import ManagerDep
from chat_agent.tenant_secrets import store
from chat_agent.tenant_secrets.errors import SecretNotFound
from chat_agent.tenant_secrets.schemas import NewSecret, Secret, SecretName

Author = Annotated[Principal, require("agents:manage")]
Name = Annotated[SecretName, Path(description="The name of a secret of the tenant.")]

router = APIRouter(prefix="/api/v1/secrets", tags=["secrets"])


@router.get("")
async def list_secrets(caller: Author, session: Session) -> list[Secret]:
    """List the tenant's secrets, without their values."""
    return [Secret.model_validate(row) for row in await store.find(session, tenant_of(caller))]


@router.put("/{name}")
async def put_secret(
    name: Name, new: NewSecret, caller: Author, session: Session, manager: ManagerDep
) -> Secret:
    """Store a secret, in place of what it was before; calls that begin from now on use it."""
    tenant_id, keys = tenant_of(caller), manager.settings.secret_keys
    await store.check_count(session, tenant_id, name)
    row = await store.write(session, keys, tenant_id, name, new.value, updated_by=caller.subject)
    audit.record_action(session, caller, "chat_secret_saved", name=name)
    return Secret.model_validate(row)


@router.delete("/{name}", status_code=status.HTTP_204_NO_CONTENT)
async def delete_secret(name: Name, caller: Author, session: Session) -> None:
    """Delete a secret; calls of tools that name it fail from now on."""
    if not await store.remove(session, tenant_of(caller), name):
        raise SecretNotFound(f"This tenant has no secret called {name!r}.")
    audit.record_action(session, caller, "chat_secret_deleted", name=name)
