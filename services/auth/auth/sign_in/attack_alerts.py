"""Notifies the operators of attacks on many accounts."""

import logging
from collections.abc import Sequence

from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit, emails
from auth.audit import Action
from auth.events import EmailKind
from auth.registration import signup_requests
from auth.security.attack_detection import Attack, Detection
from auth.services import AuthServices

logger = logging.getLogger(__name__)

DETECTED = Counter("auth_attacks_detected_total", "Attacks on many accounts, once an hour.", ["attack"])
ACTIONS = {
    Attack.PASSWORD_SPRAYING: Action.PASSWORD_SPRAYING,
    Attack.CREDENTIAL_STUFFING: Action.CREDENTIAL_STUFFING,
}


async def alert_operators(db: AsyncSession, services: AuthServices, detections: Sequence[Detection]) -> None:
    """Audit detected attacks for the operators, and email them once a day."""
    operators = services.settings.auth_operator_tenant_id
    for sighting in detections:
        logger.warning("attack seen", extra={"attack": sighting.attack.value})
        DETECTED.labels(sighting.attack.value).inc()
        audit.record(db, ACTIONS[sighting.attack], tenant_id=operators)
        for user in await signup_requests.list_operators(db, services) if sighting.should_notify else ():
            to = emails.Recipient.from_user(user)
            emails.request_email(
                db, services, EmailKind.ATTACK_SEEN, to, tenant_id=operators, attack=sighting.attack.value
            )
