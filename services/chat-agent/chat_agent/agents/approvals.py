"""When a person is asked before a tool is called: the policies of tools, and of the agents that use them."""

import dataclasses
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal

from agents import FunctionTool, RunContextWrapper

from chat_agent.model.schema_validation import SchemaValidator

Condition = Mapping[str, Any]
Policy = bool | Literal["when_tainted"] | Condition
# As the SDK takes it.
NeedsApproval = bool | Callable[[RunContextWrapper[Any], dict[str, Any], str], Awaitable[bool]]


def approval_policy(policy: Policy | Sequence[Policy]) -> NeedsApproval:
    """Return when a person is asked, as the SDK takes it; of several policies, any is enough."""
    if isinstance(policy, bool):
        return policy
    if policy == "when_tainted":
        return when_tainted
    if isinstance(policy, Mapping):
        return when_matching(policy)
    return any_of([approval_policy(one) for one in policy])


async def when_tainted(context: RunContextWrapper[Any], _arguments: dict[str, Any], _call_id: str) -> bool:
    """Require an approval where the run has read untrusted content."""
    is_tainted: bool = await context.context.taint.is_tainted()
    return is_tainted


def when_matching(condition: Condition) -> NeedsApproval:
    """Require an approval where the arguments match a JSON schema."""
    validator = SchemaValidator(condition)

    async def matches(_context: RunContextWrapper[Any], arguments: dict[str, Any], _call_id: str) -> bool:
        return validator.is_too_much(arguments) or validator.is_valid(arguments)

    return matches


def any_of(policies: Sequence[NeedsApproval]) -> NeedsApproval:
    """Require an approval where any of several policies does."""
    if True in policies:
        return True
    conditions = [policy for policy in policies if not isinstance(policy, bool)]
    if len(conditions) < 2:
        return conditions[0] if conditions else False

    async def any_asks(context: RunContextWrapper[Any], arguments: dict[str, Any], call_id: str) -> bool:
        for condition in conditions:
            if await condition(context, arguments, call_id):
                return True
        return False

    return any_asks


Approval = Literal["never", "always", "when_tainted"]


def with_approval(tool: FunctionTool, approval: Approval | None) -> FunctionTool:
    """Return a tool as an agent uses it: a person is asked where the tool or the agent requires it."""
    if approval is None or approval == "never":
        return tool
    own = True if approval == "always" else when_tainted
    return dataclasses.replace(tool, needs_approval=any_of([tool.needs_approval, own]))
