"""The content of images and files, stored with the run whose request had it."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, insert, select, tuple_
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.attachments.uploads import FILE_ID, PREFIX, Blob
from chat_agent.models import Attachment, Run


async def store(session: AsyncSession, run: Run, blobs: Mapping[str, Blob]) -> None:
    """Store the attachments that a run refers to, except those that its conversation has."""
    needed = digests_in([*run.prelude, {"content": run.content}]) & blobs.keys()
    if not needed:
        return
    in_conversation = digests_in_conversation(run).where(Attachment.sha256.in_(needed))
    new = needed - {*(await session.scalars(in_conversation)).all()}
    rows = [
        {
            "run_id": run.id,
            "sha256": digest,
            "media_type": blobs[digest].media_type,
            "size": len(blobs[digest].content),
            "content": blobs[digest].content,
        }
        for digest in sorted(new)
    ]
    if rows:
        await session.execute(insert(Attachment), rows)


def digests_in_conversation(run: Run) -> Select[str]:
    """Select the digests of the attachments that the conversation of a run has."""
    return (
        select(Attachment.sha256)
        .join(Run)
        .where(
            Run.conversation_id == run.conversation_id,
            Run.tenant_id == run.tenant_id,
            Run.user_id == run.user_id,
        )
    )


async def load(session: AsyncSession, tenant_id: UUID, user_id: str, digests: Collection[str]) -> list[Blob]:
    """Return the content of attachments of one owner, as far as it is stored."""
    found = (
        select(Attachment)
        .join(Run)
        .where(Run.tenant_id == tenant_id, Run.user_id == user_id, Attachment.sha256.in_(digests))
        .ext(distinct_on(Attachment.sha256))
        .order_by(Attachment.sha256)
    )
    return [Blob(one.sha256, one.media_type, one.content) for one in await session.scalars(found)]


async def newest(
    session: AsyncSession,
    tenant_id: UUID,
    user_id: str,
    conversation_id: UUID,
    media_types: Collection[str],
) -> Blob | None:
    """Return the newest attachment of an owner's conversation that has one of the media types, if any."""
    newest_first = (
        select(Attachment)
        .join(Run)
        .where(
            Run.tenant_id == tenant_id,
            Run.user_id == user_id,
            Run.conversation_id == conversation_id,
            Attachment.media_type.in_(media_types),
        )
        .order_by(Run.created_at.desc(), Attachment.sha256)
        .limit(1)
    )
    one = (await session.scalars(newest_first)).one_or_none()
    return Blob(one.sha256, one.media_type, one.content) if one else None


async def sizes(
    session: AsyncSession, tenant_id: UUID, user_id: str, digests: Collection[str]
) -> dict[str, int]:
    """Return the sizes, in bytes, of attachments of one owner, as far as they are stored."""
    found = (
        select(Attachment.sha256, Attachment.size)
        .join(Run)
        .where(Run.tenant_id == tenant_id, Run.user_id == user_id, Attachment.sha256.in_(digests))
    )
    return {row.sha256: row.size for row in await session.execute(found)}


async def find_next(
    session: AsyncSession, owner: ColumnElement[bool], after: tuple[UUID, str] | None
) -> Attachment | None:
    """Return the attachment of an owner's runs that comes after one, by run and digest."""
    found = select(Attachment).join(Run).where(owner)
    key = tuple_(Attachment.run_id, Attachment.sha256)
    if after is not None:
        found = found.where(key > after)
    return (await session.scalars(found.order_by(key).limit(1))).one_or_none()


def digests_in(items: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the digests of the attachments that items refer to."""
    return {part[FILE_ID].removeprefix(PREFIX) for item in items for part in parts_with_file(item)}


def parts_with_file(item: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the parts of a message that refer to stored content."""
    content = item.get("content")
    for part in content if isinstance(content, list) else ():
        if isinstance(part, dict) and isinstance(part.get(FILE_ID), str):
            yield part
