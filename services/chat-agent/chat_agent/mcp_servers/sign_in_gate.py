"""Suspends a run before a call that its person has not signed in for."""

from dataclasses import dataclass
from typing import Any

from agents import RunContextWrapper

from chat_agent.agents.approvals import NeedsApproval
from chat_agent.agents.tool import RunContext
from chat_agent.mcp_servers.access import McpAccess
from chat_agent.mcp_servers.errors import McpServerUnavailable, McpSignInFailed, McpSignInRequired
from chat_agent.mcp_servers.registered import RegisteredServer


@dataclass(frozen=True)
class SignInGate:
    """Decides whether a person is needed before a call, and notes where that is to sign in."""

    access: McpAccess
    server: RegisteredServer
    policy: NeedsApproval

    async def __call__(
        self, context: RunContextWrapper[RunContext], arguments: dict[str, Any], call_id: str
    ) -> bool:
        """Return whether the run waits."""
        policy, run = self.policy, context.context
        needs_approval = policy if isinstance(policy, bool) else await policy(context, arguments, call_id)
        if await self._is_signed_in(run.user_id):
            return needs_approval
        name = self.server.name
        url = f"/api/v1/mcp-servers/{name}/sign-in"
        run.sign_ins[call_id] = {"server": name, "url": url, "needs_approval": needs_approval}
        return True

    async def _is_signed_in(self, user_id: str) -> bool:
        try:
            await self.access.sign_ins_for(self.server).access_token(self.server, user_id)
        except McpSignInRequired:
            return False
        except (McpServerUnavailable, McpSignInFailed):
            # The call says so.
            return True
        return True
