"""Uploaded files: stored, listed and deleted by their owner, and copied to runs whose messages name them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID, uuid4

from servicekit.auth.tokens import Principal
from servicekit.errors import Conflict, NotFound
from sqlalchemy import ColumnElement, and_, delete, func, literal, select, text, tuple_
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.attachments.store import digests_in_conversation
from chat_agent.attachments.tables import StoredFile
from chat_agent.attachments.uploads import PREFIX
from chat_agent.models import Attachment, Run

MAX_FILES_PER_TENANT = 10_000
LOCK_TENANT = text("select pg_advisory_xact_lock(hashtextextended(:id, 2))")


class FileNotFound(NotFound):
    """The caller has no such file."""

    def __init__(self, name: str) -> None:
        super().__init__(f"No such File object: {name}", param="id")


class FileLimitReached(Conflict):
    """The tenant's files are as many, or as large, as they may be."""


@dataclass(frozen=True)
class NewFile:
    """A file that is to be stored."""

    filename: str
    purpose: str
    media_type: str
    sha256: str
    content: bytes
    expires_at: datetime


def name_of(file_id: UUID) -> str:
    """Return the id by which clients know a file."""
    return f"{PREFIX}{file_id.hex}"


def id_of(name: str) -> UUID:
    """Return the id of a file that a client names; raises FileNotFound."""
    try:
        file_id = UUID(hex=name.removeprefix(PREFIX))
    except ValueError:
        raise FileNotFound(name) from None
    if name_of(file_id) != name:
        raise FileNotFound(name)
    return file_id


def is_of(caller: Principal) -> ColumnElement[bool]:
    """Return the condition that a file is the caller's."""
    return and_(StoredFile.tenant_id == caller.tenant_id, StoredFile.user_id == caller.user_id)


def is_owned_by(caller: Principal) -> ColumnElement[bool]:
    """Return the condition that a file is the caller's, and not expired."""
    return and_(is_of(caller), StoredFile.expires_at > func.now())


async def create(session: AsyncSession, caller: Principal, new: NewFile, max_bytes: int) -> StoredFile:
    """Store a file; raises FileLimitReached."""
    await session.execute(LOCK_TENANT, {"id": str(caller.tenant_id)})
    await check_limits(session, caller, len(new.content), max_bytes)
    file = StoredFile(
        id=uuid4(),
        tenant_id=caller.tenant_id,
        user_id=caller.user_id,
        size=len(new.content),
        **vars(new),
    )
    session.add(file)
    await session.flush()
    return file


async def check_limits(session: AsyncSession, caller: Principal, size: int, max_bytes: int) -> None:
    """Verify that a tenant may store so many bytes more; raises FileLimitReached."""
    of_tenant = StoredFile.tenant_id == caller.tenant_id
    stored = select(func.count(), func.coalesce(func.sum(StoredFile.size), 0)).where(of_tenant)
    number, total = (await session.execute(stored)).one()
    if number >= MAX_FILES_PER_TENANT:
        raise FileLimitReached(f"There are {MAX_FILES_PER_TENANT} files, the most there may be. Delete some.")
    if total + size > max_bytes:
        raise FileLimitReached(f"All files together may have {max_bytes} bytes. Delete some.")


async def find(session: AsyncSession, caller: Principal, name: str) -> StoredFile:
    """Return a file, without its content; raises FileNotFound."""
    found = select(StoredFile).where(is_owned_by(caller), StoredFile.id == id_of(name))
    file = (await session.scalars(found)).one_or_none()
    if file is None:
        raise FileNotFound(name)
    return file


async def content_of(session: AsyncSession, caller: Principal, name: str) -> bytes:
    """Return the content of a file; raises FileNotFound."""
    found = select(StoredFile.content).where(is_owned_by(caller), StoredFile.id == id_of(name))
    content = await session.scalar(found)
    if content is None:
        raise FileNotFound(name)
    return content


async def list_files(  # noqa: PLR0913, PLR0917  # which of them
    session: AsyncSession,
    caller: Principal,
    purpose: str | None,
    order: Literal["asc", "desc"],
    limit: int,
    after: str | None,
) -> Sequence[StoredFile]:
    """Return files, one more than `limit` if there are more; raises FileNotFound for an unknown `after`."""
    position = (StoredFile.created_at, StoredFile.id)
    found = select(StoredFile).where(is_owned_by(caller))
    if purpose is not None:
        found = found.where(StoredFile.purpose == purpose)
    if after is not None:
        last = await find(session, caller, after)
        start = tuple_(last.created_at, last.id)
        found = found.where(tuple_(*position) > start if order == "asc" else tuple_(*position) < start)
    ordered = position if order == "asc" else tuple(column.desc() for column in position)
    return (await session.scalars(found.order_by(*ordered).limit(limit + 1))).all()


async def remove(session: AsyncSession, caller: Principal, name: str) -> None:
    """Delete a file; runs whose messages named it have a copy. Raises FileNotFound."""
    removed = delete(StoredFile).where(is_owned_by(caller), StoredFile.id == id_of(name))
    if (await session.execute(removed.returning(StoredFile.id))).one_or_none() is None:
        raise FileNotFound(name)


async def find_for_messages(
    session: AsyncSession, caller: Principal, ids: Collection[UUID]
) -> dict[UUID, StoredFile]:
    """Return files that a caller may send to a model: its own, and an application's for its end users."""
    owners = {caller.user_id, caller.subject} if caller.is_application else {caller.user_id}
    found = select(StoredFile).where(
        StoredFile.tenant_id == caller.tenant_id,
        StoredFile.user_id.in_(owners),
        StoredFile.expires_at > func.now(),
        StoredFile.id.in_(ids),
    )
    return {file.id: file for file in await session.scalars(found)}


async def copy_to_run(session: AsyncSession, run: Run, ids: Collection[UUID]) -> None:
    """Store files as attachments of a run, except those that its conversation has."""
    columns = (StoredFile.sha256, StoredFile.media_type, StoredFile.size, StoredFile.content)
    new = (
        select(literal(run.id), *columns)
        .where(StoredFile.id.in_(ids), StoredFile.sha256.not_in(digests_in_conversation(run)))
        .ext(distinct_on(StoredFile.sha256))
        .order_by(StoredFile.sha256)
    )
    names = ["run_id", "sha256", "media_type", "size", "content"]
    await session.execute(insert(Attachment).from_select(names, new).on_conflict_do_nothing())


async def remove_all(session: AsyncSession, condition: ColumnElement[bool]) -> None:
    """Delete all files of which a condition is true."""
    await session.execute(delete(StoredFile).where(condition))


async def find_next(
    session: AsyncSession, caller: Principal, after: UUID | None
) -> tuple[StoredFile, bytes] | None:
    """Return the file of a caller that comes after one, by id, and its content."""
    found = select(StoredFile, StoredFile.content).where(is_owned_by(caller)).order_by(StoredFile.id).limit(1)
    if after is not None:
        found = found.where(StoredFile.id > after)
    row = (await session.execute(found)).one_or_none()
    return (row[0], row[1]) if row else None
