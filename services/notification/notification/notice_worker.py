"""Addresses emails about a tenant's billing: looks up who gets them, and enqueues a delivery for each."""

import logging
from datetime import UTC, datetime

from prometheus_client import Counter
from servicekit.database import Database
from servicekit.http.client import DependencyUnavailable
from servicekit.workers.base import LoopWorker, shielded

from notification import notices
from notification.models import Notice
from notification.recipients import RecipientClient

logger = logging.getLogger(__name__)

# At most, for what another process has enqueued and left; what this process enqueues wakes the worker.
POLL_SECONDS = 60.0
NOTICES = Counter(
    "notification_notices_total",
    "Billing emails by what became of them: addressed, no_recipients, postponed, expired.",
    ["template", "result"],
)


class NoticeWorker(LoopWorker):
    """Addresses one notice after another; several replicas may run."""

    def __init__(self, database: Database, recipients: RecipientClient) -> None:
        super().__init__("notices", wakeup=database.wakeup(Notice.__tablename__))
        self._database = database
        self._recipients = recipients

    async def begin(self) -> None:
        """Verify that the database is reachable."""
        await self._database.ping()

    async def step(self) -> float:
        """Address the next notice that is due, or return the seconds until then."""
        # No transaction is open during the requests: the lease keeps the notice ours.
        async with self._database.begin() as db:
            notice = await notices.claim(db)
            if notice is None:
                return min(max(await notices.seconds_until_due(db), 0), POLL_SECONDS)
        result = await shielded(self._address(notice))
        NOTICES.labels(notice.template, result).inc()
        logger.info("billing email", extra={"template": notice.template, "result": result})
        return 0

    async def _address(self, notice: Notice) -> str:
        if notice.expires_at <= datetime.now(UTC):
            async with self._database.begin() as db:
                await notices.discard(db, notice)
            return "expired"
        try:
            recipients = await self._recipients.find(notice.tenant_id)
        except (DependencyUnavailable, ValueError):
            # An answer that cannot be read is an outage, too: a newer replica may understand it.
            async with self._database.begin() as db:
                await notices.postpone(db, notice)
            return "postponed"
        async with self._database.begin() as db:
            await notices.address(db, notice, recipients)
        return "addressed" if recipients.people else "no_recipients"
