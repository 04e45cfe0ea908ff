"""Whatever happens to keys, in whatever order: no good token is refused, and none of a revoked key is taken.

Time is the machine's own, and every replica and every verifier is a little ahead of it or behind. Hypothesis
looks for an order of events that refuses somebody, or lets somebody in.
"""

import asyncio
import contextlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import httpx
import stamina
from auth.configuration.signing import Overlap
from auth.errors import SigningKeysUnavailable
from auth.signing.access_tokens import AccessTokens
from auth.signing.key_file import KeyFile
from auth.signing.key_ring import KeyCreationFailed, NoActiveKey, RotationPending
from auth.signing.signing_keys import KeyFactory, SigningKeys
from auth.signing.vault import PAUSE_SECONDS, SIGNING, Vault, VaultUnavailable
from auth.signing.vault_keys import TransitKeys
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from servicekit.auth.tokens import InvalidToken, TokenVerifier, VerificationKey
from servicekit.http.client import HttpPool
from servicekit.jwks.fetch import parse

from .vault_fixtures import SIGNING_KEY

ISSUER, AUDIENCE = "http://acme.test", "conversation"
LIFE, LEEWAY = 600, 30
# As short as the settings allow: `too_short_overlap` in auth/configuration/signing.py.
MAX_AGE = 300
OVERLAP = Overlap(publish_lead=timedelta(seconds=MAX_AGE * 1.1 + 60), retire_lag=timedelta(seconds=LIFE + 60))
# How far their clocks are off, in seconds.
REPLICAS, VERIFIERS = (-10, 0, 10), (10, 0, -10)
# Vault has all the time that a busy machine needs: what fails here was made to fail.
PATIENT = replace(SIGNING, attempt=60, total=60, queue=60)
SIGNERS = st.sampled_from(["file", "vault"])


@dataclass
class Token:
    text: str
    kid: str
    expires: float


@dataclass
class Cache:
    """A verifier's keys. The patient one never asks before the key set's time is over, whatever it meets."""

    fetch: Callable[[], object]
    is_patient: bool
    keys: dict[str, VerificationKey] = field(default_factory=dict)
    asked: float = 0
    burnt: set[str] = field(default_factory=set)

    async def get(self, kid: str) -> VerificationKey:
        if kid not in self.keys and not self.is_patient:
            await self.refresh()
        if kid not in self.keys or kid in self.burnt:
            raise InvalidToken("unknown_key")
        return self.keys[kid]

    async def refresh(self) -> None:
        self.asked, body = await self.fetch()
        # A key set without any key is believed by nobody.
        self.keys = parse(body, 32) if b"kid" in body else self.keys


