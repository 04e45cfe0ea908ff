"""Erasure of the end users of an application, and who may erase and export them."""

import asyncio
from dataclasses import replace

from servicekit.auth.end_users import validate_end_user
from servicekit.auth.permissions import allows
from servicekit.auth.tokens import Principal
from servicekit.errors import BadRequest, Forbidden, NotFound, Unavailable
from servicekit.events.outbox import publish
from sqlalchemy import ColumnElement, and_, exists, func, select

from chat_agent.attachments import files
from chat_agent.erasure.handlers import stop_runs
from chat_agent.erasure.worker import erase_finished
from chat_agent.events import EndUserErased
from chat_agent.execution.manager import RunManager
from chat_agent.mcp_servers import retention as mcp_sign_ins
from chat_agent.memory import store as memory_store
from chat_agent.memory.store import Owner
from chat_agent.models import UNFINISHED, Run

# Whoever may erase and export the end users of every application of a tenant.
PERMISSION = "tenant:manage"
WAIT_SECONDS = 10.0
POLL_SECONDS = 0.1


class EndUserNotFound(NotFound):
    """The request acts for one end user and names another."""

    default_detail = "The end user is not the one that the request acts for."


class ApplicationMissing(BadRequest):
    """A person does not say whose end user it is."""

    default_detail = "Name the application whose end user this is, by its client id (`ak.…` or `sa.…`)."


class ApplicationForbidden(Forbidden):
    """The caller may not manage end users of another application."""

    default_detail = "Only owners and admins manage the end users of other applications."


class ErasureInProgress(Unavailable):
    """Runs of the end user have not stopped yet."""

    default_detail = "Runs of this end user are still stopping. Repeat the request."


def end_user_of(caller: Principal, name: str, application: str | None) -> Principal:
    """Return an end user of the caller, or for owners and admins of another application.

    Raises InvalidEndUser, EndUserNotFound, ApplicationMissing, ApplicationForbidden.
    """
    if caller.end_user not in {None, name}:
        raise EndUserNotFound
    validate_end_user(name)
    if caller.is_application and application in {None, caller.client_id}:
        return replace(caller, end_user=name)
    if not allows(PERMISSION, caller.role, caller.scopes):
        raise ApplicationForbidden
    if application is None:
        raise ApplicationMissing
    return replace(caller, subject=f"service:{application}", client_id=application, end_user=name)


def is_of(end_user: Principal) -> ColumnElement[bool]:
    """Return the condition that a run is an end user's."""
    return and_(Run.tenant_id == end_user.tenant_id, Run.user_id == end_user.user_id)


async def erase(manager: RunManager, end_user: Principal) -> None:
    """Erase what is stored of an end user, and anonymize its usage; raises ErasureInProgress.

    When this returns, all is erased; the end user may start anew.
    """
    async with manager.database.begin() as db:
        stopped = await stop_runs(db, is_of(end_user))
    await manager.stop(stopped)
    await wait_for_runs(manager, end_user)
    async with manager.database.begin() as db:
        now = (await db.execute(select(func.now()))).scalar_one()
    # A request of a run that has ended may still be executed: it is refused from now on.
    await manager.conversation_client(end_user).delete_all(erased_before=now)
    async with manager.database.begin() as db:
        await files.remove_all(db, files.is_of(end_user))
        erased = EndUserErased(tenant_id=end_user.tenant_id, user_id=end_user.user_id)
        publish(db, erased, tenant_id=end_user.tenant_id, subject=end_user.user_id)
        await memory_store.remove_all(db, Owner.of(end_user))
        await mcp_sign_ins.forget(db, end_user.tenant_id, end_user.user_id)
    log_seconds = manager.settings.run_log_ttl_seconds
    while await erase_finished(manager.database, manager.redis, log_seconds, is_of(end_user)):
        pass


async def wait_for_runs(manager: RunManager, end_user: Principal) -> None:
    """Wait until no run of an end user is unfinished: it would store more; raises ErasureInProgress."""
    is_open = select(exists().where(is_of(end_user), Run.status.in_(UNFINISHED)))
    for _ in range(round(WAIT_SECONDS / POLL_SECONDS)):
        async with manager.database.begin() as db:
            if not await db.scalar(is_open):
                return
        await asyncio.sleep(POLL_SECONDS)
    raise ErasureInProgress(retry_after=WAIT_SECONDS)
