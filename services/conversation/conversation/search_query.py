"""Rewrite what a person searches for so that it matches how the words of messages are stored."""

import re
import unicodedata

# Chinese, Japanese, Korean, Thai, Lao, Burmese and Khmer: words without spaces or with particles attached.
# Each two neighbouring letters are stored as a word, by a function of the migrations with the same letters.
LETTERS = (
    r"\u3005-\u3007\u3041-\u309F\u30A1-\u30FA\u30FC-\u30FF\u31F0-\u31FF\u3400-\u4DBF\u4E00-\u9FFF\uAC00-\uD7AF"
    r"\uF900-\uFAFF\U00020000-\U0003FFFD\u0E01-\u0E3A\u0E40-\u0E4E\u0E81-\u0ECD\u1000-\u103F\u1780-\u17D3"
)
UNSPACED = re.compile(f"[{LETTERS}]+")
INNER_LETTER = re.compile(f"(?<=[{LETTERS}])([{LETTERS}])(?=[{LETTERS}])")
PAIR = re.compile(f"([{LETTERS}]{{1,2}})")


def normalize(query: str) -> str:
    """Return a query in the form in which messages are searched."""
    return unicodedata.normalize("NFKC", query)


def first_unspaced(query: str) -> str | None:
    """Return the first letters of a normalized query whose script has no spaces."""
    match = UNSPACED.search(query)
    return match[0] if match else None


def rewrite(query: str) -> str:
    """Return a normalized query in which letters without spaces are phrases of neighbouring pairs."""
    parts = query.split('"')
    return '"'.join(split(part) if index % 2 else rewrite_words(part) for index, part in enumerate(parts))


def split(text: str) -> str:
    """Return a text in which each two neighbours of a script without spaces are a word."""
    return PAIR.sub(r" \1 ", INNER_LETTER.sub(r"\1\1", text))


def rewrite_words(text: str) -> str:
    """Return the part of a query that is outside quotes."""
    return " ".join(rewrite_word(word) if UNSPACED.search(word) else word for word in text.split(" "))


def rewrite_word(word: str) -> str:
    """Return a word that has letters of a script without spaces; one with a minus stays one phrase."""
    if word.startswith("-"):
        return f'-"{split(word[1:])}"'
    return UNSPACED.sub(lambda letters: f' "{split(letters[0])}" ', word)
