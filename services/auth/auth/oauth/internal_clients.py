"""Which service may call which, and for what. Machines get tokens by client credentials (RFC 6749 4.4)."""

import hashlib
import hmac
from collections.abc import Mapping

from pydantic import SecretStr
from servicekit.auth.api_keys import SCOPE as API_KEYS

from auth.errors import InvalidClient, InvalidScope, InvalidTarget
from auth.schemas import MachineCredentials
from auth.signing.access_tokens import AccessTokens, Issued

# What every service may do: ask about the API keys that come to it.
ALL: Mapping[str, frozenset[str]] = {"auth": frozenset({API_KEYS})}
# The caller, then whom it may call, then what it may do there. Who is not here calls nobody.
GRANTS: Mapping[str, Mapping[str, frozenset[str]]] = {
    "billing-webhook": ALL,
    "chat-agent": {
        "auth": frozenset({API_KEYS, "members:read"}),
        "conversation": frozenset({"conversations:read", "conversations:write"}),
    },
    "conversation": ALL,
    "notification": ALL,
}


async def issue(
    access_tokens: AccessTokens, secrets: Mapping[str, SecretStr], asked: MachineCredentials
) -> Issued:
    """Issue a machine's token for one service.

    Raises InvalidClient, InvalidTarget or InvalidScope; no `scope` asks for all that is granted.
    """
    prove(secrets.get(asked.client_id), asked.client_secret)
    granted = GRANTS.get(asked.client_id, {}).get(asked.audience)
    if granted is None:
        raise InvalidTarget
    wanted = frozenset(asked.scope.split()) or granted
    if not wanted <= granted:
        raise InvalidScope
    return await access_tokens.for_service(asked.client_id, asked.audience, wanted)


def prove(kept: SecretStr | None, given: SecretStr) -> None:
    """Compare secrets in a time that tells nothing, also where there is none; raises InvalidClient."""
    same = hmac.compare_digest(
        fixed_length(kept.get_secret_value() if kept else ""), fixed_length(given.get_secret_value())
    )
    if not same or not kept:
        raise InvalidClient


def fixed_length(secret: str) -> bytes:
    """Hide the length of a secret from the clock."""
    return hashlib.sha256(secret.encode()).digest()
