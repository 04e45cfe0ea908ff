"""The secrets of a stack: made once, kept in one file that only its owner can read."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from secrets import token_urlsafe

from sandbox.data_dirs import write_private

from starter_cli.errors import Failure

SECRET_BYTES = 32


def load_or_create(file: Path, names: Iterable[str]) -> Mapping[str, str]:
    """Return the secrets of these names from the file, creating those that it does not have yet."""
    secrets = read(file)
    missing = {name: token_urlsafe(SECRET_BYTES) for name in names if name not in secrets}
    if missing:
        secrets = {**secrets, **missing}
        write_private(file, json.dumps(secrets, indent=2) + "\n")
    return secrets


def read(file: Path) -> dict[str, str]:
    """Return the content of a secrets file, nothing when there is none; raises Failure when it is damaged."""
    try:
        secrets: dict[str, str] = json.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise Failure(
            "secrets", f"{file} is damaged; restore it, or remove the whole folder around it"
        ) from error
    return secrets
