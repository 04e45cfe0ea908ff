"""Agents of a tenant as files: planned and published together, and written from what answers."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
import yaml
from rich.console import Console

from starter_cli import owner, run_file, terminal
from starter_cli.errors import Failure
from starter_cli.exits import exit_on_failure
from starter_cli.gateway import GatewayClient, UnexpectedResponse
from starter_cli.paths import DEFAULT_DATA, DataDir
from starter_cli.progress import print_line

MEMBERS = {"name", "note", "definition"}
SIGNS = {"create": "+", "update": "~", "unchanged": "="}
# Where the gateway says of an agent that it is wrong.
PLACE = re.compile(r"\bagents\[(\d+)\]\.(?:definition\.)?")
# Of a value in a plan.
MAX_VALUE = 60

Files = Annotated[
    list[Path], typer.Option("--file", "-f", help="YAML with `agents`; may be repeated.", exists=True)
]
Names = Annotated[list[str] | None, typer.Argument(help="Those that are written; without any, all.")]
Yes = Annotated[bool, typer.Option("--yes", help="Publish without asking.")]
Data = Annotated[Path, typer.Option(envvar="ACME_DATA", help="The folder of the stack that runs.")]
Url = Annotated[str | None, typer.Option(envvar="ACME_URL", help="Another gateway, with ACME_TOKEN.")]
Token = Annotated[
    str | None, typer.Option(envvar="ACME_TOKEN", help="An access token or API key with agents:manage.")
]


def apply(
    file: Files, yes: Yes = False, data: Data = DEFAULT_DATA, url: Url = None, token: Token = None
) -> None:
    """Print what would change, and publish it, all or none."""
    console = terminal.console()
    with exit_on_failure(console):
        documents = [document for path in file for document in read(path)]
        with connected("agents apply", data, url, token) as gateway, named_by(documents):
            plan = gateway.apply_agents(documents)
            changed = print_plan(console, plan)
            if not changed:
                print_line(console, "Nothing changes.")
                return
            if not yes:
                typer.confirm("Publish this?", abort=True)
            gateway.apply_agents(documents, plan["digest"])
        print_line(console, f"Published: {', '.join(changed)}.", "green")


def export(names: Names = None, data: Data = DEFAULT_DATA, url: Url = None, token: Token = None) -> None:
    """Print the versions that answer, as a file for `agents apply`."""
    with exit_on_failure(terminal.console()), connected("agents export", data, url, token) as gateway:
        listed = [agent["name"] for agent in gateway.agents() if agent["source"] == "tenant"]
        documents = published(gateway, names or listed)
    text = yaml.dump({"agents": documents}, Dumper=ReadableDumper, sort_keys=False, allow_unicode=True)
    typer.echo(text, nl=False)


class ReadableDumper(yaml.SafeDumper):
    """Writes texts of several lines as they are."""


def represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Return a text of several lines as a block."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


ReadableDumper.add_representer(str, represent_text)


@contextmanager
def named_by(documents: Sequence[Mapping[str, Any]]) -> Iterator[None]:
    """Name agents of a request by their names, where the gateway has counted them."""
    try:
        yield
    except UnexpectedResponse as error:
        text = PLACE.sub(lambda place: f"{documents[int(place[1])]['name']}: ", str(error))
        raise UnexpectedResponse(text) from error


@contextmanager
def connected(command: str, data: Path, url: str | None, token: str | None) -> Iterator[GatewayClient]:
    """Connect to a gateway with a token, or as the first owner of the stack that runs; raises Failure."""
    if (url is None) != (token is None):
        raise Failure(command, "ACME_URL and ACME_TOKEN go together")
    try:
        if url is not None and token is not None:
            with GatewayClient(url) as gateway:
                gateway.use_token(token)
                yield gateway
            return
        layout = run_file.load_layout(DataDir(data.absolute()))
        with GatewayClient(layout.gateway_url) as gateway:
            gateway.sign_in(owner.first_owner(layout))
            yield gateway
    except UnexpectedResponse as error:
        raise Failure(command, str(error)) from error
    except httpx.HTTPError as error:
        raise Failure(command, f"the gateway does not answer: {type(error).__name__}") from error


def read(path: Path) -> list[dict[str, Any]]:
    """Read the agents of a file; raises Failure."""
    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Failure(str(path), f"this is not YAML: {error}") from error
    agents = content.get("agents") if isinstance(content, dict) else None
    if not isinstance(agents, list) or not all(is_document(agent) for agent in agents):
        raise Failure(str(path), "it has no list `agents` of members with `name` and `definition`")
    return agents


def is_document(value: object) -> bool:
    """Return whether a value may be an agent: the gateway validates the rest."""
    return isinstance(value, dict) and value.keys() >= MEMBERS - {"note"} and value.keys() <= MEMBERS


def print_plan(console: Console, plan: Mapping[str, Any]) -> list[str]:
    """Print what becomes of each agent; return the names of those that change."""
    for agent in plan["agents"]:
        print_line(console, f"{SIGNS[agent['action']]} {agent['name']}: {agent['action']}")
        for change in agent["changes"] if agent["action"] == "update" else []:
            before, after = shortened(change["before"]), shortened(change["after"])
            print_line(console, f"    {change['path']}: {before} -> {after}", "dim")
    return [agent["name"] for agent in plan["agents"] if agent["action"] != "unchanged"]


def shortened(value: object) -> str:
    """Return a value on one short line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= MAX_VALUE else f"{text[:MAX_VALUE]}…"


def published(gateway: GatewayClient, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the agents of these names and those that they reach, in the order in which they are found."""
    documents: dict[str, dict[str, Any]] = {}
    waiting = [*names]
    while waiting:
        name = waiting.pop(0)
        if name in documents:
            continue
        definition = gateway.agent_definition(name)
        if definition is None:
            if name in names:
                raise Failure("agents export", f"the tenant has no published agent called {name!r}")
            continue  # one of the service
        ordered = {"instructions": definition["instructions"], **definition}
        documents[name] = {"name": name, "definition": ordered}
        waiting += [*definition.get("handoffs", []), *definition.get("as_tools", [])]
    return [*documents.values()]
