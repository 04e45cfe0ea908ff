"""Signing keys and their states: published first, then signing, then published until their tokens expire.

Nothing switches a key over: each has a time from which it signs, and what follows from that is worked out at
every look. So all replicas change keys at the same moment, and none needs to be told.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from itertools import pairwise
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import JsonValue
from servicekit.auth import jose
from servicekit.auth.tokens import ALGORITHM, jwk_members

from auth.configuration.signing import Overlap


class State(Enum):
    """The state of a key."""

    NEXT = "next"
    ACTIVE = "active"
    RETIRING = "retiring"
    RETIRED = "retired"


# Nothing that is written like this is base64url, as the private part of a key of our own is.
VAULT_KEY_FORMAT = re.compile(r"vault:([A-Za-z0-9_.-]{1,128}):([1-9][0-9]{0,8})")


@dataclass(frozen=True)
class VaultKey:
    """The location of a private key in Vault: a Transit key and its version."""

    name: str
    version: int
    public: Ed25519PublicKey

    def public_key(self) -> Ed25519PublicKey:
        """Return the public part, as a private key of our own does."""
        return self.public


PrivatePart = Ed25519PrivateKey | VaultKey
MakePrivatePart = Callable[[], PrivatePart]


@dataclass(frozen=True, eq=False)
class SigningKey:
    """An Ed25519 key, and the time (epoch seconds) from which it signs."""

    active_from: int
    private: PrivatePart = field(default_factory=Ed25519PrivateKey.generate)

    @cached_property
    def jwk(self) -> dict[str, str]:
        """The public key as the key set shows it (RFC 7517, RFC 8037)."""
        members = jwk_members(self.private.public_key())
        return {**members, "use": "sig", "alg": ALGORITHM, "kid": thumbprint(members)}

    @property
    def kid(self) -> str:
        """The key's id."""
        return self.jwk["kid"]

    @property
    def location(self) -> str:
        """Where the private part is, for people to read."""
        return (
            f"{self.private.name} v{self.private.version}" if isinstance(self.private, VaultKey) else "file"
        )

    def to_json(self) -> dict[str, JsonValue]:
        """Serialize the key with its private part, or the location of that in Vault."""
        return {**self.jwk, "d": format_private(self.private), "active_from": self.active_from}

    @classmethod
    def from_json(cls, entry: Mapping[str, JsonValue]) -> Self:
        """Read what `to_json` wrote; raises ValueError."""
        private, active_from = entry.get("d"), entry.get("active_from")
        if not isinstance(private, str) or not isinstance(active_from, int):
            raise ValueError("not a signing key")
        key = cls(active_from, parse_private(private, entry.get("x")))
        # What is sealed is bound to the id, and the id to the public part: none of them can be exchanged.
        if isinstance(key.private, VaultKey) and entry.get("kid") != key.kid:
            raise ValueError("the id of a signing key is not its own")
        return key


def format_private(private: PrivatePart) -> str:
    """Serialize a private part, or its location in Vault."""
    if isinstance(private, VaultKey):
        return f"vault:{private.name}:{private.version}"
    return jose.encode(private.private_bytes_raw())


def parse_private(private: str, public: JsonValue) -> PrivatePart:
    """Read what `written` wrote; `public` is the public part as a JWK has it. Raises ValueError."""
    if (match := VAULT_KEY_FORMAT.fullmatch(private)) is None:
        return Ed25519PrivateKey.from_private_bytes(jose.decode(private))
    point = Ed25519PublicKey.from_public_bytes(jose.decode(str(public)))
    return VaultKey(match[1], int(match[2]), point)


def thumbprint(members: Mapping[str, str]) -> str:
    """Return a key's thumbprint (RFC 7638), which is its id."""
    canonical = json.dumps(members, separators=(",", ":"), sort_keys=True)
    return jose.encode(hashlib.sha256(canonical.encode()).digest())


class NoActiveKey(Exception):
    """There are no keys."""


class KeyCreationFailed(Exception):
    """No key was created, or it cannot be used; the message is for the operator."""


class RotationPending(Exception):
    """A new key is published and does not sign yet."""


class KeyNotFound(Exception):
    """There is no such key."""


@dataclass(frozen=True)
class KeyRing:
    """All keys that there are, in the order in which they sign; never changed, only replaced."""

    keys: tuple[SigningKey, ...] = ()

    def states(self, now: float, overlap: Overlap) -> dict[SigningKey, State]:
        """Return the state of every key at a time."""
        lag = overlap.retire_lag.total_seconds()
        replaced = {old: new.active_from for old, new in pairwise(self.keys)}
        return {key: state_of(key.active_from, replaced.get(key), lag, now) for key in self.keys}

    def active(self, now: float) -> SigningKey:
        """Return the key that signs at a time; raises NoActiveKey without keys."""
        if not self.keys:
            raise NoActiveKey
        # Before the first: only to a clock that is behind the one of whoever made that key.
        return [key for key in self.keys if key.active_from <= now or key == self.keys[0]][-1]

    def published(self, now: float, overlap: Overlap) -> list[SigningKey]:
        """List the keys of the key set: next, active and retiring ones."""
        return [key for key, state in self.states(now, overlap).items() if state is not State.RETIRED]

    def find(self, kid: str) -> SigningKey | None:
        """Return a key by its id."""
        return next((key for key in self.keys if key.kid == kid), None)

    def rotate(self, now: float, overlap: Overlap, make: MakePrivatePart, *, at_once: bool = False) -> Self:
        """Add a key that signs after the publish lead; drop retired ones. Raises RotationPending."""
        if State.NEXT in self.states(now, overlap).values():
            raise RotationPending
        lead = 0 if at_once or not self.keys else overlap.publish_lead.total_seconds()
        return self.with_keys(*self.published(now, overlap), SigningKey(int(now + lead), make()))

    def revoke(self, kid: str, now: float, overlap: Overlap, make: MakePrivatePart | None) -> Self:
        """Remove a key at once, with all tokens that it has signed; a new one signs if it was the active one.

        Without `make` the next one signs already, or the one before again, if there is either. Who is retired
        is dropped: by a clock that is behind it would sign again. Raises KeyNotFound.
        """
        gone = self.find(kid)
        if gone is None:
            raise KeyNotFound
        rest = [key for key in self.published(now, overlap) if key != gone]
        # One that a clock ahead of this one has just made signs already, if there is no other.
        if gone != self.active(now):
            return self.with_keys(*rest)
        if make:
            return self.with_keys(*rest, SigningKey(int(now), make()))
        return self.with_keys(*(SigningKey(min(key.active_from, int(now)), key.private) for key in rest))

    def with_keys(self, *keys: SigningKey) -> Self:
        """Create a ring of these keys."""
        return type(self)(tuple(sorted(keys, key=lambda key: key.active_from)))


def state_of(active_from: float, replaced_at: float | None, lag: float, now: float) -> State:
    """Return the state of a key, given when it starts to sign and when it was replaced."""
    if now < active_from:
        return State.NEXT
    if replaced_at is None or now < replaced_at:
        return State.ACTIVE
    return State.RETIRING if now < replaced_at + lag else State.RETIRED
