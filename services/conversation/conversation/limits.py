"""How much a person and a tenant may keep here, and how often they may call: one table."""

from pydantic import PositiveInt
from servicekit.call_limits import CallLimits

MIB = 1024 * 1024


class ConversationLimits(CallLimits):
    """Calls a minute; conversations, items and bytes that are kept at the same time."""

    searches_per_person: PositiveInt = 120
    searches_per_tenant: PositiveInt = 6_000
    conversations_per_person: PositiveInt = 10_000
    conversations_per_tenant: PositiveInt = 1_000_000
    items_per_conversation: PositiveInt = 20_000
    bytes_per_conversation: PositiveInt = 64 * MIB
    bytes_per_tenant: PositiveInt = 100 * 1024 * MIB
