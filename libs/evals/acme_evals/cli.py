"""The commands: run cases, make one of feedback, write the schema for editors."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, NoReturn
from urllib.parse import quote

import typer
from acme_client import AcmeClient, ApiError, Password
from acme_client.credentials import AccessToken, Credentials
from rich.console import Console

from acme_evals import cases, comparison, feedback, running
from acme_evals.errors import UNUSABLE, InvalidInput, unusable

BAD_INPUT = 2


class FeedbackMissing(Exception):
    """An agent has no feedback on a run."""


app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # there are secrets among them
    help="Cases in YAML, run against an agent over the HTTP API.",
)

File = Annotated[Path, typer.Argument(help="Cases in YAML.")]
Url = Annotated[str, typer.Option(envvar="ACME_URL", help="The gateway's address.")]
Token = Annotated[str, typer.Option(envvar="ACME_TOKEN", help="An access token or API key.")]
Email = Annotated[str, typer.Option(envvar="ACME_EMAIL", help="In place of a token, with ACME_PASSWORD.")]
PasswordText = Annotated[str, typer.Option(envvar="ACME_PASSWORD", hidden=True)]


@app.command()
def run(  # noqa: PLR0913, PLR0917  # the options of a command
    file: File,
    url: Url = "http://127.0.0.1:8000",
    token: Token = "",
    email: Email = "",
    password: PasswordText = "",
    agent: Annotated[str, typer.Option(help="Where a case names none.")] = "triage",
    baseline: Annotated[Path | None, typer.Option(help="A report of --json to compare with.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the report here.")] = None,
    fail_under: Annotated[float, typer.Option(min=0, max=1, help="The share that must pass.")] = 1.0,
    tolerance: Annotated[float, typer.Option(min=0, max=1, help="How much less a score may be.")] = 0.1,
    judge: Annotated[str, typer.Option(envvar="ACME_JUDGE", help="A model or agent of /v1.")] = "",
    concurrency: Annotated[int, typer.Option(min=1, max=64)] = 4,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds for a case.")] = 120,
    retries: Annotated[int, typer.Option(min=0, max=10, help="Where the model does not answer.")] = 2,
) -> None:
    """Run cases, print a table; exit code 1 when one fails or got worse, 2 when the input is wrong."""
    console = Console()
    with exit_on_bad_input():
        loaded = cases.load(file)
        before = comparison.load_report(baseline) if baseline else None
        absent = comparison.absent_cases(loaded, before, baseline) if baseline and before else []
        options = running.Options(url.rstrip("/"), agent, judge, concurrency, timeout, retries)
        report = asyncio.run(running.evaluate(loaded, options, credentials_of(token, email, password)))
        if json:
            running.write_report(report, json)
    running.print_report(console, report, before)
    problems = comparison.problems_of(report)
    worse = comparison.regressions(report, before, tolerance) if before else []
    for line in absent:
        console.print(f"- {line}", style="yellow", soft_wrap=True, markup=False, highlight=False)
    for line in [*(f"✗ {one}" for one in problems), *(f"↓ {one}" for one in worse)]:
        console.print(line, style="red", soft_wrap=True, markup=False, highlight=False)
    share = comparison.share_passed(report)
    console.print(f"{share:.1%} of {len(loaded.cases)} cases passed.", highlight=False)
    raise typer.Exit(share < fail_under or bool(worse))


@app.command("add-feedback")
def add_feedback(  # noqa: PLR0913, PLR0917  # the options of a command
    file: File,
    run: Annotated[str, typer.Option(help="The run whose answer was corrected.")],
    agent: Annotated[str, typer.Option(help="That gave the answer; by default, it is looked for.")] = "",
    url: Url = "http://127.0.0.1:8000",
    token: Token = "",
    email: Email = "",
    password: PasswordText = "",
    judge: Annotated[bool, typer.Option(help="Or compare as text.")] = True,
) -> None:
    """Add a corrected answer to a file, as a case; comments and formatting of the file stay."""
    with exit_on_bad_input():
        credentials = credentials_of(token, email, password)
        corrected = asyncio.run(fetch(url, credentials, agent, run))
        is_new = feedback.add_case(file, feedback.case_of(corrected, judge))
    typer.echo(f"{file}: {'added' if is_new else 'has already'} the case 'feedback {run}'")
    if earlier := corrected["earlier_messages"]:
        typer.echo(f"It was message {earlier + 1} of its conversation. Add those before it to `messages`.")


@app.command()
def schema(file: File) -> None:
    """Write the JSON schema beside the file, so that editors complete and check it."""
    with exit_on_bad_input():
        typer.echo(f"Wrote {cases.write_schema(file)}")


async def fetch(url: str, credentials: Credentials, agent: str, run_id: str) -> dict[str, Any]:
    """Read a question with its answer and the correction; raises InvalidInput."""
    try:
        async with running.connected(url, credentials) as client:
            listed = [] if agent else await get(client, "/api/v1/agents")
            for name in [agent] if agent else [one["name"] for one in listed]:
                path = f"/api/v1/agents/{quote(name, safe='')}/feedback/{quote(run_id, safe='')}"
                with suppress(FeedbackMissing):
                    corrected: dict[str, Any] = await get(client, path)
                    return corrected
    except UNUSABLE as error:
        raise unusable(url, error) from error
    raise InvalidInput(
        f"{url}: no feedback on the run {run_id}; name its agent with --agent if it is not listed"
    )


async def get(client: AcmeClient, path: str) -> Any:
    """Read what a path has; raises FeedbackMissing, ApiError."""
    try:
        async with client.request("GET", path) as response:
            await response.aread()
            return response.json()
    except ApiError as error:
        if error.code == "feedback_not_found":
            raise FeedbackMissing from error
        raise


def credentials_of(token: str, email: str, password: str) -> Credentials:
    """Return the credentials that the options name; raises InvalidInput."""
    if not (token.isascii() and token.isprintable()):
        raise InvalidInput("ACME_TOKEN has characters that no token has. Copy the token again.")
    if token:
        return AccessToken(token)
    if email and password:
        return Password(email, password)
    raise InvalidInput("Nothing to sign in with. Set ACME_TOKEN to an API key, or pass it with --token.")


@contextmanager
def exit_on_bad_input() -> Iterator[None]:
    """Turn bad input into sentences and exit code 2."""
    try:
        yield
    except InvalidInput as error:
        fail(str(error))


def fail(text: str) -> NoReturn:
    """Print what is wrong, and exit."""
    print(text, file=sys.stderr)  # noqa: T201  # it is for people
    raise typer.Exit(BAD_INPUT)
