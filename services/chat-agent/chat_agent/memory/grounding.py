"""Whether a note rests on what a person said: its words are theirs, and not those of a page or a tool.

No other word is allowed, in any language: nothing tells a new word that connects from one that negates.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator

from chat_agent.memory.connecting_words import connecting_words

# Scripts without spaces between words: Thai, Lao, Burmese, Khmer, Japanese, Chinese.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
UNSPACED_RUN, SPACED_RUN = re.compile(f"[{UNSPACED}]+"), re.compile(f"[^ {UNSPACED}]+")
# How many of their characters must stand together in the message: each of them alone stands in many words.
NEIGHBOURS = 3
# What joins the parts of a number, an address, or two words: it must stand in the message as a whole.
JOINTS = ".,:/@-_+'"
JOINT, PLAIN = re.compile(f"[{re.escape(JOINTS)}]"), re.compile(f"[^\\d{re.escape(JOINTS)}]+")
# Forms of a word begin alike with so many characters, and end with so many that differ.
MIN_BEGINNING, MAX_END = 4, 2
# Of a message, and of its letters with their marks apart.
MAX_MESSAGE, MAX_NORMAL = 25_000, 30_000


def is_grounded(text: str, message: str) -> bool:
    """Return whether a person said all words of a text that carry its meaning, and it has some."""
    note, source = letters_of(text), letters_of(message[:MAX_MESSAGE])
    whole = words_of(source)
    known = whole.union(*map(pieces_of, whole))
    forms = {beginning for word in known for beginning in beginnings(word)}
    words = {word.removesuffix("'s") for word in words_of(note)} - connecting_words(known)
    unspaced = "".join(UNSPACED_RUN.findall(source))
    characters = {part for run in merged(UNSPACED_RUN.findall(note)) for part in neighbours(run)}
    return (
        bool(words or characters)
        and all(word in known or not forms.isdisjoint(beginnings(word)) for word in words)
        and all(part in unspaced for part in characters)
    )


def words_of(letters: str) -> set[str]:
    """Return the words of scripts with spaces, numbers and addresses as they are."""
    return {run.strip(JOINTS) for run in {*SPACED_RUN.findall(letters)}} - {""}


def pieces_of(word: str) -> list[str]:
    """Return the words that joints join; a part of a number is no number."""
    return [] if is_plain(word) else [piece for piece in JOINT.split(word) if piece and is_plain(piece)]


def beginnings(word: str) -> list[str]:
    """Return what the forms of a word may have in common; of anything but letters, nothing."""
    shortest = max(MIN_BEGINNING, len(word) - MAX_END)
    return [word[:end] for end in range(shortest, len(word) + 1)] if is_plain(word) else []


def is_plain(word: str) -> bool:
    """Return whether a word has neither digits nor joints."""
    return PLAIN.fullmatch(word) is not None


def merged(runs: Iterable[str]) -> Iterator[str]:
    """Yield runs, short ones with those before them: single characters may not be put together at will."""
    before = ""
    for run in runs:
        if before and min(len(before), len(run)) >= NEIGHBOURS:
            yield before
            before = ""
        before += run
    if before:
        yield before


def neighbours(run: str) -> Iterator[str]:
    """Yield all characters of a run with those beside them."""
    return (run[start : start + NEIGHBOURS] for start in range(max(1, len(run) - NEIGHBOURS + 1)))


def letters_of(text: str) -> str:
    """Return letters, marks, digits and joints in lower case, with a space in place of all else.

    Each character is taken apart alone: to order many marks on one takes time that grows with their square.
    """
    parts = text.translate({ord(one): unicodedata.normalize("NFKD", one) for one in {*text}})
    letters = parts[:MAX_NORMAL].casefold().replace("\u2019", "'")
    others = {ord(one): " " for one in {*letters} if not is_in_word(one) and one not in JOINTS}
    return letters.translate(others)


def is_in_word(character: str) -> bool:
    """Return whether a character is a letter, a digit, or a mark on one."""
    return character.isalnum() or unicodedata.category(character).startswith("M")
