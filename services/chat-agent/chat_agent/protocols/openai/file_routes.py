"""The routes of files that OpenAI's clients upload: messages refer to them by their ids."""

import asyncio
import hashlib
import mimetypes
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, File, Path, Query, Response, UploadFile
from pydantic import AfterValidator, BaseModel, Field
from servicekit.auth.dependencies import require
from servicekit.auth.tokens import Principal
from servicekit.database import Session
from servicekit.schemas import BoundedModel

from chat_agent.api.dependencies import ManagerDep, Reader, Writer
from chat_agent.api.rate_limits import ChatLimiter
from chat_agent.attachments import files
from chat_agent.attachments.files import NewFile
from chat_agent.attachments.request_data import MessageRoute
from chat_agent.attachments.tables import StoredFile
from chat_agent.protocols.errors import InvalidParameter
from chat_agent.protocols.openai import errors
from chat_agent.protocols.responses import Responses
from chat_agent.schemas import MAX_CHAT_BODY, MAX_MESSAGE_BODY, storable
from chat_agent.settings import Settings

# As many as are listed at once, however many are requested.
MAX_LISTED = 1000
MAX_FILENAME = 255
UNKNOWN_TYPE = "application/octet-stream"
MEDIA_TYPE = r"[a-z]+/[a-z0-9.+-]{1,100}"
HOUR, DAY = 3600, 86_400

Purpose = Literal["assistants", "batch", "user_data", "vision"]
FileName = Annotated[str, Path(alias="file_id", max_length=64)]
Deleter = Annotated[Principal, require("conversations:delete")]
EXPIRY = "After this it is deleted."

router = APIRouter(
    prefix="/v1/files",
    tags=["openai"],
    responses=errors.ERROR_RESPONSES,
    route_class=MessageRoute,
    max_body_size=MAX_CHAT_BODY,
    form_limits={"max_files": 1, "max_fields": 10, "max_part_size": 1024},
)
CONTENT: Responses = {
    200: {"description": "The content.", "content": {UNKNOWN_TYPE: {"schema": {"type": "string"}}}}
}


class NewFileForm(BoundedModel):
    """A file to upload."""

    file: Annotated[UploadFile, Field(json_schema_extra={"maxLength": MAX_MESSAGE_BODY})]
    purpose: Purpose
    expires_after_anchor: Literal["created_at"] | None = Field(None, alias="expires_after[anchor]")
    expires_after_seconds: int | None = Field(None, alias="expires_after[seconds]", ge=HOUR, le=30 * DAY)


class FileObject(BaseModel):
    """An uploaded file."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int = Field(description=EXPIRY)
    filename: str
    purpose: Purpose
    status: Literal["processed"] = "processed"


class FileList(BaseModel):
    """A page of files."""

    object: Literal["list"] = "list"
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedFile(BaseModel):
    """A file that was deleted."""

    id: str
    object: Literal["file"] = "file"
    deleted: bool = True


class FileListQuery(BaseModel):
    """Which files, and in which order."""

    purpose: Purpose | None = None
    order: Literal["asc", "desc"] = "desc"
    limit: int = Field(MAX_LISTED, ge=1, le=10_000, description=f"At most {MAX_LISTED} are returned.")
    after: Annotated[str, Field(max_length=64), AfterValidator(storable)] | None = None


@router.post("", response_model=FileObject, max_body_size=MAX_MESSAGE_BODY)
async def upload_file(
    form: Annotated[NewFileForm, File()],
    caller: Writer,
    manager: ManagerDep,
    limiter: ChatLimiter,
    session: Session,
) -> FileObject:
    """Store a file, which messages then name by its id."""
    async with limiter.admit("chat"):
        content = await form.file.read()
    new = NewFile(
        filename=filename_of(form.file),
        purpose=form.purpose,
        media_type=media_type_of(form.file),
        # Off the event loop: of 25 MiB it takes longer than others may wait.
        sha256=await asyncio.to_thread(lambda: hashlib.sha256(content).hexdigest()),
        content=content,
        expires_at=expiry_of(manager.settings, form.expires_after_seconds),
    )
    if not content:
        raise InvalidParameter("file", "The file is empty.")
    return file_object(await files.create(session, caller, new, manager.settings.max_file_storage_bytes))


@router.get("", response_model=FileList)
async def list_files(query: Annotated[FileListQuery, Query()], caller: Reader, session: Session) -> FileList:
    """List files, the newest first, or with `order=asc` the oldest."""
    limit = min(query.limit, MAX_LISTED)
    found = await files.list_files(session, caller, query.purpose, query.order, limit, query.after)
    data = [file_object(file) for file in found[:limit]]
    return FileList(
        data=data,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
        has_more=len(found) > limit,
    )


@router.get("/{file_id}", response_model=FileObject)
async def get_file(name: FileName, caller: Reader, session: Session) -> FileObject:
    """Return a file without its content."""
    return file_object(await files.find(session, caller, name))


@router.get("/{file_id}/content", response_class=Response, responses=CONTENT)
async def get_file_content(name: FileName, caller: Reader, session: Session) -> Response:
    """Return the content of a file."""
    content = await files.content_of(session, caller, name)
    # Never its own type: a browser must not take it for a page of this site.
    return Response(content, media_type=UNKNOWN_TYPE, headers={"Content-Disposition": "attachment"})


@router.delete("/{file_id}", response_model=DeletedFile)
async def delete_file(name: FileName, caller: Deleter, session: Session) -> DeletedFile:
    """Delete a file; conversations that it was used in have a copy."""
    await files.remove(session, caller, name)
    return DeletedFile(id=name)


def filename_of(file: UploadFile) -> str:
    """Return the name of a file; raises InvalidParameter."""
    name = file.filename or "file"
    if len(name) > MAX_FILENAME:
        raise InvalidParameter("file", f"The name of a file has at most {MAX_FILENAME} characters.")
    try:
        return storable(name)
    except ValueError as error:
        raise InvalidParameter("file", f"The name of the file {error}.") from None


def media_type_of(file: UploadFile) -> str:
    """Return the media type of a file, as its sender names it, or its name's ending."""
    named = (file.content_type or "").partition(";")[0].strip().lower()
    if re.fullmatch(MEDIA_TYPE, named) and named != UNKNOWN_TYPE:
        return named
    return mimetypes.guess_type(file.filename or "")[0] or UNKNOWN_TYPE


def expiry_of(settings: Settings, seconds: int | None) -> datetime:
    """Return when a file expires: as runs do, or sooner."""
    longest = settings.run_retention_days * DAY
    return datetime.now(UTC) + timedelta(seconds=min(longest, seconds or longest))


def file_object(file: StoredFile) -> FileObject:
    """Return a file as OpenAI's clients see it."""
    return FileObject(
        id=files.name_of(file.id),
        bytes=file.size,
        created_at=int(file.created_at.timestamp()),
        expires_at=int(file.expires_at.timestamp()),
        filename=file.filename,
        purpose=file.purpose,
    )
