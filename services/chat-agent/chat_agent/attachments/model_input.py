"""Inserts the content of images and files into the input of a model, the only place that has it."""

import asyncio
import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any
from uuid import UUID

from agents.run_config import CallModelData, ModelInputData
from servicekit.database import Database
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.attachments import store
from chat_agent.attachments.store import digests_in
from chat_agent.attachments.uploads import AUDIO_FORMATS, FILE_ID, PREFIX, Blob
from chat_agent.clients.retry import retry_transaction

MEMBERS = {"input_image": "image_url", "input_file": "file_data"}


@dataclass
class AttachmentReader:
    """Reads the attachments of one owner, each once for a run: the newest that fit into `room` bytes."""

    database: Database
    tenant_id: UUID
    user_id: str
    room: int
    # The data URLs, by digest; of what is not stored any more, none.
    _urls: dict[str, str | None] = field(default_factory=dict)

    async def fill(self, items: Sequence[Any]) -> list[Any]:
        """Return items with data in place of references."""
        newest_first = dict.fromkeys(one for item in reversed(items) for one in sorted(digests_in([item])))
        if missing := [digest for digest in newest_first if digest not in self._urls]:
            await self._read(missing)
        return [self._filled(item) for item in items]

    async def newest(self, conversation_id: UUID, media_types: Sequence[str]) -> Blob | None:
        """Return the newest attachment of a conversation that has one of the media types, if any."""
        return await retry_transaction(
            self.database, store.newest, self.tenant_id, self.user_id, conversation_id, media_types
        )

    async def _read(self, digests: Sequence[str]) -> None:
        async def load(session: AsyncSession) -> list[Blob]:
            sizes = await store.sizes(session, self.tenant_id, self.user_id, digests)
            fitting = fitting_into(self.room, digests, sizes)
            return await store.load(session, self.tenant_id, self.user_id, fitting)

        self._urls.update(dict.fromkeys(digests))
        for blob in await retry_transaction(self.database, load):
            self.room -= len(blob.content)
            self._urls[blob.sha256] = await asyncio.to_thread(data_url, blob)

    def _filled(self, item: Any) -> Any:
        if not digests_in([item]):
            return item
        return {**item, "content": [self._filled_part(part) for part in item["content"]]}

    def _filled_part(self, part: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(part.get(FILE_ID), str):
            return part
        url = self._urls[part[FILE_ID].removeprefix(PREFIX)]
        if url is None:
            return {"type": "input_text", "text": "[An earlier attachment, left out.]"}
        if part["type"] == "input_audio":
            return {"type": "input_audio", "input_audio": audio_of(url)}
        rest = {name: value for name, value in part.items() if name != FILE_ID}
        return {**rest, MEMBERS[part["type"]]: url}


def fitting_into(room: int, digests: Sequence[str], sizes: Mapping[str, int]) -> list[str]:
    """Return the first of the stored attachments, as many as fit into `room` bytes."""
    stored = [digest for digest in digests if digest in sizes]
    totals = accumulate(sizes[digest] for digest in stored)
    return [digest for digest, total in zip(stored, totals, strict=True) if total <= room]


def data_url(blob: Blob) -> str:
    """Return content as a data URL."""
    return f"data:{blob.media_type};base64,{base64.b64encode(blob.content).decode()}"


def audio_of(url: str) -> dict[str, str]:
    """Return the content of a data URL in the form that models take audio in."""
    head, _, data = url.partition(";base64,")
    return {"data": data, "format": AUDIO_FORMATS[head.removeprefix("data:")]}


async def with_attachments(data: CallModelData[Any]) -> ModelInputData:
    """Return the input of a model with the content of attachments, and what is known of the person."""
    items = data.model_data.input
    if data.context is not None and data.context.memory is not None:
        items = await data.context.memory.fill(items, data.agent.name)
    if data.context is not None and digests_in([dict(one) for one in items]):
        items = await data.context.attachments.fill(items)
    return ModelInputData(input=items, instructions=data.model_data.instructions)
