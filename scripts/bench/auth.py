"""Compare what auth does with its bare parts: token checks, sign-ins, refreshes; and who waits for whom."""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from statistics import quantiles

import httpx
import jwt
import uvloop
from auth.configuration.sign_in import MIN_PASSWORD_MEMORY_KIB
from auth.configuration.signing import Overlap
from auth.security.passwords import ITERATIONS, LANES, SALT_BYTES
from auth.signing.access_tokens import AccessTokens
from auth.signing.key_file import KeyFile
from auth.signing.signing_keys import KeyFactory, SigningKeys
from auth.signing.vault import SIGNING, Vault
from auth.signing.vault_keys import TransitKeys
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from servicekit.auth.tokens import TokenVerifier
from servicekit.http.client import HttpPool
from servicekit.jwks.cache import JwksCache
from starter_cli.stack import Stack
from testkit.issuer import Issuer

CHECKS, ROUNDS = 2_000, 5
# Of one account; a fifth at the same time would be taken for a guess (AUTH_LOCKOUT_THRESHOLD).
CONCURRENCY = 4
MANY = 1_000_000
LIMITS = {
    "auth": {
        "AUTH_LIMITS": '{"reads_per_person": 1000000, "writes_per_person": 1000000}',
        "AUTH_RATE_LIMITS": json.dumps(
            dict.fromkeys(("ip:token", "subject:token", "ip:refresh", "subject:refresh"), MANY)
        ),
    }
}


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sign-ins", type=int, default=200, help="how many, at most 4 at once")
    sign_ins = parser.parse_args().sign_ins
    uvloop.run(token_checks())
    with tempfile.TemporaryDirectory(prefix="acme-bench-") as folder:
        # As root, Postgres is somebody else, who has to pass through.
        Path(folder).chmod(0o711)
        with Stack(Path(folder, "acme"), settings=LIMITS) as stack:
            uvloop.run(token_signing(f"{stack.sandbox_url}/vault"))
            uvloop.run(measure_service(stack, sign_ins))


def print_comparison(what: str, ours: float, bare: float, unit: str) -> None:
    """Print one comparison."""
    sys.stdout.write(f"{what:34} {ours:10.1f} {unit}   bare {bare:10.1f} {unit}   {ours / bare:5.2f} x\n")


async def token_checks() -> None:
    """Check one token again and again: as every service does, and with PyJWT alone; by CPU time."""
    with Issuer() as issuer:
        token, public = issuer.token(), issuer.key.private.public_key()
        keys = JwksCache(issuer.jwks_url)
        verifier = TokenVerifier(keys, issuer=issuer.issuer, audiences={issuer.audience})

        async def ours() -> None:
            await verifier.verify(token)

        async def bare() -> None:
            jwt.decode(token, public, algorithms=["EdDSA"], audience=issuer.audience, issuer=issuer.issuer)

        print_comparison(
            "token checks (bare: PyJWT)", await per_second(ours), await per_second(bare), "/s of CPU"
        )
        await keys.aclose()


async def token_signing(vault_url: str) -> None:
    """Issue tokens with a key in Vault, and with one in a file, as many at once as auth does.

    The stand-in for Vault is a Python process of its own: what counts is what auth spends and waits for.
    """
    transit = TransitKeys(vault_url, lambda: "hvs.bench", "bench-access-tokens")
    with tempfile.TemporaryDirectory() as folder:
        async with aclosing(HttpPool()) as http:
            vault = Vault(http, vault_url, lambda: "hvs.bench", timeouts=SIGNING)
            in_vault = await issuer(
                Path(folder, "vault"), vault, KeyFactory(transit.create_version, transit.create_version)
            )
            in_file = await issuer(Path(folder, "file"), vault, KeyFactory())
            print_comparison(
                "tokens signed by Vault (bare: file)",
                await best_throughput(in_vault),
                await best_throughput(in_file),
                "/s",
            )
            print_comparison(
                "time for one, alone (bare: file)",
                await single_latency(in_vault),
                await single_latency(in_file),
                "ms",
            )


async def issuer(path: Path, vault: Vault, making: KeyFactory) -> AccessTokens:
    """Make what issues tokens, with a key of its own."""
    day = timedelta(days=1)
    keys = SigningKeys(KeyFile(path), Overlap(day, day), making=making)
    await keys.start()
    return AccessTokens(keys, vault, "http://bench.test", "acme-api", timedelta(minutes=10))


async def issue(tokens: AccessTokens) -> None:
    """Issue one token."""
    await tokens.for_service("chat-agent", "conversation", ["conversations:read"])


