"""What notification does besides answering: it listens, and it sends."""

import logging
from collections.abc import Sequence

from servicekit.app import Resources, run_workers
from servicekit.events.relay import Consumer
from servicekit.workers.retention import RetentionWorker
from servicekit.workers.supervisor import Worker

from notification import deliveries
from notification.handlers import HANDLERS
from notification.sender import Sender
from notification.settings import Settings

logger = logging.getLogger(__name__)


def workers(resources: Resources) -> Sequence[Worker]:
    """List the workers of this service."""
    always: list[Worker] = [
        Consumer(
            resources.database, resources.redis, service="notification", sources=("auth",), handlers=HANDLERS
        ),
        RetentionWorker(resources.database, rules=[deliveries.erased_users_rule()]),
    ]
    settings = resources.settings
    assert isinstance(settings, Settings)  # noqa: S101  # what create_app has passed on
    if not settings.resend_email_enabled and not settings.is_development:
        # Nothing is thrown away here as it is in development: what is still in time goes out once mail is on.
        logger.warning("mail is off (RESEND_EMAIL_ENABLED): mails are kept and not sent")
        return always
    return [*always, Sender(resources.database, settings)]


if __name__ == "__main__":
    run_workers("notification", Settings.load(), workers)
