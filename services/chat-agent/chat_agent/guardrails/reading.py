"""A text as it reads: without invisible characters, and with plain ones in place of their lookalikes.

Patterns search it, so that none of these keeps them from finding what a person or a model would read.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import regex

# Zero-width characters, soft hyphens, variation selectors, tags (UAX 44).
INVISIBLE = regex.compile(r"\p{Default_Ignorable_Code_Point}++")
LAST_VISIBLE = regex.compile(r"(?r)\P{Default_Ignorable_Code_Point}")
# Letters of Cyrillic and Greek that look like Latin ones in both cases; those that do in one are left alone,
# or words of a list would not be found in any case.
LOOKALIKES = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u0410\u0415\u041e\u0420\u0421\u0423\u0425"
    "\u0406\u0408\u0405\u03bf\u03b1\u03c1\u03b9\u03ba\u03c7\u03b5\u039f\u0391\u03a1\u0399\u039a\u03a7\u0395",
    "aeopcyxijsAEOPCYXIJSoapikxeOAPIKXE",
)


class PlainCharacters(dict[int, int]):
    """By a character, the one that stands for it; computed when it first occurs."""

    def __missing__(self, code: int) -> int:
        character = chr(code)
        digit = unicodedata.decimal(character, None)
        plain = str(digit) if digit is not None else unicodedata.normalize("NFKC", character)
        self[code] = ord(plain) if len(plain) == 1 and plain.isascii() else code
        return self[code]


PLAIN = PlainCharacters(LOOKALIKES)


@dataclass(frozen=True)
class Reading:
    """A text as it reads, and where its characters are in the text itself."""

    text: str
    # Of each character and of the end; none where they are the same.
    places: Sequence[int] | None = None

    @classmethod
    def of(cls, text: str) -> Self:
        """Return that of a text."""
        if text.isascii():
            return cls(text)
        visible = INVISIBLE.sub("", text)
        if len(visible) == len(text):
            return cls(text.translate(PLAIN))
        places: list[int] = []
        start = 0
        for match in INVISIBLE.finditer(text):
            places += range(start, match.start())
            start = match.end()
        return cls(visible.translate(PLAIN), [*places, *range(start, len(text) + 1)])

    def start(self, index: int) -> int:
        """Return where a part begins in the text itself."""
        return index if self.places is None else self.places[index]

    def end(self, index: int) -> int:
        """Return where a part ends in the text itself."""
        return index if self.places is None or not index else self.places[index - 1] + 1


def last_visible(text: str) -> str:
    """Return the last character that can be seen, if there is one."""
    match = LAST_VISIBLE.search(text)
    return match[0] if match else ""
