"""Agents of a tenant as files: planned and published together, and written from what answers."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from starter_cli import agent_documents, owner, run_file, terminal
from starter_cli.errors import Failure
from starter_cli.exits import exit_on_failure
from starter_cli.gateway import GatewayClient, UnexpectedResponse, unreachable
from starter_cli.paths import DEFAULT_DATA, DataDir
from starter_cli.plan_output import print_plan
from starter_cli.progress import print_line

Files = Annotated[
    list[Path],
    typer.Option("--file", "-f", help="YAML with `agents`; may be repeated.", exists=True, dir_okay=False),
]
Names = Annotated[list[str] | None, typer.Argument(help="Those that are written; without any, all.")]
Deleted = Annotated[list[str], typer.Argument(help="Those that are deleted.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it without asking.")]
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
        listed = [(str(path), one) for path in file for one in agent_documents.read(path)]
        names, documents = [f"{path}: {one['name']}" for path, one in listed], [one for _, one in listed]
        with connected("agents apply", data, url, token) as gateway, named_by(names):
            plan = gateway.apply_agents(documents)
            changed = print_plan(console, plan)
            if not changed:
                print_line(console, "Nothing changes.")
                return
            if not yes:
                typer.confirm("Publish this?", abort=True)
            gateway.apply_agents(documents, plan=plan["digest"])
        print_line(console, f"Published: {', '.join(changed)}.", "green")


def export(names: Names = None, data: Data = DEFAULT_DATA, url: Url = None, token: Token = None) -> None:
    """Print the versions that answer, as a file for `agents apply`."""
    with exit_on_failure(terminal.console()), connected("agents export", data, url, token) as gateway:
        documents = published(gateway, names or gateway.own_agents())
    # Whatever the terminal's encoding is: a file of YAML is UTF-8.
    typer.echo(agent_documents.write(documents).encode(), nl=False)


def delete(
    names: Deleted, yes: Yes = False, data: Data = DEFAULT_DATA, url: Url = None, token: Token = None
) -> None:
    """Delete agents together, all or none: those that reach each other, too."""
    console = terminal.console()
    with exit_on_failure(console), connected("agents delete", data, url, token) as gateway:
        plan = gateway.apply_agents([], names)
        print_plan(console, plan)
        if not yes:
            typer.confirm("Delete this?", abort=True)
        gateway.apply_agents([], names, plan["digest"])
        print_line(console, f"Deleted: {', '.join(names)}.", "green")


@contextmanager
def named_by(names: Sequence[str]) -> Iterator[None]:
    """Name the files and the agents of a request, where the gateway has counted them."""
    try:
        yield
    except UnexpectedResponse as error:
        raise UnexpectedResponse(agent_documents.name_agents(str(error), names)) from error


@contextmanager
def connected(command: str, data: Path, url: str | None, token: str | None) -> Iterator[GatewayClient]:
    """Connect to a gateway with a token, or as the first owner of the stack that runs; raises Failure."""
    require_both(command, url, token)
    layout = None if url else run_file.load_layout(DataDir(data.absolute()))
    address = layout.gateway_url if layout else url or ""
    try:
        with GatewayClient(address) as gateway:
            if layout:
                gateway.sign_in(owner.first_owner(layout))
            else:
                gateway.use_token(token or "")
            yield gateway
    except UnexpectedResponse as error:
        raise Failure(command, str(error)) from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Failure(command, unreachable(address, error)) from error


def require_both(command: str, url: str | None, token: str | None) -> None:
    """Raise Failure where an address has no token, a token no address, or what is given is no token."""
    if bool(url) != bool(token):
        present, missing = ("ACME_URL", "ACME_TOKEN") if url else ("ACME_TOKEN", "ACME_URL")
        reason = f"{present} is set and {missing} is not: set both, or for the stack on this machine neither"
        raise Failure(command, reason)
    if token and not (token.isascii() and token.isprintable()):
        raise Failure(command, "ACME_TOKEN has characters that no token has; copy the token again")


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
