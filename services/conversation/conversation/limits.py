"""Rate limits and storage limits of users and tenants."""

from pydantic import PositiveInt
from servicekit.auth.call_limits import CallLimits

MIB = 1024 * 1024


class ConversationLimits(CallLimits):
    """Calls per minute; stored conversations, items and bytes."""

    searches_per_person: PositiveInt = 120
    searches_per_tenant: PositiveInt = 6_000
    conversations_per_person: PositiveInt = 10_000
    conversations_per_tenant: PositiveInt = 1_000_000
    items_per_conversation: PositiveInt = 20_000
    bytes_per_conversation: PositiveInt = 64 * MIB
    bytes_per_tenant: PositiveInt = 100 * 1024 * MIB
