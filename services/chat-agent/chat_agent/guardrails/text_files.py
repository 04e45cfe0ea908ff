"""Files of messages that are text, as their content says and not only their media type."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, NamedTuple

SEPARATOR = ";base64,"
TEXT_TYPES = ("data:text/", "data:application/csv", "data:application/json", "data:application/vnd.ms-excel")


class TextFile(NamedTuple):
    """The text of a file, and how it is written."""

    head: str
    text: str
    encoding: str

    def data_url(self, text: str) -> str:
        """Return the file with another text, as a data URL."""
        return self.head + SEPARATOR + base64.b64encode(text.encode(self.encoding)).decode()


def text_file(part: Mapping[str, Any]) -> TextFile | None:
    """Return the text of the file that a part of a message is, if it is one."""
    head, separator, data = str(part.get("file_data") or "").partition(SEPARATOR)
    if not separator:
        return None
    try:
        content = base64.b64decode(data)
    except binascii.Error:
        return None
    encoding = "utf-16" if content[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8"
    try:
        return TextFile(head, content.decode(encoding), encoding)
    except UnicodeDecodeError:
        # Every text can be read so, and what patterns look for is ASCII.
        is_text = head.lower().startswith(TEXT_TYPES)
        return TextFile(head, content.decode("latin-1"), "latin-1") if is_text else None
