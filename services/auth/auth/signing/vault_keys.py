"""Creates keys in Vault's Transit engine and reads their public parts, for operators, with `hvac`.

It blocks, and is called from a thread or a command, seldom. Tokens
are signed through `signing.vault`, which waits without blocking.
"""

import base64
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import hvac  # type: ignore[import-untyped]  # it has no types
import stamina
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hvac.exceptions import Forbidden, InvalidPath, VaultError  # type: ignore[import-untyped]  # as above

from auth.settings import Settings
from auth.signing.key_ring import KeyCreationFailed, VaultKey

# Little, because a key that has leaked is taken away only when it is clear whether another can be made.
ATTEMPT_SECONDS = 2.0
ATTEMPTS = 2
MAX_SECONDS = 5.0


class TransitKeys:
    """The Transit key whose versions sign access tokens."""

    def __init__(self, address: str, token: Callable[[], str], name: str) -> None:
        self._address = address
        self._token = token
        self._name = name

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Build from the settings."""
        return cls(settings.vault_addr or "", settings.current_vault_token, settings.auth_vault_signing_key)

    def latest_version(self) -> VaultKey:
        """Return the newest version; raises KeyCreationFailed."""
        with self._transit() as transit:
            return self._newest(transit)

    def create_version(self) -> VaultKey:
        """Create a version, and the key itself when there is none yet; raises KeyCreationFailed.

        Tried again it may have made two: one of them never signs, which harms nothing.
        """
        with self._transit() as transit:
            if self._exists(transit):
                retry(lambda: transit.rotate_key(self._name))
            else:
                retry(lambda: transit.create_key(self._name, key_type="ed25519"))
            return self._newest(transit)

    def _exists(self, transit: Any) -> bool:
        try:
            retry(lambda: transit.read_key(self._name))
        except InvalidPath:
            return False
        return True

    def _newest(self, transit: Any) -> VaultKey:
        key = retry(lambda: transit.read_key(self._name))["data"]
        if key["type"] != "ed25519" or key.get("exportable") or key.get("allow_plaintext_backup"):
            raise KeyCreationFailed(
                f"The Transit key {self._name} must be of type ed25519, and never leave Vault."
            )
        version = int(key["latest_version"])
        public = base64.b64decode(key["keys"][str(version)]["public_key"], validate=True)
        return VaultKey(self._name, version, Ed25519PublicKey.from_public_bytes(public))

    @contextmanager
    def _transit(self) -> Iterator[Any]:
        """Yield hvac's Transit client, translating its errors."""
        client = hvac.Client(self._address, token=self._token(), timeout=ATTEMPT_SECONDS, verify=ca_bundle())
        client.session.trust_env = False
        try:
            with client.session:
                yield client.secrets.transit
        except Forbidden:
            raise KeyCreationFailed(
                "Vault forbids it: its token has run out, or has no policy for it."
            ) from None
        except InvalidPath:
            raise KeyCreationFailed(f"Vault has no Transit key {self._name}: `rotate` makes it.") from None
        except (VaultError, OSError) as error:
            raise KeyCreationFailed(f"Vault does not answer ({type(error).__name__}).") from None
        except (KeyError, TypeError, ValueError):
            raise KeyCreationFailed(f"Vault shows a Transit key {self._name} that cannot be read.") from None


def retry(call: Callable[[], Any]) -> Any:
    """Call Vault, a few times if it falters."""
    for attempt in stamina.retry_context(
        on=should_retry, attempts=ATTEMPTS, timeout=MAX_SECONDS, wait_initial=0.1, wait_max=1
    ):
        with attempt:
            return call()
    raise AssertionError  # pragma: no cover - the loop above returns or raises


def should_retry(error: Exception) -> bool:
    """Return whether an error of Vault is temporary."""
    refused = isinstance(error, Forbidden | InvalidPath | hvac.exceptions.InvalidRequest)
    return isinstance(error, VaultError | OSError) and not refused


def ca_bundle() -> str | bool:
    """Return the operating system's certificate authorities, which the service's other calls trust, too."""
    paths = ssl.get_default_verify_paths()
    return paths.cafile or paths.capath or True
