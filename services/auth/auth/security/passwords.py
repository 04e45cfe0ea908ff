"""Passwords: Argon2id keyed with a pepper, computed beside the event loop, kept as `<pepper id>:<PHC>`."""

import asyncio
import os
import secrets
import unicodedata
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from pydantic import SecretStr

from auth.configuration.sign_in import MIN_PASSWORD_MEMORY_KIB
from auth.errors import TooManySignIns
from auth.security.keyed_hash import keyed_hash

T = TypeVar("T")

ITERATIONS, LANES = 2, 1
SALT_BYTES = HASH_BYTES = 32
# A core hashes about 40 in a second; who would wait for more than two seconds is sent away instead.
MAX_QUEUED_PER_CORE = 80


class Passwords:
    """Hashes and verifies. The pepper is not in the database, so that its rows alone cannot be guessed at."""

    def __init__(
        self,
        peppers: Sequence[SecretStr],
        *,
        memory_kib: int = MIN_PASSWORD_MEMORY_KIB,
        cores: int | None = None,
        waiting_per_core: int = MAX_QUEUED_PER_CORE,
    ) -> None:
        cores = cores or os.cpu_count() or 1
        self._memory_kib = memory_kib
        self._parameters = f"$argon2id$v=19$m={memory_kib},t={ITERATIONS},p={LANES}$"
        self._pepper_id = pepper_id(peppers[0])
        self._peppers = {pepper_id(one): one.get_secret_value().encode() for one in peppers}
        # No more threads than cores, and hashing frees the interpreter: sign-ins starve nothing else.
        self._threads = ThreadPoolExecutor(cores, thread_name_prefix="passwords")
        self._most_unfinished = waiting_per_core * cores
        self._unfinished = 0
        self._dummy_hash = self._hash(secrets.token_urlsafe())

    async def hash(self, password: str) -> str:
        """Hash a password for keeping; raises TooManySignIns."""
        return await self._in_thread(lambda: self._hash(password))

    async def verify(self, password: str, stored_hash: str | None) -> bool:
        """Verify a password; a missing hash (None) takes the same time. Raises TooManySignIns."""
        matches = await self._in_thread(lambda: self._verify(password, stored_hash or self._dummy_hash))
        return matches and stored_hash is not None

    def is_outdated(self, stored_hash: str) -> bool:
        """Return whether a kept hash has another pepper or other parameters than a new one would have."""
        return not stored_hash.startswith(f"{self._pepper_id}:{self._parameters}")

    def _hash(self, password: str) -> str:
        derivation = Argon2id(
            salt=os.urandom(SALT_BYTES),
            length=HASH_BYTES,
            iterations=ITERATIONS,
            lanes=LANES,
            memory_cost=self._memory_kib,
            secret=self._peppers[self._pepper_id],
        )
        return f"{self._pepper_id}:{derivation.derive_phc_encoded(normalize(password))}"

    def _verify(self, password: str, stored_hash: str) -> bool:
        known_by, _, phc = stored_hash.partition(":")
        # A pepper that is gone leaves nothing to compare with; the time is still spent.
        pepper = self._peppers.get(known_by, secrets.token_bytes(32))
        try:
            Argon2id.verify_phc_encoded(normalize(password), phc, secret=pepper)
        except InvalidKey:
            return False
        return True

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._unfinished >= self._most_unfinished:
            raise TooManySignIns
        self._unfinished += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._unfinished -= 1


def pepper_id(pepper: SecretStr) -> str:
    """Return the id of a pepper."""
    return keyed_hash(pepper, "pepper id").hex()[:8]


def normalize(password: str) -> bytes:
    """Normalize a password (NFC; NIST SP 800-63B-4, 3.1.1.2)."""
    return unicodedata.normalize("NFC", password).encode()
