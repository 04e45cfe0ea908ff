"""Telling those who run this installation that somebody attacks many accounts."""

import logging
from collections.abc import Sequence

from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit, emails
from auth.audit import Action
from auth.events import MailKind
from auth.registration import signup_requests
from auth.security.attack_detection import Attack, Sighting
from auth.services import Parts

logger = logging.getLogger(__name__)

SEEN = Counter("auth_attacks_seen_total", "Attacks on many accounts, each once in an hour.", ["attack"])
ACTIONS = {
    Attack.PASSWORD_SPRAYING: Action.PASSWORD_SPRAYING,
    Attack.CREDENTIAL_STUFFING: Action.CREDENTIAL_STUFFING,
}


async def sound(db: AsyncSession, parts: Parts, sightings: Sequence[Sighting]) -> None:
    """Write attacks down in the operators' audit log, and to the operators what is news."""
    operators = parts.settings.auth_operator_tenant_id
    for sighting in sightings:
        logger.warning("attack seen", extra={"attack": sighting.attack.value})
        SEEN.labels(sighting.attack.value).inc()
        audit.record(db, ACTIONS[sighting.attack], tenant_id=operators)
        for user in await signup_requests.operators(db, parts) if sighting.is_news else ():
            to = emails.Recipient.of(user)
            emails.send(
                db, parts, MailKind.ATTACK_SEEN, to, tenant_id=operators, attack=sighting.attack.value
            )
