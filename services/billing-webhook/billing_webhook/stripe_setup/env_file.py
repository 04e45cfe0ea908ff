"""Writes variables into an environment file, and leaves all its other lines as they are."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

ASSIGNMENT = re.compile(r"^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=")


def write(file: Path, values: Mapping[str, str]) -> bool:
    """Set variables in a file, which only its owner may read; return whether it has changed."""
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    rest, lines = dict(values), []
    for line in before.splitlines():
        match = ASSIGNMENT.match(line)
        name = match[1] if match else ""
        lines.append(f"{name}={quoted(rest.pop(name))}" if name in rest else line)
    lines += [f"{name}={quoted(value)}" for name, value in rest.items()]
    after = "".join(f"{line}\n" for line in lines)
    if after == before:
        return False
    replace(file, after)
    return True


def replace(file: Path, text: str) -> None:
    """Replace a file at once, so that there is no moment without the old values or the new ones."""
    new = file.with_name(f"{file.name}.new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
        stream.write(text)
    new.replace(file)


def quoted(value: str) -> str:
    """Quote a value that a shell or a reader of such files would take apart."""
    return value if re.fullmatch(r"[A-Za-z0-9_,.:/@+-]*", value) else f"'{value}'"
