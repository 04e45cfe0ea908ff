"""Who may ask how often, and listen to how many answers at once: each person, and a tenant as a whole."""

from servicekit.app import Kit
from servicekit.limits import Admission, Rate, Slots, tenant_key
from servicekit.tokens import Principal

from chat_agent.settings import Settings

# What a process that died has taken is free again after this.
SLOT_SECONDS = 20.0


async def answer(kit: Kit, settings: Settings, caller: Principal) -> Admission:
    """Let a caller ask once more; raises RateLimited."""
    return await kit.limits.admit(
        Rate(key(caller, "chat"), settings.chat_rate_limit_per_minute),
        Rate(shared(caller, "chat"), settings.chat_tenant_rate_limit_per_minute),
    )


async def stream(kit: Kit, settings: Settings, caller: Principal) -> Admission:
    """Let a caller ask once more and listen; raises RateLimited or ConcurrencyLimited."""
    return await kit.limits.admit(
        Rate(key(caller, "stream"), settings.chat_stream_rate_limit_per_minute),
        Rate(shared(caller, "stream"), settings.chat_tenant_stream_rate_limit_per_minute),
        Slots(key(caller, "streams"), settings.chat_stream_concurrent_limit, SLOT_SECONDS),
        Slots(shared(caller, "streams"), settings.chat_tenant_stream_concurrent_limit, SLOT_SECONDS),
    )


async def listen(kit: Kit, settings: Settings, caller: Principal) -> Admission:
    """Let a caller listen to what was asked before; raises ConcurrencyLimited."""
    return await kit.limits.admit(
        Rate(key(caller, "resume"), settings.chat_resume_rate_limit_per_minute),
        Slots(key(caller, "resumes"), settings.chat_resume_concurrent_limit, SLOT_SECONDS),
    )


def key(caller: Principal, what: str) -> str:
    """Name a person's limit."""
    return tenant_key(caller.tenant_id, what, caller.subject)


def shared(caller: Principal, what: str) -> str:
    """Name a tenant's limit."""
    return tenant_key(caller.tenant_id, what)
