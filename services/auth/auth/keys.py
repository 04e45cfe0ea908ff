"""The operator's command for signing keys: `python -m auth.keys list|rotate|revoke`."""

import argparse
import sys
import time
from datetime import UTC, datetime

from auth.key_ring import KeyUnknown, RotationPending
from auth.settings import Settings
from auth.signing_keys import SigningKeys


def main(arguments: list[str] | None = None) -> int:
    """Run one command; gives the exit code."""
    chosen = parser().parse_args(arguments)
    settings = Settings()
    keys = SigningKeys(settings.auth_key_storage_path, settings.overlap)
    try:
        if chosen.command == "rotate":
            keys.rotate(at_once=chosen.at_once)
        elif chosen.command == "revoke":
            keys.revoke(chosen.kid)
    except RotationPending:
        return failed("A new key is already published and will sign from the time that `list` shows.")
    except KeyUnknown:
        return failed("There is no key with this id; `list` shows those that there are.")
    sys.stdout.write(table(keys, settings))
    return 0


def parser() -> argparse.ArgumentParser:
    """Say what the command takes."""
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
    revoke = commands.add_parser(
        "revoke", help="a key has leaked: refuse all it signed, sign with another at once"
    )
    revoke.add_argument("kid")
    return top


def table(keys: SigningKeys, settings: Settings) -> str:
    """Lay the keys out, one a line; nothing private."""
    states = keys.read().states(time.time(), settings.overlap)
    return "".join(
        f"{key.kid}  {state.value:<8}  signs from {datetime.fromtimestamp(key.active_from, UTC):%FT%TZ}\n"
        for key, state in states.items()
    )


def failed(message: str) -> int:
    """Say why nothing was done."""
    sys.stderr.write(f"{message}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
