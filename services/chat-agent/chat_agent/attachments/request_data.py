"""Request bodies of many MiB: base64 data in them is put aside before the rest is parsed.

A body of 25 MiB is an image or a file, and a little text. Parsed as JSON, its data alone would hold the
interpreter's lock for longer than the event loop may wait, and take memory several times. Here it is found by
the next quotation mark of places that are far apart, and decoded straight from the body.
"""

import re
from collections.abc import Iterator

from servicekit.errors import PayloadTooLarge
from servicekit.large_bodies import LargeBodyRoute, LargeRequest, put_aside
from servicekit.request_limits import KIB

from chat_agent.settings import Settings

MAX_TEXT_BYTES = 6 * 1024 * KIB
# A literal of twice as many bytes fills one of the places that are looked at, wherever it begins.
WINDOW = 64 * KIB
# The members that hold data in the protocols; none of text is called so.
MEMBER = re.compile(rb'"(?:data|value|file_data|image_url|url)"[ \t\r\n]{0,16}:[ \t\r\n]{0,16}\Z')
MEMBER_BYTES = 64
# PHP escapes slashes.
DATA_URL = re.compile(rb"data:[a-z]+\\?/[a-z0-9.+-]{1,100};base64,", re.IGNORECASE)
DATA_URL_BYTES = 200


class MessageRequest(LargeRequest):
    """A request with messages, whose images and files are put aside."""

    def check_size(self, size: int) -> None:
        """Raise PayloadTooLarge for more than the setting allows."""
        if size > Settings.of(self.app.state.resources).max_message_body_bytes:
            raise PayloadTooLarge

    def reduce(self, body: bytes) -> bytes:
        """Return the body with names in place of data; raises PayloadTooLarge for too much text."""
        text = without_data(body)
        if len(text) > MAX_TEXT_BYTES:
            raise PayloadTooLarge(f"Apart from base64 data, a body has at most {MAX_TEXT_BYTES} bytes.")
        return text


class MessageRoute(LargeBodyRoute):
    """A route that takes messages, with images and files."""

    request_class = MessageRequest


def without_data(body: bytes) -> bytes:
    """Return a JSON text with the names of content in place of long literals that are data."""
    pieces: list[bytes] = []
    position = 0
    for opening, closing in long_literals(body):
        if not MEMBER.search(body[max(0, opening - MEMBER_BYTES) : opening]):
            continue
        head = DATA_URL.match(body[opening + 1 : opening + 1 + DATA_URL_BYTES])
        start = opening + 1 + (head.end() if head else 0)
        data = unescaped(body, start, closing)
        if data is not None:
            pieces += [body[position:start], put_aside(data).encode()]
            position = closing
    pieces.append(body[position:])
    return b"".join(pieces)


def long_literals(body: bytes) -> Iterator[tuple[int, int]]:
    """Yield where long literals open and close: two quotation marks with much between them, and none."""
    position = 0
    while position + WINDOW <= len(body):
        if body.find(b'"', position, position + WINDOW) != -1:
            position += WINDOW
            continue
        opening, closing = body.rfind(b'"', 0, position), body.find(b'"', position)
        if opening == -1 or closing == -1:
            return
        yield opening, closing
        position = closing + 1


def unescaped(body: bytes, start: int, end: int) -> bytes | memoryview | None:
    """Return a literal without its escaped slashes; none when something else is escaped."""
    if body.find(b"\\", start, end) == -1:
        return memoryview(body)[start:end]
    data = body[start:end].replace(rb"\/", b"/")
    return None if b"\\" in data else data
