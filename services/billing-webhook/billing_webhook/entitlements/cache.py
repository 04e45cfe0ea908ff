"""A cache of what a tenant may use at most; what it has used is never cached.

An entry counts for its version only, and for no longer than 60 seconds by the clock of its reader: a grant
or a period that ends by time alone changes no version. Reservations do not read it.
"""

import logging
from datetime import datetime, timedelta
from uuid import UUID

from pydantic import ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from billing_webhook.entitlements.schemas import Definition

logger = logging.getLogger(__name__)

LIFETIME = timedelta(seconds=60)


def key_of(tenant_id: UUID) -> str:
    """Return the key of a tenant's entry."""
    return f"billing:entitlements:{tenant_id}"


async def get(redis: Redis, tenant_id: UUID, version: int, now: datetime) -> Definition | None:
    """Return the entry of this version, if there is one and it is not too old."""
    try:
        entry = await redis.get(key_of(tenant_id))
    except (RedisError, OSError):
        logger.warning("entitlements are read without their cache")
        return None
    try:
        definition = Definition.model_validate_json(entry) if entry else None
    except ValidationError:
        return None
    is_valid = definition is not None and definition.version == version and now < definition.valid_until
    return definition if is_valid else None


async def put(redis: Redis, tenant_id: UUID, definition: Definition) -> None:
    """Store an entry; without Redis there is none."""
    try:
        await redis.set(key_of(tenant_id), definition.model_dump_json(), px=LIFETIME)
    except (RedisError, OSError):
        logger.warning("entitlements are not cached")
