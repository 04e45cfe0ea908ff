"""Finds words of a list in a text in one pass, however many words and however alike (Aho and Corasick).

The text is read in tokens, so that a word is no part of another one where words are written apart.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import regex

from chat_agent.guardrails.reading import Reading

# A run of letters and digits, or any other character.
TOKENS = regex.compile(r"[a-z0-9]++|.", regex.DOTALL)
RUN = regex.compile(r"[a-z0-9]*+")
# Lists whose search is ready: as many agents as are in use at a time.
MAX_CACHED = 16


@dataclass(frozen=True)
class Occurrence:
    """Where a word stands in a text, or what may become one, at its end."""

    text: str
    first: int
    last: int

    def start(self) -> int:
        """Return where it begins."""
        return self.first

    def end(self) -> int:
        """Return where it ends."""
        return self.last

    def __getitem__(self, group: int) -> str:
        return self.text[self.first : self.last]


@dataclass(eq=False, slots=True)
class State:
    """What of the words stands before a place of a text."""

    # In characters.
    length: int = 0
    following: dict[str, "State"] = field(default_factory=dict)
    # That of the next shorter end of the text that a word begins with.
    shorter: "State | None" = None
    # Of the word that ends here, if one does.
    word_length: int = 0

    def after(self, token: str) -> "State":
        """Return the state after one more token."""
        state: State | None = self
        while state is not None:
            if token in state.following:
                return state.following[token]
            last, state = state, state.shorter
        return last


class KeywordPattern:
    """A list of words, searched as a regular expression is, in a text as it reads."""

    def __init__(self, words: Sequence[str]) -> None:
        self._first = State()
        words_tokens = [TOKENS.findall(folded(Reading.of(word).text)) for word in words]
        for tokens in words_tokens:
            self._add(tokens)
        self._link()
        self._tokens = sorted({token for tokens in words_tokens for token in tokens})

    def search(self, text: str, position: int = 0, *, partial: bool = False) -> Occurrence | None:
        """Return a word after a position; where more text comes (`partial`), also what may become one."""
        lowered = folded(text)
        # What was passed on before is no beginning of a word.
        is_inside = position > 0 and RUN.fullmatch(lowered[position - 1]) is not None
        match = RUN.match(lowered, position) if is_inside else None
        place = match.end() if match and match[0] else position
        tokens = TOKENS.findall(lowered, place)
        unfinished = tokens.pop() if partial and tokens and RUN.fullmatch(tokens[-1]) else ""
        state = self._first
        for token in tokens:
            state = state.after(token)
            place += len(token)
            if state.word_length:
                return Occurrence(text, place - state.word_length, place)
        if partial and (self._is_beginning(unfinished) if unfinished else state.length):
            return Occurrence(text, place - state.length, len(text))
        return None

    def _add(self, tokens: Sequence[str]) -> None:
        state = self._first
        for token in tokens:
            state = state.following.setdefault(token, State(state.length + len(token)))
        state.word_length = state.length

    def _link(self) -> None:
        """Set what is looked at where no word goes on, from the shortest states to the longest."""
        queue = deque([self._first])
        while queue:
            state = queue.popleft()
            for token, following in state.following.items():
                following.shorter = state.shorter.after(token) if state.shorter else self._first
                following.word_length = following.word_length or following.shorter.word_length
                queue.append(following)

    def _is_beginning(self, text: str) -> bool:
        """Return whether a token of the words begins with a text."""
        place = bisect_left(self._tokens, text)
        return place < len(self._tokens) and self._tokens[place].startswith(text)


@lru_cache(MAX_CACHED)
def keyword_pattern(words: tuple[str, ...]) -> KeywordPattern:
    """Return the search for a list of words."""
    return KeywordPattern(words)


def folded(text: str) -> str:
    """Return a text without the difference of case, as long as before."""
    lowered = text.replace("\u0130", "i").replace("\u0131", "i").casefold()
    if len(lowered) == len(text):
        return lowered
    return "".join(one if len(one := char.casefold()) == 1 else char for char in text)
