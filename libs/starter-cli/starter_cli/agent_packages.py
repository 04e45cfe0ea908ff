"""Writes a package with an agent and a tool, which Acme finds once it is installed."""

import re
import shlex
import sys
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from starter_cli import terminal
from starter_cli.errors import Failure
from starter_cli.exits import exit_on_failure

COMMAND = "agents new"
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
# A template, and where it goes.
FILES = {
    "pyproject.toml.txt": "pyproject.toml",
    "readme.md.txt": "README.md",
    "init.py.txt": "acme_agents_$name/__init__.py",
    "agent.py.txt": "acme_agents_$name/agent.py",
    "tools.py.txt": "acme_agents_$name/tools.py",
    "test.py.txt": "tests/test_$name.py",
}


def create(name: str, folder: Path) -> Path:
    """Write the package into a new folder, and return it; raises Failure."""
    if not NAME.fullmatch(name):
        raise Failure(COMMAND, "the name of an agent has small letters, digits and single underscores")
    root = folder / name
    if root.exists():
        raise Failure(COMMAND, f"{root} exists; choose another name or folder")
    values = {"name": name, "dashed": name.replace("_", "-"), "upper": name.upper()}
    for template, target in FILES.items():
        text = files("starter_cli").joinpath("agent_package", template).read_text()
        path = root / Template(target).substitute(values)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(Template(text).substitute(values))
    return root


def new(
    name: Annotated[str, typer.Argument(help="What clients call it: small letters, digits, underscores.")],
    folder: Annotated[Path, typer.Option(help="Where the package is written.")] = Path(),
) -> None:
    """Write a package with an agent, a tool and a test."""
    with exit_on_failure(terminal.console()):
        root = create(name, folder)
    uv = Path(sys.executable).with_name("uv")
    install = [str(uv), "pip", "install", "--python", sys.executable, "-e", str(root.resolve())]
    typer.echo(f"{root} is written. Install it with the next line, and start Acme again:")
    typer.echo(shlex.join(install))
