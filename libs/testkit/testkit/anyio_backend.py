"""The loop that asynchronous tests run on."""

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """Run them on the loop that the services run on."""
    return "asyncio", {"use_uvloop": True}
