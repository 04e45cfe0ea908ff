"""The operator's command line: `python -m starter_cli.app`, or `acme`."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from starter_cli import (
    checkout,
    disk,
    hints,
    owner,
    progress,
    run_file,
    runner,
    service_shell,
    signals,
    smoke_test,
    status,
    terminal,
    variables,
)
from starter_cli import doctor as examination
from starter_cli.errors import Failure
from starter_cli.paths import DEFAULT_DATA, SERVICES, Folders
from starter_cli.progress import say
from starter_cli.stack import Stack

INTERRUPTED = 130
# How often the parts of a running stack are looked at.
LOOK_SECONDS = 15

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # there are secrets among them
    help="Acme on this machine.",
)
users = typer.Typer(no_args_is_help=True, help="The people who may sign in.")
app.add_typer(users, name="users")

Once = Annotated[bool, typer.Option("--once", envvar="ONCE", help="Stop after the first turn.")]
Data = Annotated[Path, typer.Option(envvar="ACME_DATA", help="The folder with everything that is kept.")]
Port = Annotated[int, typer.Option(envvar="GATEWAY_PORT", min=1, max=65535, help="The gateway's port.")]


@app.callback()
def prepare(context: typer.Context) -> None:
    """Read `.env`, and see that it is this checkout's own code that runs."""
    with told(terminal.console()):
        checkout.require_own()
    context.obj = variables.load()


@app.command()
def start(context: typer.Context, once: Once = False, data: Data = DEFAULT_DATA, port: Port = 8000) -> None:
    """Start everything, hold one conversation, and stay until Ctrl-C or until the terminal is closed."""
    console = terminal.console()
    shown = progress.on(console)
    stack = Stack(data, port, tell=shown)
    is_standing = False
    with signals.once(), terminal.watched():
        try:
            say(
                console,
                "Starting databases, services and gateway (about half a minute) ...",
            )
            with told(console), shown:
                stack.start()
            hints.unused_variables(stack.layout, context.obj, console)
            with told(console):
                converse(stack, console, once)
            is_standing = True
            if not once:
                watch_over(stack, console)
        except KeyboardInterrupt:
            if not is_standing:
                raise typer.Exit(INTERRUPTED) from None
        finally:
            end(stack, console)


def end(stack: Stack, console: Console) -> None:
    """Stop what was started, and say so; nothing where another process runs the stack."""
    if stack.has_begun:
        say(console, "\nStopping ...", "dim")
    stack.stop()
    if stack.has_begun:
        say(console, f"Stopped; the data is kept in {stack.folders.root}", "dim")


def watch_over(stack: Stack, console: Console) -> None:
    """Say which parts stop being ready, and which are again, until a signal ends it."""
    before: Mapping[str, str] = {}
    while True:
        time.sleep(LOOK_SECONDS)
        now: Mapping[str, str] = {}
        with suppress(Failure, OSError):  # whatever became of the folder, what runs goes on
            now = status.problems(stack.folders)
        for name in now.keys() - before.keys():
            say(console, f"✗ {name}: {now[name]}", "yellow")
        for name in before.keys() - now.keys():
            say(console, f"✓ {name} works again", "green")
        before = now


def converse(stack: Stack, console: Console, once: bool) -> None:
    """Hold the first turn and say what to try next; without `once`, a turn that fails is told and no more."""
    hints.who_answers(stack.layout, console)
    try:
        smoke_test.hold(stack, console)
    except Failure as failure:
        if once:
            raise
        tell_failure(console, failure)
    if not once:
        hints.show(stack, console)
        say(console, "Ctrl-C stops everything.", "dim")


@app.command()
def stop(data: Data = DEFAULT_DATA) -> None:
    """Stop a stack that runs in another terminal."""
    console, folders = terminal.console(), Folders(data.absolute())
    with told(console):
        running = runner.of(folders)
        if running is None:
            raise Failure("Acme", f"it does not run on {folders.root}")
        say(console, f"Stopping {running} ...", "dim")
        runner.stop(folders, running)
    say(console, f"Stopped; the data is kept in {folders.root}", "dim")


