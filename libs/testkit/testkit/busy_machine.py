"""How long services wait for what is on the same machine, when that stands still for seconds."""

import pytest
from aiohttp import ClientTimeout
from servicekit import health, logging, postgres, rate_limits, redis_client
from servicekit.auth import revocations
from servicekit.http import client
from servicekit.jwks import cache
from servicekit.jwks.fetch import FetchLimits
from servicekit.jwks.refresher import JwksPolicy

LIMITS = FetchLimits(connect_timeout=60, read_timeout=60, total_timeout=60)


def wait_longer(patch: pytest.MonkeyPatch) -> None:
    """Allow servers, services, keys, checks of readiness and logs as long as a busy machine takes."""
    patch.setattr(postgres, "CONNECT_SECONDS", 60)
    patch.setattr(redis_client, "CONNECT_SECONDS", 60)
    patch.setattr(redis_client, "WAIT_SECONDS", 60)
    patch.setattr(client, "TIMEOUT", ClientTimeout(total=60, sock_connect=60))
    patch.setattr(cache, "DEFAULT_POLICY", JwksPolicy(wait_timeout=60, limits=LIMITS))
    patch.setattr(rate_limits, "TIMEOUT_SECONDS", 30.0)
    patch.setattr(revocations, "FIRST_SECONDS", 60.0)
    patch.setattr(health, "CHECK_SECONDS", 60.0)
    patch.setattr(logging, "POST_SECONDS", 60.0)
