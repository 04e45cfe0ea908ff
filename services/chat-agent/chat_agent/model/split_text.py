"""Text whose characters were split: between two pieces of a stream, or between bytes and escapes."""

import re

from chat_agent.schemas import UNSTORABLE

HIGH_AND_LOW = re.compile("[\ud800-\udbff][\udc00-\udfff]")
# Bytes that are no UTF-8, as `errors="surrogateescape"` decodes them.
ESCAPED_BYTES = re.compile("[\udc80-\udcff]+")
# What the next piece may complete: half of a pair, or the first bytes of a character.
UNFINISHED = re.compile(
    "(?:[\ud800-\udbff]|[\udcc2-\udcdf]|[\udce0-\udcef][\udc80-\udcbf]?|[\udcf0-\udcf4][\udc80-\udcbf]{0,2})$"
)


class TextJoiner:
    """The text of one stream: a character that comes in two pieces is passed on with the second."""

    def __init__(self) -> None:
        self._rest = ""

    @property
    def is_waiting(self) -> bool:
        """Whether a piece of a character waits for the rest."""
        return bool(self._rest)

    def feed(self, piece: str) -> str:
        """Return what can be passed on."""
        if not self._rest and not UNSTORABLE.search(piece):
            return piece
        text = self._rest + piece
        unfinished = UNFINISHED.search(text)
        self._rest = unfinished[0] if unfinished else ""
        return storable_text(text[: unfinished.start()] if unfinished else text)

    def finish(self) -> str:
        """Return what stands for a character that was not completed."""
        rest, self._rest = self._rest, ""
        return "\N{REPLACEMENT CHARACTER}" if rest else ""


def storable_text(text: str) -> str:
    """Join the halves of characters, and replace what could be neither stored nor sent on."""
    joined = HIGH_AND_LOW.sub(join_pair, text)
    decoded = ESCAPED_BYTES.sub(decode_bytes, joined)
    return UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", decoded)


def join_pair(pair: re.Match[str]) -> str:
    """Return the character of a surrogate pair."""
    return pair[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le")


def decode_bytes(escaped: re.Match[str]) -> str:
    """Return the characters of some bytes."""
    return escaped[0].encode(errors="surrogateescape").decode(errors="replace")
