"""The content of messages of OpenAI's clients: text, images, files and audio."""

from chat_agent.attachments.uploads import DATA_URL
from chat_agent.protocols.errors import UnsupportedParameter
from chat_agent.protocols.media import Inputs, Media, MediaText, check_number, text_part
from chat_agent.protocols.requests import ChatTurn, LenientModel, Name, Parts, Text, join_text


class ImageUrl(LenientModel):
    """The address of an image."""

    url: MediaText
    detail: Name | None = None


class FileContent(LenientModel):
    """The content of a file."""

    filename: Name | None = None
    file_data: MediaText | None = None
    file_id: Name | None = None


class AudioContent(LenientModel):
    """The content of audio."""

    data: MediaText
    format: Name


class ContentPart(LenientModel):
    """A part of a message."""

    type: Name
    text: Text | None = None
    refusal: Text | None = None
    # Of an image: its address, by itself or in an object.
    image_url: MediaText | ImageUrl | None = None
    detail: Name | None = None
    # Of a file: its content, in the part or in an object.
    file: FileContent | None = None
    filename: Name | None = None
    file_data: MediaText | None = None
    # Of an image or a file that was uploaded.
    file_id: Name | None = None
    input_audio: AudioContent | None = None

    def to_media(self, place: str) -> Media:
        """Return the image or the file that it is; raises UnsupportedParameter."""
        match self.type:
            case "image_url" | "input_image":
                url = self.image_url
                if isinstance(url, ImageUrl):
                    return Media("image", url.url, place, detail=url.detail)
                return Media("image", url, place, detail=self.detail, file_id=self.file_id)
            case "file" | "input_file":
                file = self.file or FileContent(
                    filename=self.filename, file_data=self.file_data, file_id=self.file_id
                )
                return Media("file", file.file_data, place, filename=file.filename, file_id=file.file_id)
            case "input_audio" if self.input_audio:
                audio = self.input_audio
                return Media("audio", f"data:audio/{audio.format};base64,{audio.data}", place)
        raise UnsupportedParameter(place, f"Parts of type `{self.type}` are not taken here.")


Content = Text | Parts[ContentPart] | None


def message_turn(role: str, content: Content, place: str, inputs: Inputs) -> ChatTurn:
    """Return a message, of the user also with images and files.

    Raises UnsupportedParameter, InvalidAttachment.
    """
    if role != "user" or not inputs or not isinstance(content, list):
        return ChatTurn(role, message_text(content, place))
    if all(is_text(part) for part in content):
        return ChatTurn(role, message_text(content, place))
    parts = [
        text_part(part.text or part.refusal or "")
        if is_text(part)
        else part.to_media(f"{place}[{index}]").to_part(inputs)
        for index, part in enumerate(content)
    ]
    check_number(parts, place)
    return ChatTurn(role, join_text(part.get("text", "") for part in parts), parts)


def is_text(part: ContentPart) -> bool:
    """Return whether a part of a message is text."""
    return part.text is not None or part.refusal is not None


def message_text(content: Content, place: str) -> str:
    """Return the text of a message; raises UnsupportedParameter for what is none."""
    if content is None or isinstance(content, str):
        return content or ""
    for part in content:
        if not is_text(part):
            raise UnsupportedParameter(place, f"Parts of type `{part.type}` are not taken here, only text.")
    return join_text(part.text or part.refusal or "" for part in content)


def output_text(content: Content, place: str) -> str:
    """Return the output of a tool. Models read text there: an image or a file is named, not shown.

    Raises UnsupportedParameter for parts of other types.
    """
    if content is None or isinstance(content, str):
        return content or ""
    return join_text(
        part.text or part.refusal or "" if is_text(part) else named(part, f"{place}[{index}]")
        for index, part in enumerate(content)
    )


def named(part: ContentPart, place: str) -> str:
    """Return what a model reads in place of an image or a file."""
    media = part.to_media(place)
    data = DATA_URL.match(media.url or "")
    return f"[{media.kind}: {data[1] if data else media.filename or media.file_id or media.url}]"
