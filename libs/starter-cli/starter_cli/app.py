"""The operator's command line: `python -m starter_cli.app`, or `acme`."""

import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from starter_cli import (
    agent_files,
    agent_packages,
    checkout,
    code_reload,
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
from starter_cli.exits import exit_on_failure, print_failure
from starter_cli.paths import CHECKOUT, DEFAULT_DATA, SERVICES, DataDir
from starter_cli.progress import print_line
from starter_cli.stack import Stack

INTERRUPTED = 130
# How often the components of a running stack are looked at.
STATUS_POLL_SECONDS = 15
# Options of another command are passed on to it.
PASS_ON = {"ignore_unknown_options": True}

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # there are secrets among them
    help="Acme on this machine.",
)
users = typer.Typer(no_args_is_help=True, help="The people who may sign in.")
app.add_typer(users, name="users")
agents = typer.Typer(no_args_is_help=True, help="Agents in files and in packages of one's own.")
for command in (agent_packages.new, agent_files.apply, agent_files.export, agent_files.delete):
    agents.command()(command)
app.add_typer(agents, name="agents")
accounts = typer.Typer(no_args_is_help=True, help="Applications that sign in without a person.")
app.add_typer(accounts, name="service-accounts")
events = typer.Typer(no_args_is_help=True, help="The events between the services.")
app.add_typer(events, name="events")

Once = Annotated[bool, typer.Option("--once", envvar="ONCE", help="Stop after the first turn.")]
Data = Annotated[Path, typer.Option(envvar="ACME_DATA", help="The folder with everything that is kept.")]
Port = Annotated[int, typer.Option(envvar="GATEWAY_PORT", min=1, max=65535, help="The gateway's port.")]


@app.callback()
def load_settings(context: typer.Context) -> None:
    """Read `.env`, and see that it is this checkout's own code that runs."""
    with exit_on_failure(terminal.console()):
        checkout.require_own()
    context.obj = variables.load()


@app.command()
def start(context: typer.Context, once: Once = False, data: Data = DEFAULT_DATA, port: Port = 8000) -> None:
    """Start everything, hold one conversation, and stay until Ctrl-C or until the terminal is closed."""
    console = terminal.console()
    display = progress.display_for(console)
    stack = Stack(data, port, on_progress=display)
    is_up = False
    with signals.interrupt_once(), terminal.terminate_on_hangup():
        try:
            print_line(
                console,
                "Starting databases, services and gateway (about half a minute) ...",
            )
            with exit_on_failure(console), display:
                stack.start()
            hints.print_unused_variables(stack.layout, context.obj, console)
            with exit_on_failure(console):
                run_smoke_test(stack, console, once)
            is_up = True
            if not once:
                with code_reload.reloading(stack, partial(print_restart, console)):
                    monitor(stack, console)
        except KeyboardInterrupt:
            if not is_up:
                raise typer.Exit(INTERRUPTED) from None
        finally:
            shut_down(stack, console)


def shut_down(stack: Stack, console: Console) -> None:
    """Stop what was started, and say so; nothing where another process runs the stack."""
    if stack.has_started:
        print_line(console, "\nStopping ...", "dim")
    stack.stop()
    if stack.has_started:
        print_line(console, f"Stopped; the data is kept in {stack.data_dir.root}", "dim")


def print_restart(console: Console, component: str) -> None:
    """Print that a component starts again with changed code."""
    print_line(console, f"{component} starts again: its agents have changed", "dim")


def monitor(stack: Stack, console: Console) -> None:
    """Print which components stop being ready, and which are again, until a signal ends it."""
    previous: Mapping[str, str] = {}
    while True:
        time.sleep(STATUS_POLL_SECONDS)
        current: Mapping[str, str] = {}
        with suppress(Failure, OSError):  # whatever became of the folder, what runs goes on
            current = status.problems(stack.data_dir)
        for name in current.keys() - previous.keys():
            print_line(console, f"✗ {name}: {current[name]}", "yellow")
        for name in previous.keys() - current.keys():
            print_line(console, f"✓ {name} works again", "green")
        previous = current


def run_smoke_test(stack: Stack, console: Console, once: bool) -> None:
    """Run the first turn and print what to try next; without `once`, a turn that fails is printed only."""
    hints.print_model_source(stack.layout, console)
    try:
        smoke_test.run(stack, console)
    except Failure as failure:
        if once:
            raise
        print_failure(console, failure)
    if not once:
        hints.print_hints(stack, console)
        print_line(console, "Ctrl-C stops everything.", "dim")


@app.command()
def stop(data: Data = DEFAULT_DATA) -> None:
    """Stop a stack that runs in another terminal, if one does."""
    console, data_dir = terminal.console(), DataDir(data.absolute())
    with exit_on_failure(console):
        running = runner.find(data_dir)
        if running is None:
            print_line(console, f"Nothing to stop: Acme does not run on {data_dir.root}", "dim")
            return
        print_line(console, f"Stopping {running} ...", "dim")
        runner.stop(data_dir, running)
    print_line(console, f"Stopped; the data is kept in {data_dir.root}", "dim")


