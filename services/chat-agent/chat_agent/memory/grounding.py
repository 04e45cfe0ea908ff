"""Whether a note rests on what a person said: its words are theirs, and not those of a page or a tool."""

import re
from collections.abc import Iterator

# Scripts without spaces between words: each character counts as one.
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
WORDS = re.compile(f"[{UNSPACED}]|[^\\W{UNSPACED}]+")
# What a note may say beside: who it is about, and how its words hang together.
CONNECTING = """
a an and are as at be by called for from had has have he her his i in is it its like likes live lives me my
name named of on or person prefer prefers s she so that the their them they this to user users want wants was
were who with work works you your
"""
CONNECTING_WORDS = frozenset(CONNECTING.split())
# Of a message.
MAX_MESSAGE = 50_000


def is_grounded(text: str, message: str) -> bool:
    """Return whether a person said all words of a text that carry its meaning, and it has some."""
    words = [word for word in words_of(text) if word not in CONNECTING_WORDS]
    known = {stem(word) for word in words_of(message[:MAX_MESSAGE])}
    return bool(words) and all(stem(word) in known for word in words)


def words_of(text: str) -> Iterator[str]:
    """Yield the words of a text, in lower case."""
    return (match[0] for match in WORDS.finditer(text.casefold()))


def stem(word: str) -> str:
    """Return what the forms of a word have in common, roughly; numbers must be the same."""
    if any(character.isdigit() for character in word):
        return word
    return word.removesuffix("s")[:5]
