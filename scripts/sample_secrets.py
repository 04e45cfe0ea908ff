"""Write the digests of all secrets that this repository shows, or check that the list is current.

Production refuses them (servicekit/sample_secrets.py). A sample is what stands beside the name of a
secret setting in a sample file, a document, a manifest or a test.
"""

import argparse
import ast
import json
import os
import re
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import Path

from pydantic import SecretStr
from servicekit import sample_secrets
from testkit.contract_documents import module, services
from testkit.pacts import ROOT

LIST = Path(sample_secrets.__file__).with_suffix(".txt")
TEXTS = ("*.md", "*.yml", "*.yaml", "*.sh", "*.toml", ".env*")
# Whose folders hold code that is sent out: a literal there is no sample.
PRODUCT = ("servicekit", *(name.replace("-", "_") for name in services()))
IGNORED = {".git", ".venv", ".acme", "node_modules", "__pycache__"}
DEFAULT = re.compile(r"\$\{(\w+):-([^}]*)\}")
SECRET_VARIABLE = re.compile(r"(?:SECRET|PASSWORD|PEPPER|SALT|KEY|TOKEN)$")
# The name of another variable, or only punctuation.
NO_SECRET = re.compile(r"[A-Z][A-Z0-9_]*[:=]?|\W*")
ASSIGNMENT = re.compile(r"\b([A-Z][A-Z0-9_]+)[\"'`]?\s*[:=]\s*[\"'`]?(\{.*?\}|[^\s\"'`]+)")


def names() -> frozenset[str]:
    """Return the names of every setting that is a secret, or holds some."""
    fields = {
        name: str(field.annotation)
        for service in services()
        for name, field in module(service, "settings").Settings.model_fields.items()
    }
    return frozenset(name for name, kind in fields.items() if SecretStr.__name__ in kind)


def samples() -> set[str]:
    """Return every secret that this repository shows."""
    known = names()
    found = {value for path in files(*TEXTS) for value in in_text(path.read_text(), known)}
    found |= {value for path in files("*.py") for value in in_python(ast.parse(path.read_bytes()), known)}
    fragments = {part for value in found for part in sample_secrets.parts(value)}
    return {part for part in fragments if not NO_SECRET.fullmatch(part) and part.lower() not in known}


def files(*patterns: str) -> Iterator[Path]:
    """Yield the files that may show secrets."""
    for folder, folders, found in os.walk(ROOT):
        folders[:] = sorted(set(folders) - IGNORED)
        here = Path(folder)
        if not is_product(here.relative_to(ROOT).parts):
            yield from (here / name for name in found if any(fnmatch(name, one) for one in patterns))


def is_product(folders: tuple[str, ...]) -> bool:
    """Return whether a folder holds code that is sent out."""
    return len(folders) > 2 and folders[2] in PRODUCT


def in_text(text: str, known: frozenset[str]) -> Iterator[str]:
    """Yield the secrets of a sample file, `${NAME:-value}` being value."""
    for name, value in DEFAULT.findall(text):
        if SECRET_VARIABLE.search(name):
            yield value
    for name, value in ASSIGNMENT.findall(DEFAULT.sub(r"\2", text)):
        if name.lower() in known:
            yield from inside(value)


def in_python(tree: ast.Module, known: frozenset[str]) -> Iterator[str]:
    """Yield the literals that tests set as secrets: by keyword, by key, by call, or as a SecretStr."""
    constants = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        for name, value in pairs(node):
            if name.lower() in known:
                yield from literals(value, constants)


def pairs(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Yield names with the expressions that stand beside them."""
    match node:
        case ast.Dict(keys=keys, values=values):
            yield from ((text_of(key), value) for key, value in zip(keys, values, strict=True) if key)
        case ast.keyword(arg=str(name), value=value):
            yield name, value
        case ast.Assign(targets=[ast.Subscript(slice=key)], value=value):
            yield text_of(key), value
        case ast.Call(func=ast.Name(id="SecretStr"), args=[value]):
            yield "service_client_secret", value
        case ast.Call(args=values) | ast.Tuple(elts=values):
            yield from ((text_of(key), value) for key, value in pairwise(values))


def text_of(node: ast.expr) -> str:
    """Return a literal text; empty for anything else."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def literals(node: ast.expr, constants: dict[str, ast.expr]) -> Iterator[str]:
    """Yield the texts that an expression gives, through constants of its module."""
    match node:
        case ast.Constant(value=str(text)):
            yield from inside(text)
        case ast.Name(id=name) if name in constants:
            yield from literals(constants[name], {})
        case ast.Call(func=ast.Name(id="SecretStr"), args=[value]):
            yield from literals(value, constants)
        case ast.Dict(values=values):
            for value in values:
                yield from literals(value, constants)


def inside(text: str) -> Iterator[str]:
    """Yield a secret, or those of a JSON object."""
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    yield from map(str, value.values()) if isinstance(value, dict) else [text]


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when the list is stale")
    text = "".join(f"{line}\n" for line in sorted(sample_secrets.digest(one.encode()) for one in samples()))
    if not parser.parse_args().check:
        LIST.write_text(text)
    elif LIST.read_text() != text:
        sys.exit(f"{LIST.relative_to(ROOT)} is not current. Run `make samples`.")


if __name__ == "__main__":
    main()
