"""`acme events dead`: list, show, replay and drop the events that a service could not handle."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from redis.asyncio import Redis
from redis.exceptions import RedisError
from rich.console import Console
from servicekit.events.dead_letters import (
    DeadLetter,
    DeadLetterNotFound,
    drop_dead_letter,
    get_dead_letter,
    list_dead_letters,
    replay_dead_letter,
)

from starter_cli import run_file, terminal
from starter_cli.errors import Failure
from starter_cli.exits import exit_on_failure
from starter_cli.paths import DEFAULT_DATA, SERVICES, DataDir
from starter_cli.progress import print_line

Result = TypeVar("Result")
# Changes one dead letter: replays or drops it.
Change = Callable[[Redis, str, str], Coroutine[None, None, None]]

dead = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    help="Dead letters: events that a service could not handle.",
)

Service = Annotated[str, typer.Argument(help=", ".join(SERVICES))]
Ids = Annotated[list[str], typer.Argument(help="Their ids, as `list` shows them.")]
RedisUrl = Annotated[
    str | None, typer.Option(envvar="REDIS_URL", help="By default, the Redis of the stack that runs here.")
]
Data = Annotated[Path, typer.Option(envvar="ACME_DATA", help="The data folder of that stack.")]


@dead.command("list")
def list_letters(
    service: Annotated[str | None, typer.Argument(help="By default, every service.")] = None,
    count: Annotated[int, typer.Option(min=1, help="How many of each service, the oldest first.")] = 100,
    after: Annotated[str, typer.Option(help="The last id of the page before.")] = "",
    redis_url: RedisUrl = None,
    data: Data = DEFAULT_DATA,
) -> None:
    """List the dead letters of a service, or of all."""

    async def load(redis: Redis) -> list[tuple[str, DeadLetter]]:
        return [
            (name, letter)
            for name in ([service] if service else SERVICES)
            for letter in await list_dead_letters(redis, name, count=count, after=after)
        ]

    console = terminal.console()
    with exit_on_failure(console):
        print_letters(console, run(load, service, redis_url, data))


@dead.command()
def show(service: Service, entry_id: str, redis_url: RedisUrl = None, data: Data = DEFAULT_DATA) -> None:
    """Print one dead letter whole, as JSON."""
    console = terminal.console()
    with exit_on_failure(console):
        letter = run(lambda redis: get_dead_letter(redis, service, entry_id), service, redis_url, data)
        print_line(console, json.dumps(to_json(letter), indent=2, ensure_ascii=False))


@dead.command()
def replay(service: Service, ids: Ids, redis_url: RedisUrl = None, data: Data = DEFAULT_DATA) -> None:
    """Publish dead letters again; consumers that have handled the event skip it."""
    change_each(replay_dead_letter, "replayed", service, ids, redis_url, data)


@dead.command()
def drop(service: Service, ids: Ids, redis_url: RedisUrl = None, data: Data = DEFAULT_DATA) -> None:
    """Delete dead letters for good."""
    change_each(drop_dead_letter, "dropped", service, ids, redis_url, data)


def change_each(  # noqa: PLR0913, PLR0917  # a command's arguments
    change: Change, outcome: str, service: str, ids: Iterable[str], redis_url: str | None, data: Path
) -> None:
    """Replay or drop dead letters one by one, and print each; stops at the first that cannot be found."""
    console = terminal.console()

    async def change_all(redis: Redis) -> None:
        for entry_id in ids:
            await change(redis, service, entry_id)
            print_line(console, f"{entry_id} {outcome}")

    with exit_on_failure(console):
        run(change_all, service, redis_url, data)


def run(
    work: Callable[[Redis], Coroutine[None, None, Result]], service: str | None, url: str | None, data: Path
) -> Result:
    """Run some work with a Redis client; raises Failure."""
    if service is not None and service not in SERVICES:
        raise Failure("events", f"there is no service {service}; choose one of {', '.join(SERVICES)}")
    url = url or run_file.load_layout(DataDir(data.absolute())).valkey.url

    async def connected() -> Result:
        async with Redis.from_url(url, socket_connect_timeout=5, socket_timeout=10) as redis:
            return await work(redis)

    try:
        return asyncio.run(connected())
    except DeadLetterNotFound as error:
        raise Failure(
            "events", f"{service} has no dead letter with this id; `list` shows those it has"
        ) from error
    except (RedisError, ValueError) as error:
        raise Failure("Redis", f"it cannot be used: {error}. Check --redis-url") from error


def print_letters(console: Console, letters: list[tuple[str, DeadLetter]]) -> None:
    """Print two lines for each: what it is, and why; not a table, which would cut ids where it is narrow."""
    for service, letter in letters:
        event = letter.fields.get(b"type", b"?").decode(errors="replace")
        tries = f"{letter.deliveries} tries"
        print_line(console, f"{service}  {letter.entry_id}  {since(letter)}  {event}  {tries}", "bold")
        print_line(console, f"    {letter.reason}")
    if not letters:
        print_line(console, "There are no dead letters.")


def since(letter: DeadLetter) -> str:
    """Return when an event became a dead letter: Redis puts the time into the id."""
    milliseconds = int(letter.entry_id.partition("-")[0])
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M:%S}Z"


def to_json(letter: DeadLetter) -> Mapping[str, object]:
    """Describe a dead letter: why it is one, and the event's attributes and data."""
    return {
        "id": letter.entry_id,
        "since": since(letter),
        "stream": letter.stream,
        "deliveries": letter.deliveries,
        "reason": letter.reason,
        "event": {name.decode(errors="replace"): parse(value) for name, value in letter.fields.items()},
    }


def parse(value: bytes) -> object:
    """Return JSON as what it says, and anything else as text."""
    text = value.decode(errors="replace")
    try:
        return json.loads(text) if text.startswith(("{", "[")) else text
    except ValueError:
        return text