async def best_throughput(tokens: AccessTokens) -> float:
    """Return how many are issued in a second: the best of some rounds."""
    return max([await throughput(lambda: issue(tokens), CHECKS // 2) for _ in range(ROUNDS)])


async def single_latency(tokens: AccessTokens) -> float:
    """Return the milliseconds that one takes when nobody else asks."""
    return 1000 / max(
        [await throughput(lambda: issue(tokens), CHECKS // 10, at_most=1) for _ in range(ROUNDS)]
    )


async def per_second(work: Callable[[], Awaitable[None]]) -> float:
    """Return how often a second of CPU time does it: the best of some rounds."""
    best = 0.0
    for _ in range(ROUNDS):
        started = time.process_time()
        for _ in range(CHECKS):
            await work()
        best = max(best, CHECKS / (time.process_time() - started))
    return best


async def measure_service(stack: Stack, sign_ins: int) -> None:
    """Sign in, refresh and fetch keys, through the gateway."""
    limits = httpx.Limits(max_connections=CONCURRENCY * 2)
    async with httpx.AsyncClient(
        base_url=stack.gateway_url, limits=limits, timeout=30, trust_env=False
    ) as http:
        owner = {"email": stack.owner.email, "password": stack.owner.password}
        tokens: list[str] = []

        async def sign_in() -> None:
            answer = (await http.post("/api/v1/auth/token", json=owner)).raise_for_status()
            tokens.append(answer.json()["refresh_token"])

        async def refresh() -> None:
            body = {"refresh_token": tokens.pop()}
            answer = (await http.post("/api/v1/auth/refresh", json=body)).raise_for_status()
            tokens.append(answer.json()["refresh_token"])

        async def fetch_keys() -> None:
            (await http.get("/.well-known/jwks.json")).raise_for_status()

        await run_concurrently(sign_in, CONCURRENCY)
        hashes = await asyncio.to_thread(bare_hash_rate, sign_ins)
        print_comparison("sign-ins (bare: Argon2id)", await throughput(sign_in, sign_ins), hashes, "/s")
        refreshes, keys = await throughput(refresh, sign_ins), await throughput(fetch_keys, sign_ins)
        print_comparison("refreshes (bare: GET of the keys)", refreshes, keys, "/s")
        idle = await latency_p99(fetch_keys, sign_ins)
        busy = asyncio.create_task(run_concurrently(sign_in, sign_ins))
        loaded = await latency_p99(fetch_keys, sign_ins, until=busy)
        await busy
        print_comparison("slowest keys (p99) while signing in", loaded, idle, "ms")


def bare_hash_rate(number: int) -> float:
    """Hash with nothing around it, on as many threads as there are cores; gives how many a second."""
    started = time.monotonic()
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(lambda _: hash_password(), range(number)))
    return number / (time.monotonic() - started)


def hash_password() -> bytes:
    """Hash a password as auth does."""
    salt = os.urandom(SALT_BYTES)
    derivation = Argon2id(
        salt=salt,
        length=32,
        iterations=ITERATIONS,
        lanes=LANES,
        memory_cost=MIN_PASSWORD_MEMORY_KIB,
        secret=b"a pepper",
    )
    return derivation.derive(b"four unrelated words here")


async def throughput(
    work: Callable[[], Awaitable[None]], number: int, *, at_most: int = CONCURRENCY
) -> float:
    """Return how many are done in a second."""
    started = time.monotonic()
    await run_concurrently(work, number, at_most=at_most)
    return number / (time.monotonic() - started)


async def run_concurrently(
    work: Callable[[], Awaitable[None]], number: int, *, at_most: int = CONCURRENCY
) -> None:
    """Do it so many times, at most so many at once."""
    free = asyncio.Semaphore(at_most)

    async def one() -> None:
        async with free:
            await work()

    await asyncio.gather(*(one() for _ in range(number)))


async def latency_p99(
    work: Callable[[], Awaitable[None]], number: int, until: asyncio.Task[None] | None = None
) -> float:
    """Do it one after the other, and give the 99th percentile in milliseconds."""
    durations: list[float] = []
    while len(durations) < number or (until is not None and not until.done()):
        started = time.monotonic()
        await work()
        durations.append(time.monotonic() - started)
        await asyncio.sleep(0.002)
    return percentile_99(durations) * 1000


def percentile_99(took: Sequence[float]) -> float:
    """Return the 99th."""
    return quantiles(took, n=100)[-1]


if __name__ == "__main__":
    main()
