"""The HTTP routes by which a person signs in for an MCP server."""

from typing import Annotated

from fastapi import APIRouter, Path, status
from servicekit.auth.tokens import Principal
from sqlalchemy import select

from chat_agent.api.dependencies import ManagerDep, Writer
from chat_agent.api.start_run import answer_approvals
from chat_agent.execution.manager import RunManager
from chat_agent.mcp_servers import grants, schemas, sign_ins, store
from chat_agent.mcp_servers.definition import ServerName
from chat_agent.mcp_servers.registered import RegisteredServer
from chat_agent.models import Approval, Run, RunStatus
from chat_agent.runs.schemas import Answer

Name = Annotated[ServerName, Path(description="The name of an MCP server of the tenant.")]

router = APIRouter(prefix="/api/v1/mcp-servers/{name}/sign-in", tags=["mcp servers"])


@router.get("", response_model=schemas.SignInStatus)
async def get_mcp_sign_in(name: Name, caller: Writer, manager: ManagerDep) -> schemas.SignInStatus:
    """Return whether the caller has signed in for an MCP server."""
    server = await find_server(manager, caller, name)
    async with manager.database.begin() as session:
        row = await grants.find(session, server, caller.user_id)
    return schemas.SignInStatus.model_validate({"server": name, "state": row.state if row else "needs_login"})


@router.post("", response_model=schemas.SignInStart)
async def begin_mcp_sign_in(name: Name, caller: Writer, manager: ManagerDep) -> schemas.SignInStart:
    """Begin to sign in: return the address to open in the caller's browser."""
    server = await find_server(manager, caller, name)
    url, expires_at = await manager.mcp.sign_ins_for(server).begin(server, caller.user_id)
    return schemas.SignInStart(authorization_url=url, expires_at=expires_at)


@router.post("/complete", response_model=schemas.SignInStatus)
async def complete_mcp_sign_in(
    name: Name, response: schemas.SignInResponse, caller: Writer, manager: ManagerDep
) -> schemas.SignInStatus:
    """Complete a sign-in that the caller has begun; runs that waited for it go on."""
    server = await find_server(manager, caller, name)
    own = manager.mcp.sign_ins_for(server)
    await own.complete(server, caller.user_id, response.state, response.code, response.iss)
    await resume_runs(manager, caller, name)
    return schemas.SignInStatus(server=name, state="connected")


@router.delete("", status_code=status.HTTP_204_NO_CONTENT)
async def revoke_mcp_sign_in(name: Name, caller: Writer, manager: ManagerDep) -> None:
    """End the caller's sign-in, and revoke its tokens."""
    server = await find_server(manager, caller, name)
    await manager.mcp.sign_ins_for(server).revoke(server, caller.user_id)


async def find_server(manager: RunManager, caller: Principal, name: str) -> RegisteredServer:
    """Return a server of the caller's tenant for which persons sign in.

    Raises McpServerNotFound, McpSignInFailed.
    """
    async with manager.database.begin() as session:
        server = RegisteredServer.of(await store.find(session, caller, name))
    sign_ins.oauth_of(server)
    return server


async def resume_runs(manager: RunManager, caller: Principal, name: str) -> None:
    """Allow the calls that waited for a sign-in of the caller and for nothing else."""
    waiting = (
        select(Approval.run_id, Approval.id)
        .join(Run, Run.id == Approval.run_id)
        .where(
            Run.tenant_id == caller.tenant_id,
            Run.user_id == caller.user_id,
            Run.status == RunStatus.WAITING,
            Approval.status == "pending",
            Approval.sign_in.contains({"server": name, "needs_approval": False}),
        )
    )
    async with manager.database.begin() as session:
        rows = (await session.execute(waiting)).all()
    for run_id in {run_id for run_id, _ in rows}:
        decisions = {id_: Answer(approve=True) for other, id_ in rows if other == run_id}
        await answer_approvals(manager, caller, run_id, decisions)