@app.command("status")
def show_status(data: Data = DEFAULT_DATA) -> None:
    """List which components of a running stack answer, and their addresses."""
    console, data_dir = terminal.console(), DataDir(data.absolute())
    with exit_on_failure(console):
        layout = run_file.load_layout(data_dir)
        states = list(status.component_states(data_dir))
    table = Table(
        "component", "address", "process", Column("state", overflow="fold"), box=None, pad_edge=False
    )
    for component, state in states:
        table.add_row(component.name, component.address, str(component.pid or ""), Text(state))
    console.print(table)
    for line in ["", *hints.locations(layout)]:
        print_line(console, line)
    if shortage := disk.shortage(data_dir, disk.MIN_FREE_TO_RUN):
        print_line(console, f"✗ disk: {shortage}", "bold red")
    raise typer.Exit(bool(shortage) or any(state != status.OK for _, state in states))


@app.command()
def doctor(data: Data = DEFAULT_DATA, port: Port = 8000) -> None:
    """Check whether Acme can run on this machine."""
    findings = examination.run_checks(DataDir(data.absolute()), port)
    table = Table("", "what", Column("found", overflow="fold"), box=None, pad_edge=False)
    for finding in findings:
        table.add_row("✓" if finding.is_ok else "✗", finding.name, finding.detail)
    terminal.console().print(table)
    raise typer.Exit(not all(finding.is_ok for finding in findings))


@app.command("exec", context_settings=PASS_ON)
def exec_command(
    service: Annotated[str, typer.Argument(help=", ".join(SERVICES))],
    command: Annotated[list[str], typer.Argument(help="What to run, after --")],
    data: Data = DEFAULT_DATA,
) -> None:
    """Run a command as a service of the running stack: `acme exec auth -- python -m auth keys list`."""
    with exit_on_failure(terminal.console()):
        service_shell.exec_as_service(DataDir(data.absolute()), service, command)


@events.command("dead", context_settings={**PASS_ON, "allow_extra_args": True, "help_option_names": []})
def dead_letters(context: typer.Context) -> None:
    """Dead letters: events that a service could not handle."""
    # Imported here: it takes longer than all other commands together.
    commands: typer.Typer = import_module("starter_cli.dead_letters").dead
    commands(context.args, prog_name=context.command_path)


@app.command("evals", context_settings={**PASS_ON, "allow_extra_args": True, "help_option_names": []})
def evaluations(context: typer.Context, data: Data = DEFAULT_DATA) -> None:
    """Run cases in YAML against an agent, by default of the stack that runs here."""
    with exit_on_failure(terminal.console()):
        # Imported here: it takes longer than all other commands together.
        import_module("starter_cli.evaluations").run(context.args, context.command_path, data)


@app.command("stripe", context_settings={"ignore_unknown_options": True, "help_option_names": []})
def stripe_command(
    command: Annotated[list[str] | None, typer.Argument(help="Its commands; --help lists them.")] = None,
    data: Data = DEFAULT_DATA,
) -> None:
    """Run a command of billing at Stripe as the running stack would: `acme stripe dispatches list`."""
    words = [sys.executable, "-m", "billing_webhook", "stripe", *(command or ["--help"])]
    if command and command[0] == "setup":
        # Before the stack has ever run, and into the file that it reads, unless another is named.
        words[5:5] = ["--env-file", str(CHECKOUT / ".env")]
        os.execv(words[0], words)  # noqa: S606  # our own words
    with exit_on_failure(terminal.console()):
        service_shell.exec_as_service(DataDir(data.absolute()), "billing-webhook", words)


@accounts.command("issue")
def issue_credential(
    account: Annotated[str, typer.Argument(help="Its name in the catalogue.")] = "demo-application",
    scope: Annotated[list[str] | None, typer.Option(help="May be repeated.")] = None,
    lifetime_seconds: Annotated[int, typer.Option(min=60, help="How long the credential is valid.")] = 86_400,
    data: Data = DEFAULT_DATA,
) -> None:
    """Issue a client id and secret at the stack that runs, as lines for a shell's `eval`."""
    # Imported here: Vault's client takes longer to load than most commands.
    service_accounts = import_module("starter_cli.service_accounts")
    with exit_on_failure(terminal.console()):
        layout = run_file.load_layout(DataDir(data.absolute()))
        scopes = scope or ["conversations:read", "conversations:write"]
        typer.echo(service_accounts.issue(layout, account, scopes, lifetime_seconds))


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
    with exit_on_failure(console):
        layout = run_file.load_layout(DataDir(data.absolute()))
        if password is None and not update:
            password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
        print_line(console, owner.seed(layout, [*options, *names], password).strip())


if __name__ == "__main__":
    app()
