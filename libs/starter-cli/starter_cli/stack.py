"""The stack as one thing: start all of Acme on this machine, handle its parts by name, stop it."""

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Self

from starter_cli import binaries, disk, owner, plan, ports, run_file, runner, secrets
from starter_cli.components import Part
from starter_cli.errors import Failure
from starter_cli.owner import Owner
from starter_cli.paths import (
    DEFAULT_DATA,
    SECRETS,
    TOKENS_PER_SECOND,
    Folders,
    Layout,
    port_names,
    replicas_of,
)
from starter_cli.plan import Plan
from starter_cli.startup import Happening, Tell, run_all
from starter_cli.supervisor import Keeper

# The parts of a run that was killed need a moment to notice.
GIVE_WAY_SECONDS = 12


def tell_nobody(_happening: Happening) -> None:
    """Keep it to ourselves."""


class Stack(AbstractContextManager["Stack"]):
    """All of Acme on this machine, as a context manager; without a port for the gateway, on a free one.

    What is `durable` survives a loss of power, too. `replicas` says of which services there are more than one
    (`{"chat-agent": 2}`), `settings` what a service, or the gateway, is told beyond the usual.
    """

    layout: Layout

    def __init__(  # noqa: PLR0913  # each by its name
        self,
        data: Path | str = DEFAULT_DATA,
        port: int | None = None,
        tell: Tell = tell_nobody,
        *,
        durable: bool = True,
        replicas: Mapping[str, int] | None = None,
        settings: Mapping[str, Mapping[str, str]] | None = None,
        tokens_per_second: float = TOKENS_PER_SECOND,
    ) -> None:
        self.folders = Folders(Path(data).absolute())
        self._port, self._tell, self._durable = port, tell, durable
        self._replicas, self._settings = replicas_of(replicas), settings or {}
        self._tokens_per_second = tokens_per_second
        self._ending = Event()
        self._undo = ExitStack()
        self._keepers: dict[str, Keeper] = {}
        # Whether there is anything to stop.
        self.has_begun = False

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start every part and return when all answer. Raises Failure; what was started is for stop()."""
        self._prepare()
        self.has_begun = True
        parts = plan.make(self.layout)
        self._promise_to_stop(parts)

        def tell(happening: Happening) -> None:
            run_file.write(self.layout, parts.parts)
            self._tell(happening)

        run_all(plan.steps(parts, self.layout, self._ending), self._ending, tell)
        self._keep(parts)

    def stop(self) -> None:
        """Stop all that was started, the last part first."""
        self._ending.set()
        self._undo.close()

    @property
    def gateway_url(self) -> str:
        """Where clients go."""
        return self.layout.gateway_url

    @property
    def sandbox_url(self) -> str:
        """Where the sandbox is."""
        return self.layout.sandbox_url

    @property
    def inbox_url(self) -> str:
        """Where the mail that the sandbox took can be read."""
        return self.layout.inbox_url

    @property
    def owner(self) -> Owner:
        """The owner of the first tenant."""
        return owner.of(self.layout)

    def pid(self, part: str) -> int | None:
        """Give the process id of a part, while it runs."""
        return self._keepers[part].part.pid

    def kill(self, part: str) -> None:
        """End a part at once, as kill -9 does; like any that dies, it is started again."""
        if pid := self.pid(part):
            os.kill(pid, signal.SIGKILL)

    @contextmanager
    def frozen(self, part: str) -> Iterator[None]:
        """Have a part stand still for a while, as on a machine that has no time for it."""
        pid = self.pid(part)
        if pid is None:
            yield
            return
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            # It may have been killed meanwhile.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def stopped(self, part: str) -> AbstractContextManager[None]:
        """Have a part stopped for a while."""
        return self._keepers[part].paused()

    def restart(self, part: str) -> None:
        """Stop a part in good order, and start it again."""
        with self.stopped(part):
            pass

    def _prepare(self) -> None:
        binaries.require_all()
        self.folders.make()
        self._undo.callback(os.close, runner.hold(self.folders, self._port))
        if shortage := disk.shortage(self.folders, disk.LEAST_TO_START):
            raise Failure("disk", shortage)
        patience = GIVE_WAY_SECONDS if self.folders.run.exists() else 0
        if self._port is not None:
            ports.require(self._port, patience)
        block = self._take_ports(patience)
        numbers = {**block.ports, "gateway": self._port or block.ports["gateway"]}
        kept = secrets.keep(self.folders.secrets, SECRETS)
        self.layout = Layout(
            self.folders,
            numbers,
            kept,
            self._durable,
            self._replicas,
            self._settings,
            self._tokens_per_second,
        )

    def _take_ports(self, patience: float) -> ports.PortBlock:
        """Take the ports of the run before, if they are free: bookmarks of the inbox stay good."""
        before = 0
        with suppress(FileNotFoundError, ValueError):
            before = int(self.folders.ports.read_text())
        block = ports.PortBlock(port_names(self._replicas), before, patience)
        self._undo.callback(block.release)
        self.folders.ports.write_text(f"{block.first}\n")
        return block

    def _promise_to_stop(self, parts: Plan) -> None:
        """See to it that the parts are stopped, the last first."""
        for layer in parts.layers:
            self._undo.callback(stop_together, layer)
        self._undo.callback(self.folders.run.unlink, missing_ok=True)

    def _keep(self, parts: Plan) -> None:
        self._keepers = {
            part.name: Keeper(part, self._ending, self._tell, self._record) for part in parts.parts
        }
        self._record()
        for keeper in self._keepers.values():
            self._undo.callback(keeper.join)
            keeper.start()

    def _record(self) -> None:
        keepers = self._keepers.values()
        problems = {keeper.part.name: keeper.problem for keeper in keepers if keeper.problem}
        with suppress(OSError):  # a full disk must not end the keepers, which write this down
            run_file.write(self.layout, [keeper.part for keeper in keepers], problems)


def stop_together(parts: Sequence[Part]) -> None:
    """Stop parts that do not need each other."""
    with ThreadPoolExecutor(len(parts)) as pool:
        list(pool.map(lambda part: part.stop(), parts))
