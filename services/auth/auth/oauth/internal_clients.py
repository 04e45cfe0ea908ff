"""Which service may call which, and for what. Machines get tokens by client credentials (RFC 6749 4.4)."""

import hashlib
import hmac
from collections.abc import Mapping

from pydantic import SecretStr
from servicekit.auth.api_keys import SCOPE as API_KEYS

from auth.errors import InvalidClient, InvalidScope, InvalidTarget
from auth.schemas import MachineCredentials
from auth.signing.access_tokens import AccessTokens, IssuedAccessToken

# What every service may do: ask about the API keys that come to it.
EVERY_SERVICE: Mapping[str, frozenset[str]] = {"auth": frozenset({API_KEYS})}
# The caller, then whom it may call, then what it may do there. Who is not here calls nobody.
GRANTS: Mapping[str, Mapping[str, frozenset[str]]] = {
    "billing-webhook": EVERY_SERVICE,
    "chat-agent": {
        "auth": frozenset({API_KEYS, "members:read"}),
        "billing-webhook": frozenset({"billing:reserve"}),
        "conversation": frozenset({"conversations:read", "conversations:write"}),
    },
    "conversation": EVERY_SERVICE,
    "notification": {
        "auth": frozenset({API_KEYS, "owners:read"}),
        "billing-webhook": frozenset({"billing:contact"}),
    },
}


async def issue(
    access_tokens: AccessTokens, secrets: Mapping[str, SecretStr], request: MachineCredentials
) -> IssuedAccessToken:
    """Issue a machine's token for one service.

    Raises InvalidClient, InvalidTarget or InvalidScope; no `scope` asks for all that is granted.
    """
    verify_secret(secrets.get(request.client_id), request.client_secret)
    granted = GRANTS.get(request.client_id, {}).get(request.audience)
    if granted is None:
        raise InvalidTarget
    scopes = frozenset(request.scope.split()) or granted
    if not scopes <= granted:
        raise InvalidScope
    return await access_tokens.for_service(request.client_id, request.audience, scopes)


def verify_secret(expected: SecretStr | None, presented: SecretStr) -> None:
    """Compare secrets in constant time, also for an unknown client; raises InvalidClient."""
    same = hmac.compare_digest(
        fixed_length(expected.get_secret_value() if expected else ""),
        fixed_length(presented.get_secret_value()),
    )
    if not same or not expected:
        raise InvalidClient


def fixed_length(secret: str) -> bytes:
    """Return a digest, so that the time of a comparison does not depend on the length."""
    return hashlib.sha256(secret.encode()).digest()
