"""Starts chat-agent again when the code of agents changes, in development."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread

from starter_cli.errors import Failure
from starter_cli.paths import service_dir
from starter_cli.stack import Stack

POLL_SECONDS = 1.0
GROUPS = ("acme.agents", "acme.tools")
Fingerprint = dict[Path, int]


@contextmanager
def reloading(stack: Stack, on_restart: Callable[[str], None]) -> Iterator[None]:
    """Restart chat-agent whenever its agents change, until the block ends."""
    replicas = [name for name, service in stack.layout.replicas.items() if service == "chat-agent"]

    def restart() -> None:
        for replica in replicas:
            on_restart(replica)
            with suppress(Failure):  # the supervisor says why it does not come up, and tries again
                stack.restart(replica)

    ended = Event()
    thread = Thread(target=watch, args=(folders(), restart, ended), name="code reload")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def watch(watched: list[Path], on_change: Callable[[], None], ended: Event) -> None:
    """Call a function whenever a Python file in one of the folders changes."""
    before = fingerprint(watched)
    while not ended.wait(POLL_SECONDS):
        now = fingerprint(watched)
        if now != before:
            on_change()
        before = now


def fingerprint(watched: list[Path]) -> Fingerprint:
    """Return when each Python file was changed."""
    times: Fingerprint = {}
    for folder in watched:
        for path in folder.rglob("*.py"):
            with suppress(OSError):  # an editor replaces files
                times[path] = path.stat().st_mtime_ns
    return times


def folders() -> list[Path]:
    """Return the folders with the code of agents: the service's, and those of installed packages."""
    own = service_dir("chat-agent") / "chat_agent" / "agents"
    names = {entry.module.partition(".")[0] for group in GROUPS for entry in entry_points(group=group)}
    specs = [find_spec(name) for name in sorted(names)]
    return [own, *(Path(place) for spec in specs if spec for place in spec.submodule_search_locations or ())]
