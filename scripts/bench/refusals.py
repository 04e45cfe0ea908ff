"""Compare how long refused sign-ins take for known and for unknown addresses, in pairs and under load."""

import argparse
import asyncio
import json
import math
import sys
import tempfile
import time
from bisect import bisect_left, bisect_right
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median, quantiles

import httpx
import uvloop
from starter_cli.stack import Stack

UNLIMITED_RATE = 1_000_000
PASSWORD, WRONG = "four unrelated words here", "words that are not the password"
UNLIMITED = {
    "AUTH_RATE_LIMITS": json.dumps(
        dict.fromkeys(("ip:register", "ip:token", "subject:token"), UNLIMITED_RATE)
    ),
    "AUTH_IP_LOCKOUT_THRESHOLD": str(UNLIMITED_RATE),
}


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=600, help="how many sign-ins of each kind")
    parser.add_argument("--load", type=int, default=4, help="how many others sign in all the time")
    parser.add_argument("--floor-ms", help="AUTH_ANSWER_FLOOR_MS; 0 shows the work alone")
    chosen = parser.parse_args()
    settings = {**UNLIMITED, "REQUIRE_EMAIL_VERIFICATION": "false"}
    if chosen.floor_ms is not None:
        settings["AUTH_ANSWER_FLOOR_MS"] = chosen.floor_ms
    with tempfile.TemporaryDirectory(prefix="acme-bench-") as folder:
        # As root, Postgres is somebody else, who has to pass through.
        Path(folder).chmod(0o711)
        with Stack(Path(folder, "acme"), settings={"auth": settings}) as stack:
            uvloop.run(measure(stack, chosen.pairs, chosen.load))


async def measure(stack: Stack, pairs: int, load: int) -> None:
    """Sign up, sign in wrongly, and print what the clock tells."""
    async with httpx.AsyncClient(base_url=stack.gateway_url, timeout=60, trust_env=False) as http:
        await at_once([partial(register, http, known(number)) for number in range(pairs)], 16)
        others = [asyncio.create_task(strangers(http, number)) for number in range(load)]
        taken = [await pair(http, number) for number in range(pairs)]
        for other in others:
            other.cancel()
    ours, nobodys = [one for one, _ in taken], [other for _, other in taken]
    for name, seconds in (("known", ours), ("unknown", nobodys)):
        sys.stdout.write(f"{name:8} {summary(seconds)}\n")
    auc, p = separation(ours, nobodys)
    sys.stdout.write(f"ROC AUC {auc:.3f} (0.5: nobody can tell)   Mann-Whitney p {p:.2f}   {pairs} pairs\n")


def known(number: int) -> str:
    """Return the address of an account."""
    return f"known.{number}@example.com"


async def register(http: httpx.AsyncClient, email: str) -> None:
    """Make an account."""
    body = {"email": email, "password": PASSWORD, "tenant_name": "Bench"}
    (await http.post("/api/v1/auth/register", json=body)).raise_for_status()


async def pair(http: httpx.AsyncClient, number: int) -> tuple[float, float]:
    """Return the seconds of a refusal for a known and for an unknown address; they take turns to be first."""
    emails = [known(number), f"unknown.{number}@example.com"]
    order = emails if number % 2 else emails[::-1]
    took = {email: await refused(http, email) for email in order}
    return took[emails[0]], took[emails[1]]


async def refused(http: httpx.AsyncClient, email: str) -> float:
    """Return the seconds that a refusal takes."""
    begun = time.monotonic()
    answer = await http.post("/api/v1/auth/token", json={"email": email, "password": WRONG})
    if answer.status_code != httpx.codes.UNAUTHORIZED:
        raise SystemExit(f"a sign-in with a wrong password was answered with {answer.status_code}")
    return time.monotonic() - begun


async def strangers(http: httpx.AsyncClient, number: int) -> None:
    """Sign in wrongly all the time, so that passwords are always being hashed."""
    for attempt in count():
        await refused(http, f"load.{number}.{attempt}@example.com")


async def at_once(work: Iterable[Callable[[], Awaitable[None]]], most: int) -> None:
    """Do all of it, at most so many at once."""
    free = asyncio.Semaphore(most)

    async def one(do: Callable[[], Awaitable[None]]) -> None:
        async with free:
            await do()

    await asyncio.gather(*(one(do) for do in work))


def summary(seconds: Sequence[float]) -> str:
    """Write the median and the tail, in milliseconds."""
    cuts = quantiles(seconds, n=100)
    return (
        f"median {1000 * median(seconds):7.1f} ms   p90 {1000 * cuts[89]:7.1f}   p99 {1000 * cuts[98]:7.1f}"
    )


def separation(ours: Sequence[float], nobodys: Sequence[float]) -> tuple[float, float]:
    """Return how well the clock tells one from the other (ROC AUC), and how likely that is by chance.

    The Mann-Whitney U test, with its normal approximation: ties do not occur in what a clock measures.
    """
    ordered = sorted(nobodys)
    above = [bisect_left(ordered, one) + bisect_right(ordered, one) for one in ours]
    auc = sum(above) / 2 / len(ours) / len(nobodys)
    deviation = math.sqrt((len(ours) + len(nobodys) + 1) / 12 / len(ours) / len(nobodys))
    return auc, math.erfc(abs(auc - 0.5) / deviation / math.sqrt(2))


if __name__ == "__main__":
    main()
