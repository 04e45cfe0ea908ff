"""Request bodies that are compressed (RFC 9110 section 8.4): gzip is read, all else refused.

What is inflated is passed on in pieces, so that a route's limit counts it, and a small body that becomes
a large one costs no more than that limit.
"""

import zlib
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope

from servicekit.errors import BadRequest, ServiceError

PIECE = 64 * 1024
GZIP = frozenset({"gzip", "x-gzip"})
WITH_HEADER = 16 + zlib.MAX_WBITS


class UnsupportedContentEncoding(ServiceError):
    """The body is compressed in a way that is not read here."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    default_detail = "Send the body as it is, or with Content-Encoding: gzip."

    def __init__(self) -> None:
        super().__init__(headers={"Accept-Encoding": "gzip"})


class MalformedGzip(BadRequest):
    """The body is no gzip data, is cut off, or goes on after its end."""

    default_detail = "The body is not valid gzip."


def decoded(scope: Scope, receive: Receive) -> Receive:
    """Return what receives the body as it was before compression; raises UnsupportedContentEncoding."""
    encoding = ",".join(Headers(scope=scope).getlist("content-encoding")).strip().lower()
    if encoding in {"", "identity"}:
        return receive
    if encoding not in GZIP:
        raise UnsupportedContentEncoding
    return _GzipBody(receive)


class _GzipBody:
    """A gzip body, inflated piece by piece as it is read."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._inflater = zlib.decompressobj(WITH_HEADER)
        self._compressed = b""
        self._has_more = True
        # Whether output of what was taken in is left.
        self._is_pending = False

    async def __call__(self) -> Message:
        """Return the next piece; raises MalformedGzip."""
        if not self._compressed and not self._is_pending:
            message = await self._receive()
            if message["type"] != "http.request":
                return message
            self._compressed, self._has_more = message.get("body", b""), message.get("more_body", False)
        piece = self._inflate()
        is_unfinished = self._has_more or self._is_pending
        if not is_unfinished and not self._inflater.eof:
            raise MalformedGzip
        return {"type": "http.request", "body": piece, "more_body": is_unfinished}

    def _inflate(self) -> bytes:
        if self._inflater.eof and self._compressed:
            raise MalformedGzip
        try:
            piece = self._inflater.decompress(self._compressed, PIECE)
        except zlib.error:
            raise MalformedGzip from None
        self._compressed = self._inflater.unconsumed_tail or self._inflater.unused_data
        self._is_pending = bool(self._compressed) or (len(piece) == PIECE and not self._inflater.eof)
        return piece
