"""Masks secrets in what a server answers, in the forms in which servers repeat what they were sent."""

import base64
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import NamedTuple

MASK = "[masked]"
# Of a form, in characters: where these stand, it is the secret. A pattern of all would take long to compile,
# and in a text like a secret that repeats itself, long to match.
HEAD = 32
# In characters: a head has at most so many, each of them escaped.
MAX_HEAD = 12 * HEAD
MAX_REMEMBERED = 4096


class Form(NamedTuple):
    """A way in which a secret is written: its characters, and how each may be escaped, in lower case."""

    text: str
    escapes: Callable[[str], tuple[str, ...]]

    @property
    def head(self) -> str:
        """The expression of what it begins with."""
        return "".join(expression_of(character, self.escapes(character)) for character in self.text[:HEAD])


class Mask:
    """Replaces secrets."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = [form for secret in secrets if secret for form in forms_of(secret)]
        # By what they begin with, the longest first: a secret may be part of another.
        self._forms: dict[str, list[Form]] = {}
        for form in sorted(forms, key=lambda form: len(form.text), reverse=True):
            self._forms.setdefault(form.head, []).append(form)
        self._tails = [*self._forms.values()]
        self._pattern = re.compile("|".join(f"({head})" for head in self._forms)) if forms else None

    def __call__(self, text: str) -> str:
        """Return a text without the secrets."""
        if self._pattern is None:
            return text
        parts, position = list[str](), 0
        while match := self._pattern.search(text, position):
            parts += (text[position : match.start()], MASK)
            forms = self._tails[(match.lastindex or 1) - 1]
            position = max(end_of(form, text, match.end()) for form in forms)
        return "".join([*parts, text[position:]])

    def limited(self, text: str, size: int) -> str:
        """Return the first characters of a text without the secrets; what comes after them is not read."""
        masked = self(text[: size + MAX_HEAD])[:size]
        more = len(text) - size
        return f"{masked} [cut: {more} more characters]" if more > 0 else masked


def end_of(form: Form, text: str, position: int) -> int:
    """Return how far a text has the characters of a form after its head, which ends at a position."""
    # Without expressions: those of thousands of different characters take seconds to compile.
    for character in form.text[HEAD:]:
        length = spelling_length(character, form.escapes(character), text, position)
        if not length:
            break
        position += length
    return position


def spelling_length(character: str, escapes: Iterable[str], text: str, position: int) -> int:
    """Return how long a character is that stands at a position of a text, 0 where it does not."""
    if text.startswith(character, position):
        return 1
    found = (one for one in escapes if text[position : position + len(one)].lower() == one)
    return len(next(found, ""))


def forms_of(secret: str) -> list[Form]:
    """Return the forms of a secret: its characters, plain or escaped, and its base64."""
    # The second: what a server makes of a header that it reads as Latin-1.
    readings = dict.fromkeys((secret, secret.encode().decode("latin-1")))
    plain = [Form(reading, escapes_of) for reading in readings]
    return [*plain, *(Form(text, lambda _: ()) for text in base64_forms(secret.encode()))]


@lru_cache(MAX_REMEMBERED)
def escapes_of(character: str) -> tuple[str, ...]:
    """Return a character as it may be in a URL, in JSON, and in HTML, in lower case."""
    in_url = "".join(f"%{byte:02x}" for byte in character.encode())
    units = character.encode("utf-16-be").hex()
    in_json = "".join(rf"\u{units[at : at + 4]}" for at in range(0, len(units), 4))
    return (in_url, in_json, *SHORT_ESCAPES.get(character, ()))


SHORT_ESCAPES = {
    " ": ("+",),
    "\t": (r"\t",),
    "\\": (r"\\",),
    "/": (r"\/",),
    "&": ("&amp;",),
    "<": ("&lt;",),
    ">": ("&gt;",),
    '"': (r"\"", "&quot;", "&#34;"),
    "'": ("&#39;", "&#x27;", "&apos;"),
}


def expression_of(character: str, escapes: Iterable[str]) -> str:
    """Return an expression of a character, and of its escapes in any case."""
    return f"(?:{'|'.join((re.escape(character), *map(any_case, escapes)))})"


def any_case(text: str) -> str:
    """Return an expression of a text in lower or upper case."""
    return "".join(f"[{one}{one.upper()}]" if one.isalpha() else re.escape(one) for one in text)


def base64_forms(secret: bytes) -> set[str]:
    """Return what is the same in the base64 of all texts with a secret, by where in them it begins."""
    forms = set()
    for offset in range(3):
        # Characters that also encode what stands before or after are left out.
        encoded = base64.b64encode(bytes(offset) + secret)
        end = (offset + len(secret)) * 8 // 6
        whole = encoded[(offset * 8 + 5) // 6 : end].decode()
        if len(whole) >= 4:
            forms |= {whole, whole.replace("+", "-").replace("/", "_")}
    return forms
