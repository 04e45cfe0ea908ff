"""Workers of notification: consume events, address and send emails, delete old rows."""

import logging
from collections.abc import Sequence

from servicekit.app import Resources, run_workers
from servicekit.events.relay import Consumer
from servicekit.retention import RetentionWorker
from servicekit.workers.supervisor import Worker

from notification import deliveries
from notification.handlers import HANDLERS, PREVIOUS_HANDLERS
from notification.notice_worker import NoticeWorker
from notification.recipients import RecipientClient
from notification.sender import Sender
from notification.settings import Settings

logger = logging.getLogger(__name__)


def workers(resources: Resources) -> Sequence[Worker]:
    """List the workers of this service."""
    settings = resources.settings
    assert isinstance(settings, Settings)  # noqa: S101  # create_app passes it
    workers: list[Worker] = [
        Consumer(
            resources.database,
            resources.redis,
            service="notification",
            sources=("auth", "billing-webhook"),
            handlers={**PREVIOUS_HANDLERS, **HANDLERS},
        ),
        RetentionWorker(resources.database, rules=deliveries.erasure_rules()),
        NoticeWorker(resources.database, RecipientClient.from_resources(resources, settings)),
    ]
    if not settings.resend_email_enabled and not settings.is_development:
        # Emails are not skipped as in development: those that have not expired are sent once sending is on.
        logger.warning("email is off (RESEND_EMAIL_ENABLED): emails are queued and not sent")
        return workers
    return [*workers, Sender(resources.database, settings)]


if __name__ == "__main__":
    run_workers("notification", Settings.load(), workers)
