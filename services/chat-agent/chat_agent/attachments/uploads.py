"""Images and files of a request: data is decoded and links are checked before the run begins."""

import asyncio
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from servicekit.large_bodies import content_of

from chat_agent.clients.supplied_urls import is_public
from chat_agent.errors import InvalidAttachment

Json = dict[str, Any]
# The member of a part that is to be resolved.
UPLOAD = "upload"
FILE_ID = "file_id"
PREFIX = "file-"
DATA_URL = re.compile(r"data:([a-z]+/[a-z0-9.+-]{1,100});base64,", re.IGNORECASE)
# What models take, by the media type that clients name.
AUDIO_FORMATS = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/mp3": "mp3", "audio/mpeg": "mp3"}
MAX_LINKS = 20
# Decoding holds the interpreter's lock: as many characters take about a millisecond. A multiple of four.
CHUNK = 512 * 1024


@dataclass(frozen=True)
class Blob:
    """The content of an image or a file."""

    sha256: str
    media_type: str
    content: bytes


@dataclass(frozen=True)
class DataUpload:
    """The data of an image or a file, in base64 or by its name in a large body, and where it was sent."""

    place: str
    media_type: str
    encoded: str

    async def resolve(self) -> tuple[Json, Blob | None]:
        """Return the reference that stands for it, and the content; raises InvalidAttachment."""
        try:
            blob = await asyncio.to_thread(self._decode)
        except ValueError:
            raise InvalidAttachment(self.place, "The data is not valid base64.") from None
        if not blob.content:
            raise InvalidAttachment(self.place, "The data is empty.")
        return {FILE_ID: f"{PREFIX}{blob.sha256}"}, blob

    def _decode(self) -> Blob:
        content, digest = bytearray(), hashlib.sha256()
        encoded = content_of(self.encoded) or self.encoded
        for start in range(0, len(encoded), CHUNK):
            chunk = binascii.a2b_base64(encoded[start : start + CHUNK], strict_mode=True)
            digest.update(chunk)
            content += chunk
        return Blob(digest.hexdigest(), self.media_type, bytes(content))


@dataclass(frozen=True)
class LinkUpload:
    """The address of an image, which the model's provider fetches."""

    place: str
    url: str
    # The host of a link in an earlier message may have gone since.
    is_new: bool = True

    async def resolve(self) -> tuple[Json, None]:
        """Return the address, if its host is public; raises InvalidAttachment."""
        if not await is_public(self.url):
            if not self.is_new:
                return {"type": "input_text", "text": "[An image that cannot be reached.]"}, None
            raise InvalidAttachment(
                self.place, "The address must be https, and its host public and resolvable."
            )
        return {"image_url": self.url}, None


@dataclass(frozen=True)
class FileUpload:
    """A file that was uploaded before, by its id; `attachments.references` resolves it."""

    place: str
    file_id: str
    # Those that are taken; none for all.
    media_types: frozenset[str] | None = None
    # Of a file in a message that has no name there.
    is_named_by_file: bool = False


Upload = DataUpload | LinkUpload


async def resolve_uploads(items: Sequence[Json]) -> tuple[list[Json], dict[str, Blob]]:
    """Return items with references in place of data, and the content by digest; raises InvalidAttachment."""
    check_links(items)
    resolved: list[Json] = []
    blobs: dict[str, Blob] = {}
    for item in items:
        content = item.get("content")
        if not isinstance(content, list):
            resolved.append(item)
            continue
        parts = []
        for part in content:
            reference, blob = await resolve_part(part)
            parts.append(reference)
            if blob is not None:
                blobs[blob.sha256] = blob
        resolved.append({**item, "content": parts})
    return resolved, blobs


def check_links(items: Sequence[Json]) -> None:
    """Verify that a request has no more than `MAX_LINKS` links; raises InvalidAttachment."""
    contents = [item["content"] for item in items if isinstance(item.get("content"), list)]
    uploads = [part.get(UPLOAD) for content in contents for part in content]
    links = [one for one in uploads if isinstance(one, LinkUpload)]
    if len(links) > MAX_LINKS:
        raise InvalidAttachment(links[MAX_LINKS].place, f"A request has at most {MAX_LINKS} links to images.")


async def resolve_part(part: Json) -> tuple[Json, Blob | None]:
    """Return a part of a message with a reference in place of its data; raises InvalidAttachment."""
    upload: Upload | None = part.get(UPLOAD)
    if upload is None:
        return part, None
    members, blob = await upload.resolve()
    if "type" in members:
        return members, blob
    return {**{name: value for name, value in part.items() if name != UPLOAD}, **members}, blob
