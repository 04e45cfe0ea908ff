"""The operator's command for signing keys: `python -m auth.keys list|rotate|revoke`."""

import argparse
import asyncio
import sys
import time
from contextlib import aclosing
from datetime import UTC, datetime

from redis.exceptions import RedisError
from servicekit import redis_client
from servicekit.jwks import invalidation

from auth.settings import Settings
from auth.signing.key_ring import KeyNotFound, KeyRing, RotationPending
from auth.signing.signing_keys import SigningKeys
from auth.signing.vault_keys import KeyCreationFailed


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    chosen = parser().parse_args(arguments)
    return asyncio.run(run(chosen, Settings.load()))


async def run(chosen: argparse.Namespace, settings: Settings) -> int:
    """Do what was chosen, and show all keys; returns the exit code."""
    async with aclosing(SigningKeys.from_settings(settings)) as keys:
        try:
            if chosen.command == "rotate":
                await keys.rotate(at_once=chosen.at_once)
            elif chosen.command == "revoke":
                await keys.revoke(chosen.kid)
        except RotationPending:
            return failed("A new key is already published and will sign from the time that `list` shows.")
        except KeyNotFound:
            return failed("There is no key with this id; `list` shows those that there are.")
        except KeyCreationFailed as reason:
            return await unmade(settings, burnt_by(chosen), reason)
        sys.stdout.write(table(await keys.read(), settings))
    # A new key that signs at once is news as well; one that signs tomorrow is found out in time.
    is_news = chosen.command == "revoke" or getattr(chosen, "at_once", False)
    return await tell(settings, burnt_by(chosen)) if is_news else 0


def burnt_by(chosen: argparse.Namespace) -> list[str]:
    """List the keys that a command takes away."""
    return [chosen.kid] if chosen.command == "revoke" else []


async def unmade(settings: Settings, burnt: list[str], reason: KeyCreationFailed) -> int:
    """Say that there is no new key, and what that means; returns the exit code."""
    if not burnt:
        return failed(str(reason))
    await tell(settings, burnt)
    return failed(f"The key is gone, but no other signs in its place: {reason} Mend that, then `rotate`.")


async def tell(settings: Settings, burnt: list[str]) -> int:
    """Have every service ask for the keys now; returns the exit code."""
    try:
        await sound_alarm(settings, burnt)
    except (RedisError, OSError):
        minutes = settings.auth_jwks_max_age_seconds // 60 + 1
        return failed(f"It is done, but Redis does not answer: services find out within {minutes} minutes.")
    return 0


async def sound_alarm(settings: Settings, burnt: list[str]) -> None:
    """Tell all services over Redis."""
    async with redis_client.connect(settings) as redis:
        await invalidation.publish_key_revocation(redis, burnt)


def parser() -> argparse.ArgumentParser:
    """Return what the command takes."""
    top = argparse.ArgumentParser(
        prog="python -m auth.keys", description="The keys that access tokens are signed with."
    )
    commands = top.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="show all keys, and where each is in its life")
    rotate = commands.add_parser(
        "rotate", help="publish a new key; it signs after AUTH_KEY_PUBLISH_LEAD_MINUTES"
    )
    rotate.add_argument(
        "--at-once",
        action="store_true",
        help="let it sign now, before every cache can have it (tokens may be refused)",
    )
    # One id in 64 begins with a hyphen, and is no option.
    revoke = commands.add_parser(
        "revoke",
        help="a key has leaked: refuse all it signed everywhere, sign with another at once",
        prefix_chars="+",
        add_help=False,
    )
    revoke.add_argument("kid")
    return top


def table(ring: KeyRing, settings: Settings) -> str:
    """Lay the keys out, one a line; nothing private."""
    states = ring.states(time.time(), settings.overlap)
    return "".join(
        f"{key.kid}  {state.value:<8}  signs from {datetime.fromtimestamp(key.active_from, UTC):%FT%TZ}"
        f"  {key.location}\n"
        for key, state in states.items()
    )


def failed(message: str) -> int:
    """Say why nothing was done."""
    sys.stderr.write(f"{message}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
