"""Sign access tokens with a private key of our own, or in Vault."""

import logging

import orjson
from cryptography.exceptions import InvalidSignature
from pydantic import JsonValue
from servicekit.auth import jose
from servicekit.auth.tokens import ALGORITHM, TYPE

from auth.signing.key_ring import SigningKey, VaultKey
from auth.signing.vault import Vault, VaultUnavailable

logger = logging.getLogger(__name__)


async def sign_token(key: SigningKey, claims: dict[str, JsonValue], vault: Vault) -> str:
    """Return a signed access token (RFC 7515 section 7.1, RFC 9068); raises VaultUnavailable."""
    header = {"alg": ALGORITHM, "kid": key.kid, "typ": TYPE}
    text = f"{jose.encode(orjson.dumps(header))}.{jose.encode(orjson.dumps(claims))}"
    return f"{text}.{jose.encode(await signature(key, text.encode(), vault))}"


async def signature(key: SigningKey, data: bytes, vault: Vault) -> bytes:
    """Sign with whichever key; raises VaultUnavailable."""
    if isinstance(key.private, VaultKey):
        return await sign_with_vault(key.private, data, vault)
    return key.private.sign(data)


async def sign_with_vault(private: VaultKey, data: bytes, vault: Vault) -> bytes:
    """Sign with a key in Vault; raises VaultUnavailable."""
    signature = await vault.sign(private.name, private.version, data)
    try:
        # Somebody may have made the Transit key anew: what it signs then, nobody would believe.
        private.public.verify(signature, data)
    except InvalidSignature:
        extra = {"key": private.name, "version": private.version}
        logger.error("vault signs with another key than the published one", extra=extra)
        raise VaultUnavailable from None
    return signature
