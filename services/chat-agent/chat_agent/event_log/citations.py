"""Citations: links of a message to pages that a tool of the same run has found."""

import re
from collections.abc import Set
from typing import Any

LINK = re.compile(r"\[([^\[\]\n]{1,300})\]\((https?://[^\s()]{1,2000})\)")
URL = re.compile(r"https?://[^\s\"'<>()\[\]]{1,2000}")
# A page of results has a few; a document that a tool gives may have thousands.
MAX_SOURCES = 200


def urls_in(text: str) -> set[str]:
    """Return the addresses that a text names, the first of them."""
    return {match.group() for match, _ in zip(URL.finditer(text), range(MAX_SOURCES), strict=False)}


def citations_in(text: str, sources: Set[str]) -> list[dict[str, Any]]:
    """Return the links of a message that lead to sources: the page, and where the link stands."""
    if not sources:
        return []
    return [
        {"url": link.group(2), "title": link.group(1), "start": link.start(), "end": link.end()}
        for link in LINK.finditer(text)
        if link.group(2) in sources
    ]