@app.command("status")
def show_status(data: Data = DEFAULT_DATA) -> None:
    """Show what of a running stack answers, and where to go."""
    console, folders = terminal.console(), Folders(data.absolute())
    with told(console):
        layout = run_file.layout(folders)
        found = list(status.of(folders))
    table = Table("part", "address", "process", Column("state", overflow="fold"), box=None, pad_edge=False)
    for part, state in found:
        table.add_row(part.name, part.address, str(part.pid or ""), Text(state))
    console.print(table)
    for line in ["", *hints.places(layout)]:
        say(console, line)
    if shortage := disk.shortage(folders, disk.LEAST_TO_RUN):
        say(console, f"✗ disk: {shortage}", "bold red")
    raise typer.Exit(bool(shortage) or any(state != status.OK for _, state in found))


@app.command()
def doctor(data: Data = DEFAULT_DATA, port: Port = 8000) -> None:
    """Show whether Acme can run on this machine."""
    found = examination.examine(Folders(data.absolute()), port)
    table = Table("", "what", Column("found", overflow="fold"), box=None, pad_edge=False)
    for finding in found:
        table.add_row("✓" if finding.is_good else "✗", finding.what, finding.detail)
    terminal.console().print(table)
    raise typer.Exit(not all(finding.is_good for finding in found))


@app.command("exec", context_settings={"ignore_unknown_options": True})
def run(
    service: Annotated[str, typer.Argument(help=", ".join(SERVICES))],
    command: Annotated[list[str], typer.Argument(help="What to run, after --")],
    data: Data = DEFAULT_DATA,
) -> None:
    """Run a command as a service of the running stack: `acme exec auth -- python -m auth.keys list`."""
    with told(terminal.console()):
        service_shell.become(Folders(data.absolute()), service, command)


@users.command()
def seed(  # noqa: PLR0913, PLR0917  # the options of a command
    email: Annotated[str, typer.Option(help="Counts as verified.")],
    tenant_slug: Annotated[str, typer.Option(help="The tenant's short name; made if it is new.")],
    password: Annotated[
        str | None, typer.Option(help="Asked for if it is missing, except with --update.")
    ] = None,
    tenant_name: Annotated[str | None, typer.Option(help="By default, the short name.")] = None,
    role: Annotated[str, typer.Option(help="owner, admin, member or viewer.")] = "member",
    update: Annotated[bool, typer.Option("--update", help="Change a person who exists already.")] = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Create somebody who can sign in at the stack that runs; change nobody without --update."""
    console = terminal.console()
    options = ["--email", email, "--role", role, *(["--update"] if update else [])]
    names = ["--tenant-slug", tenant_slug, "--tenant-name", tenant_name or tenant_slug]
    with told(console):
        layout = run_file.layout(Folders(data.absolute()))
        if password is None and not update:
            password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
        say(console, owner.seed(layout, [*options, *names], password).strip())


@contextmanager
def told(console: Console) -> Iterator[None]:
    """Turn a failure into a sentence and exit code 1."""
    try:
        yield
    except (Failure, OSError) as error:
        tell_failure(console, error if isinstance(error, Failure) else of_system(error))
        raise typer.Exit(1) from None


def of_system(error: OSError) -> Failure:
    """Turn an error of the system into a failure; a full disk is named."""
    return Failure("disk" if error.errno in disk.FULL else "Acme", str(error))


def tell_failure(console: Console, failure: Failure) -> None:
    """Say what went wrong, with the end of the log that explains it, and where that is."""
    say(console, f"✗ {failure.part}: {failure.reason}", "bold red")
    for line in failure.last_lines:
        say(console, f"  {line}", "dim")
    if failure.log:
        say(console, f"The whole log: {failure.log}")


if __name__ == "__main__":
    app()
