"""Images and files in messages, in every protocol: checked, and turned into parts of the SDK."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from chat_agent.attachments.uploads import (
    AUDIO_FORMATS,
    DATA_URL,
    UPLOAD,
    DataUpload,
    FileUpload,
    LinkUpload,
    Upload,
)
from chat_agent.errors import InvalidAttachment
from chat_agent.execution.agent_graph import AgentProfile
from chat_agent.protocols.errors import UnsupportedParameter
from chat_agent.protocols.requests import ChatTurn, UnsupportedContent, join_text
from chat_agent.schemas import MAX_MESSAGE_BODY, storable
from chat_agent.settings import InputKind, Settings

Json = dict[str, Any]
Inputs = frozenset[InputKind]
TEXT_ONLY: Inputs = frozenset()
IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
NAMES = {"image": "images", "file": "files", "audio": "audio"}
MAX_ATTACHMENTS = 50
MAX_LINK = 2048


def storable_media(value: str) -> str:
    """Refuse what cannot be stored; data is base64, which is checked when it is decoded."""
    return value if value.isascii() and "\0" not in value else storable(value)


# Data in base64, a data URL, or a link.
MediaText = Annotated[str, Field(max_length=MAX_MESSAGE_BODY), AfterValidator(storable_media)]


@dataclass(frozen=True)
class Media:
    """An image, a file or audio of a message, as a data URL or a link, and where it was sent."""

    kind: str
    url: str | None
    place: str
    filename: str | None = None
    detail: str | None = None
    is_new: bool = True
    # Of an uploaded file, in place of an address.
    file_id: str | None = None

    def to_part(self, inputs: Inputs) -> Json:
        """Return it as a part of the SDK; raises UnsupportedParameter, InvalidAttachment."""
        if self.kind not in inputs:
            raise UnsupportedParameter(self.place, self.refusal(inputs))
        if self.file_id is not None and self.url is not None:
            raise InvalidAttachment(self.place, "Send the content or `file_id`, not both.")
        if self.kind == "image":
            detail = self.detail if self.detail in {"low", "high", "auto"} else "auto"
            return {"type": "input_image", "detail": detail, UPLOAD: self._upload(links=True)}
        if self.kind == "audio":
            return {"type": "input_audio", UPLOAD: self._upload(links=False)}
        filename = self.filename or "file"
        return {"type": "input_file", "filename": filename, UPLOAD: self._upload(links=False)}

    @property
    def _is_nameless(self) -> bool:
        return self.kind == "file" and self.filename is None

    def refusal(self, inputs: Inputs) -> str:
        """Return what a person reads where it is not taken."""
        return f"Parts of type `{self.kind}` are not taken here, only {sentence(inputs)}."

    def _upload(self, *, links: bool) -> Upload | FileUpload:
        if self.file_id is not None:
            media_types = IMAGES if self.kind == "image" else None
            return FileUpload(self.place, self.file_id, media_types, is_named_by_file=self._is_nameless)
        url = self.url or ""
        if match := DATA_URL.match(url):
            media_type = match[1].lower()
            if self.kind == "image" and media_type not in IMAGES:
                raise InvalidAttachment(self.place, f"Images are {', '.join(sorted(IMAGES))}.")
            if self.kind == "audio" and media_type not in AUDIO_FORMATS:
                raise InvalidAttachment(self.place, "Audio is wav or mp3.")
            return DataUpload(self.place, media_type, url[match.end() :])
        if links and url[:8].lower() == "https://" and len(url) <= MAX_LINK:
            return LinkUpload(self.place, url, self.is_new)
        forms = "a data URL in base64, or an https URL" if links else "a data URL in base64"
        raise InvalidAttachment(self.place, f"Send {forms}.")


def mixed_turn(role: str, parts: Sequence[str | Media], inputs: Inputs, *, is_new: bool) -> ChatTurn:
    """Return a message of text, images and files; of an earlier one, what is not taken is left out.

    Raises UnsupportedContent, InvalidAttachment.
    """
    text = join_text(part for part in parts if isinstance(part, str))
    taken: list[Json] = []
    for part in parts:
        if isinstance(part, str):
            taken.append(text_part(part))
        elif part.kind in inputs and role == "user":
            taken.append(replace(part, is_new=is_new).to_part(inputs))
        elif is_new:
            raise UnsupportedContent(part.refusal(inputs), param=part.place)
    check_number(taken, "messages")
    return ChatTurn(role, text, taken if any(UPLOAD in part for part in taken) else ())


def sentence(inputs: Iterable[str]) -> str:
    """Return what is taken, for people."""
    return " and ".join(["text", *(NAMES[kind] for kind in sorted(inputs))])


def inputs_of(settings: Settings, agent: AgentProfile) -> Inputs:
    """Return what the model of an agent takes beside text."""
    return settings.model_inputs.get(agent.model, settings.model_inputs.get("*", TEXT_ONLY))


def check_number(parts: Sequence[Json], place: str) -> None:
    """Raise InvalidAttachment for a message of too many images and files."""
    if sum(UPLOAD in part for part in parts) > MAX_ATTACHMENTS:
        raise InvalidAttachment(place, f"A message has at most {MAX_ATTACHMENTS} images and files.")


def text_part(text: str) -> Json:
    """Return text as a part of the SDK."""
    return {"type": "input_text", "text": text}
