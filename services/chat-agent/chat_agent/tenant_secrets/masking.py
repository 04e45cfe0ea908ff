"""Masks secrets in what a server answers, in the forms in which servers repeat what they were sent."""

import base64
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

MASK = "[masked]"
# Of a form, in characters: where these stand, it is the secret. A pattern of all would take long to compile,
# and in a text like a secret that repeats itself, long to match.
HEAD = 32
# In characters: a head has at most so many, each of them escaped.
MAX_HEAD = 12 * HEAD
MAX_REMEMBERED = 4096
# An expression for each character.
Form = Sequence[str]


class Mask:
    """Replaces secrets."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = [form for secret in secrets if secret for form in forms_of(secret)]
        # By what they begin with, the longest first: a secret may be part of another.
        self._forms: dict[str, list[Form]] = {}
        for form in sorted(forms, key=len, reverse=True):
            self._forms.setdefault("".join(form[:HEAD]), []).append(form)
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
            position = max(end_of(form[HEAD:], text, match.end()) for form in forms)
        return "".join([*parts, text[position:]])

    def limited(self, text: str, size: int) -> str:
        """Return the first characters of a text without the secrets; what comes after them is not read."""
        masked = self(text[: size + MAX_HEAD])[:size]
        more = len(text) - size
        return f"{masked} [cut: {more} more characters]" if more > 0 else masked


def end_of(form: Form, text: str, position: int) -> int:
    """Return how far a text has the characters of a form."""
    for expression in form:
        match = compiled(expression).match(text, position)
        if match is None:
            break
        position = match.end()
    return position


@lru_cache(MAX_REMEMBERED)
def compiled(expression: str) -> re.Pattern[str]:
    """Return the pattern of one character."""
    return re.compile(expression)


def forms_of(secret: str) -> list[Form]:
    """Return the forms of a secret: its characters, plain or escaped, and its base64."""
    # The second: what a server makes of a header that it reads as Latin-1.
    readings = dict.fromkeys((secret, secret.encode().decode("latin-1")))
    plain = [[*map(forms_of_character, reading)] for reading in readings]
    return [*plain, *([*map(re.escape, form)] for form in base64_forms(secret.encode()))]


@lru_cache(MAX_REMEMBERED)
def forms_of_character(character: str) -> str:
    """Return an expression of a character as it is, in a URL, in JSON, and in HTML."""
    encoded = character.encode()
    in_url = "".join(f"%{any_case(f'{byte:02x}')}" for byte in encoded)
    forms = [re.escape(character), in_url]
    units = character.encode("utf-16-be").hex()
    forms.append("".join(rf"\\u{any_case(units[at : at + 4])}" for at in range(0, len(units), 4)))
    if character in '"\\/\t':
        forms.append(re.escape("\\" + {"\t": "t"}.get(character, character)))
    if character == " ":
        forms.append(r"\+")
    if character in HTML:
        forms.append(HTML[character])
    return f"(?:{'|'.join(forms)})"


HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "(?:&quot;|&#34;)", "'": "(?:&#39;|&#x27;|&apos;)"}


def any_case(digits: str) -> str:
    """Return an expression of hexadecimal digits in lower or upper case."""
    return "".join(f"[{one}{one.upper()}]" if one.isalpha() else one for one in digits)


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
