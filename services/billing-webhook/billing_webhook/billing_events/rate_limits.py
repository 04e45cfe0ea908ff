"""How often each user, and a tenant as a whole, may open streams, and how many may be open at once."""

from servicekit.app import Resources
from servicekit.auth.tokens import Principal
from servicekit.rate_limits import Concurrency, Grant, LimitsUnavailable, Rate, SlotLease, tenant_key

from billing_webhook.settings import Settings

# Slots of a process that died are free again after this.
SLOT_SECONDS = 20.0


async def admit(resources: Resources, settings: Settings, caller: Principal) -> Grant:
    """Return the grant for one stream; raises RateLimited, ConcurrencyLimited."""
    rates, slots = limits_of(settings, caller)
    try:
        return await resources.limits.admit(*rates, *slots)
    except LimitsUnavailable:
        # A stream needs no Redis, so it opens without: this process counts how often, until Redis is back.
        await resources.rates.admit(*rates)
        return Grant(None, SlotLease(resources.limits, []))


def limits_of(settings: Settings, caller: Principal) -> tuple[list[Rate], list[Concurrency]]:
    """Return the limits of a caller's streams."""
    user = tenant_key(caller.tenant_id, "billing-streams", caller.subject)
    tenant = tenant_key(caller.tenant_id, "billing-streams")
    return [
        Rate(user, settings.billing_stream_rate_limit_per_minute),
        Rate(tenant, settings.billing_tenant_stream_rate_limit_per_minute),
    ], [
        Concurrency(user, settings.billing_stream_concurrent_limit, SLOT_SECONDS),
        Concurrency(tenant, settings.billing_tenant_stream_concurrent_limit, SLOT_SECONDS),
    ]
