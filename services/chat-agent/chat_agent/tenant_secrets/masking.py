"""Masks secrets in what a server answers, in the forms in which servers repeat what they were sent."""

import base64
import re
from collections.abc import Iterable

MASK = "[masked]"


class Mask:
    """Replaces secrets."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = [form for secret in secrets if secret for form in forms_of(secret)]
        # The longest first: a secret may be part of another.
        self._pattern = re.compile("|".join(sorted(forms, key=len, reverse=True))) if forms else None

    def __call__(self, text: str) -> str:
        """Return a text without the secrets."""
        return text if self._pattern is None else self._pattern.sub(MASK, text)


def forms_of(secret: str) -> list[str]:
    """Return expressions of a secret: its characters, plain or escaped, and its base64."""
    # The second: what a server makes of a header that it reads as Latin-1.
    readings = dict.fromkeys((secret, secret.encode().decode("latin-1")))
    plain = ["".join(map(forms_of_character, reading)) for reading in readings]
    return [*plain, *map(re.escape, base64_forms(secret.encode()))]


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
