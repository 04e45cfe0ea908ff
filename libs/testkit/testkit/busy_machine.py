"""How long services wait for what is on the same machine, when that stands still for seconds."""

import pytest
from servicekit import postgres, rate_limits
from servicekit.jwks import cache
from servicekit.jwks.fetch import FetchLimits
from servicekit.jwks.refresher import JwksPolicy

LIMITS = FetchLimits(connect_timeout=60, read_timeout=60, total_timeout=60)


def wait_longer(patch: pytest.MonkeyPatch) -> None:
    """Allow Postgres, its pools, sources of keys and rate limits as long as a busy machine takes."""
    patch.setattr(postgres, "CONNECT_SECONDS", 60)
    patch.setattr(cache, "DEFAULT_POLICY", JwksPolicy(wait_timeout=60, limits=LIMITS))
    patch.setattr(rate_limits, "TIMEOUT_SECONDS", 30.0)
