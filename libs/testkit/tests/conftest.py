"""The programs of all services, to be started as processes."""

from collections.abc import Iterator

import pytest
from testkit.contract_documents import services
from testkit.fork_server import ForkServer


@pytest.fixture(scope="session")
def programs() -> Iterator[ForkServer]:
    """Start what has imported every service and Alembic, once for all of their processes."""
    mains = [f"{service.replace('-', '_')}.main" for service in services()]
    with ForkServer(*mains, "alembic", "alembic.config") as server:
        yield server
