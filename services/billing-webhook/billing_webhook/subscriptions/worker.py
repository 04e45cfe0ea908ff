"""Finishes the commands that a crash, or an outage of Stripe, has left."""

from servicekit.workers.base import LoopWorker

from billing_webhook.models import Command
from billing_webhook.services import BillingServices
from billing_webhook.subscriptions import commands

# Its own process wakes it; this is for commands that another replica has left.
POLL_SECONDS = 30.0


class CommandWorker(LoopWorker):
    """Executes pending commands whose time has come; several replicas may do so at once."""

    def __init__(self, services: BillingServices) -> None:
        super().__init__("commands", wakeup=services.database.wakeup(Command.__tablename__))
        self._services = services

    async def begin(self) -> None:
        """Make sure that the database answers."""
        await self._services.database.ping()

    async def step(self) -> float:
        """Execute all commands that are due; return the seconds until the next one is."""
        while await commands.finish_next(self._services):
            pass
        return min(max(await commands.seconds_until_due(self._services), 0.1), POLL_SECONDS)
