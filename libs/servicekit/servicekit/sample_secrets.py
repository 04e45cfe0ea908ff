"""Recognise the secrets that this repository shows in its sample files and tests: everybody knows them.

`sample_secrets.txt` holds their digests; `make samples` writes it.
"""

import hashlib
from base64 import b64decode
from collections.abc import Iterator
from importlib.resources import files
from urllib.parse import parse_qs, unquote, urlsplit

DIGESTS = frozenset(files(__package__).joinpath("sample_secrets.txt").read_text().split())
MIN_DECODED_BYTES = 8


def is_sample(secret: str) -> bool:
    """Return whether a secret is a sample, as it is or in base64."""
    return any(digest(form) in DIGESTS for form in forms(secret))


def digest(secret: bytes) -> str:
    """Return the digest of a secret, as in the list."""
    return hashlib.sha256(secret).hexdigest()


def forms(secret: str) -> Iterator[bytes]:
    """Yield a secret's bytes, and the bytes that it decodes to as base64 of either alphabet."""
    yield secret.encode()
    plain = secret.rstrip("=").replace("+", "-").replace("/", "_")
    try:
        decoded = b64decode(plain + "=" * (-len(plain) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return
    # Short words happen to be base64 of something, which is no secret.
    if len(decoded) >= MIN_DECODED_BYTES:
        yield decoded


def parts(secret: str) -> set[str]:
    """Return the secrets in a value: itself, each of several with commas, or the passwords of an address."""
    values = url_passwords(secret) if "://" in secret else {secret, *secret.split(",")}
    return {value.strip() for value in values} - {""}


def url_passwords(text: str) -> set[str]:
    """Return the passwords inside an address, decoded."""
    userinfo = text.partition("://")[2].rpartition("@")[0]
    try:
        query = parse_qs(urlsplit(text).query)
    except ValueError:
        query = {}
    return {
        unquote(userinfo.partition(":")[2]),
        *query.get("password", []),
        *query.get("sslpassword", []),
    }