class KeysInUse(RuleBasedStateMachine):
    """Replicas of auth, operators, and the services that check tokens."""

    # A Vault's address, and its control; without one all keys are in the file.
    vault: tuple[str, httpx.Client] | None = None

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.now = 1_800_000_000.0
        self.tokens: list[Token] = []
        self.sealed_until = 0.0
        # When each key was taken away, and when each began to sign without having been published before.
        self.revoked: dict[str, float] = {}
        self.hurried: dict[str, float] = {}
        self.http = HttpPool()
        address = self.vault[0] if self.vault else None
        self.signing = Vault(self.http, address, lambda: "hvs.root", clock=lambda: self.now, timeouts=PATIENT)

    @initialize(signer=SIGNERS)
    def begin(self, signer: str) -> None:
        self.replicas = [self.replica(signer, skew) for skew in REPLICAS]
        self.caches = [Cache(self.fetch, is_patient=number % 2 == 0) for number in range(len(VERIFIERS))]
        self.run(asyncio.gather, *(replica.keys.start() for replica in self.replicas))
        self.run(self.keep_up)

    def teardown(self) -> None:
        if self.vault:
            self.seal(False)
        self.run(self.http.aclose)
        self.runner.close()
        self.folder.cleanup()

    def run(self, work, *given):
        async def done():
            return await work(*given)

        return self.runner.run(done())

    def keys(self, signer: str, skew: float = 0) -> SigningKeys:
        making = KeyFactory()
        if signer == "vault" and self.vault:
            transit = TransitKeys(self.vault[0], lambda: "hvs.root", SIGNING_KEY)
            making = KeyFactory(transit.create_version, transit.create_version)
        path = Path(self.folder.name) / "keys.json"
        return SigningKeys(
            KeyFile(path), OVERLAP, lambda: self.now + skew, making=making, ticks=lambda: self.now + skew
        )

    def replica(self, signer: str, skew: float) -> AccessTokens:
        keys, life = self.keys(signer, skew), timedelta(seconds=LIFE)
        return AccessTokens(keys, self.signing, ISSUER, "acme-api", life, lambda: self.now + skew)

    async def fetch(self) -> tuple[float, bytes]:
        return self.now, await self.replicas[int(self.now) % len(REPLICAS)].keys.key_set()

    async def keep_up(self) -> None:
        for cache in self.caches:
            if self.now - cache.asked >= MAX_AGE:
                await cache.refresh()

    async def issue(self, replica: AccessTokens, *, is_alone: bool = True) -> None:
        before = await replica.keys.read()
        try:
            issued = await replica.for_service("chat-agent", AUDIENCE, ["conversations:read"])
        except VaultUnavailable:
            # After a pause one asks, and the others when that went well.
            rests = self.now <= self.sealed_until + PAUSE_SECONDS or not is_alone
            assert self.sealed_until, "Vault has never failed, and nobody is let in"
            assert rests, "Vault answers again, and nobody is let in"
        except SigningKeysUnavailable:
            assert not before.keys, "there are keys, and nobody is let in"
        else:
            self.tokens.append(Token(issued.token, issued.kid, issued.expires_at.timestamp()))

    async def rotated(self, signer: str) -> None:
        keys = self.keys(signer)
        is_first = not (await keys.read()).keys
        with contextlib.suppress(RotationPending, KeyCreationFailed):
            new = await keys.rotate()
            if is_first:
                self.hurried[new.kid] = self.now

    @rule(replica=st.sampled_from(range(len(REPLICAS))))
    def sign_in(self, replica: int) -> None:
        self.run(self.issue, self.replicas[replica])

    @rule(signer=SIGNERS)
    def rotate_while_many_sign_in(self, signer: str) -> None:
        many = (self.issue(replica, is_alone=False) for replica in self.replicas for _ in range(2))
        self.run(asyncio.gather, self.rotated(signer), *many)

    @rule(signer=SIGNERS)
    def rotate(self, signer: str) -> None:
        self.run(self.rotated, signer)

    @rule(seconds=st.integers(1, MAX_AGE) | st.sampled_from([390, LIFE - 1, LIFE, 1050, 3600]))
    def let_time_pass(self, seconds: int) -> None:
        self.run(self.keep_up_for, seconds)

    async def keep_up_for(self, seconds: int) -> None:
        until = self.now + seconds
        while self.now < until:
            self.now = min(until, self.now + 30)
            await self.keep_up()

    @rule(which=st.integers(0, 5), signer=SIGNERS, is_heard=st.booleans())
    def revoke(self, which: int, signer: str, is_heard: bool) -> None:
        keys = self.keys(signer)
        if not (ring := self.run(keys.read)).keys:
            return
        kid = ring.keys[which % len(ring.keys)].kid
        with contextlib.suppress(KeyCreationFailed):
            self.run(keys.revoke, kid)
        self.revoked[kid] = self.now
        with contextlib.suppress(NoActiveKey):
            self.hurried[self.run(keys.read).active(self.now).kid] = self.now
        # All replicas know of it within a second, and so does who hears the alarm.
        self.now += 1
        for cache in self.caches if is_heard else []:
            cache.burnt.add(kid)
            self.run(cache.refresh)

    @rule(replica=st.sampled_from(range(len(REPLICAS))), signer=SIGNERS)
    def restart(self, replica: int, signer: str) -> None:
        self.replicas[replica] = self.replica(signer, REPLICAS[replica])
        self.run(self.replicas[replica].keys.start)

    @precondition(lambda self: self.vault)
    @rule()
    def let_vault_be_sealed_for_a_while(self) -> None:
        self.seal(True)
        for replica in self.replicas:
            self.run(self.issue, replica)
        self.run(self.rotated, "vault")
        self.seal(False)

    def seal(self, sealed: bool) -> None:
        self.sealed_until = self.now
        self.vault[1].post("/_sandbox/state", json={"sealed": sealed})

    @invariant()
    def every_verifier_is_right_about_every_token(self) -> None:
        self.tokens = [token for token in self.tokens if token.expires + 2 * LEEWAY > self.now]
        self.run(self.judge)
        # Whatever happens to a key happens to the first and to the last of its tokens, too.
        by_expiry = sorted(self.tokens, key=lambda token: token.expires)
        ends = [{token.kid: token for token in tokens} for tokens in (by_expiry, reversed(by_expiry))]
        self.tokens = list({token.text: token for end in ends for token in end.values()}.values())

    async def judge(self) -> None:
        for cache, skew in zip(getattr(self, "caches", []), VERIFIERS, strict=False):
            for token in self.tokens:
                await self.check(token, cache, self.now + skew)

    async def check(self, token: Token, cache: Cache, now: float) -> None:
        judge = TokenVerifier(cache, issuer=ISSUER, audiences={AUDIENCE}, leeway=LEEWAY, clock=lambda: now)
        try:
            await judge.verify(token.text)
            refusal = None
        except InvalidToken as error:
            refusal = error.reason
        if token.kid in self.revoked:
            knows = token.kid in cache.burnt or self.now - self.revoked[token.kid] > MAX_AGE
            assert refusal or not knows, "a token of a revoked key was taken"
        elif now < token.expires and not self.may_be_new_to(cache, token.kid):
            assert refusal is None, f"a good token was refused: {refusal}"
        elif now > token.expires + LEEWAY:
            assert refusal, "a token outlived its time"

    def may_be_new_to(self, cache: Cache, kid: str) -> bool:
        """Return whether a patient verifier does not know the key that had to sign at once."""
        hurried = self.hurried.get(kid)
        return cache.is_patient and hurried is not None and cache.asked <= hurried


def explore(machine: type[KeysInUse], examples: int) -> None:
    stamina.set_testing(True, attempts=1)
    try:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=40,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        stamina.set_testing(False)


def test_refuses_no_good_token_and_takes_none_of_a_revoked_key_with_keys_in_a_file():
    explore(KeysInUse, examples=60)


def test_refuses_no_good_token_and_takes_none_of_a_revoked_key_with_keys_in_vault(signing_vault):
    class KeysInVault(KeysInUse):
        vault = (str(signing_vault.root.base_url), signing_vault.root)

    explore(KeysInVault, examples=20)
