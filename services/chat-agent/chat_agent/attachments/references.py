"""Resolves the ids of uploaded files in messages, before a run begins."""

from collections.abc import Iterator, Mapping, Sequence
from uuid import UUID

from servicekit.auth.tokens import Principal
from servicekit.database import Database

from chat_agent.attachments import files
from chat_agent.attachments.files import FileNotFound
from chat_agent.attachments.tables import StoredFile
from chat_agent.attachments.uploads import FILE_ID, PREFIX, UPLOAD, FileUpload, Json
from chat_agent.errors import InvalidAttachment


async def resolve_files(
    database: Database, caller: Principal, items: Sequence[Json], max_bytes: int
) -> tuple[Sequence[Json], Mapping[UUID, int]]:
    """Return items with references in place of ids of files, and their sizes; raises InvalidAttachment."""
    uploads = {upload.file_id: upload for upload in file_uploads(items)}
    if not uploads:
        return items, {}
    ids = {name: parsed(upload) for name, upload in uploads.items()}
    async with database.begin() as session:
        found = await files.find_for_messages(session, caller, [*ids.values()])
    for name, upload in uploads.items():
        if ids[name] not in found:
            raise unknown(upload)
    if sum(file.size for file in found.values()) > max_bytes:
        place = next(iter(uploads.values())).place
        raise InvalidAttachment(place, f"The files of a request have at most {max_bytes} bytes.")
    by_name = {name: found[file_id] for name, file_id in ids.items()}
    return [with_references(item, by_name) for item in items], {
        file_id: file.size for file_id, file in found.items()
    }


def file_uploads(items: Sequence[Json]) -> Iterator[FileUpload]:
    """Yield the files that messages name."""
    for item in items:
        content = item.get("content")
        for part in content if isinstance(content, list) else ():
            if isinstance(upload := part.get(UPLOAD), FileUpload):
                yield upload


def parsed(upload: FileUpload) -> UUID:
    """Return the id of a file; raises InvalidAttachment."""
    try:
        return files.id_of(upload.file_id)
    except FileNotFound:
        raise unknown(upload) from None


def unknown(upload: FileUpload) -> InvalidAttachment:
    """Return the error for a file that the caller does not have."""
    return InvalidAttachment(upload.place, f"No such File object: {upload.file_id}")


def with_references(item: Json, found: dict[str, StoredFile]) -> Json:
    """Return an item with references in place of the ids of files; raises InvalidAttachment."""
    if not isinstance(item.get("content"), list):
        return item
    return {**item, "content": [with_reference(part, found) for part in item["content"]]}


def with_reference(part: Json, found: dict[str, StoredFile]) -> Json:
    """Return a part of a message with a reference in place of the id of a file; raises InvalidAttachment."""
    upload = part.get(UPLOAD)
    if not isinstance(upload, FileUpload):
        return part
    file = found[upload.file_id]
    if upload.media_types is not None and file.media_type not in upload.media_types:
        taken = ", ".join(sorted(upload.media_types))
        raise InvalidAttachment(upload.place, f"The file is {file.media_type}; taken are {taken}.")
    rest = {name: value for name, value in part.items() if name != UPLOAD}
    named = {"filename": file.filename} if upload.is_named_by_file else {}
    return {**rest, **named, FILE_ID: f"{PREFIX}{file.sha256}"}
