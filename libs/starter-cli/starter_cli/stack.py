"""The stack as one thing: start all of Acme on this machine, handle its components by name, stop it."""

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
from starter_cli.components import Component
from starter_cli.errors import Failure
from starter_cli.owner import Owner
from starter_cli.paths import (
    DEFAULT_DATA,
    SECRETS,
    TOKENS_PER_SECOND,
    DataDir,
    Layout,
    port_names,
    replica_names,
)
from starter_cli.plan import Plan
from starter_cli.startup import Callback, Progress, run_steps
from starter_cli.supervisor import Supervisor

# The components of a run that was killed need a moment to notice.
PORT_RELEASE_SECONDS = 12


def ignore_progress(_progress: Progress) -> None:
    """Ignore it."""


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
        on_progress: Callback = ignore_progress,
        *,
        durable: bool = True,
        replicas: Mapping[str, int] | None = None,
        settings: Mapping[str, Mapping[str, str]] | None = None,
        tokens_per_second: float = TOKENS_PER_SECOND,
    ) -> None:
        self.data_dir = DataDir(Path(data).absolute())
        self._port, self._on_progress, self._durable = port, on_progress, durable
        self._replicas, self._settings = replica_names(replicas), settings or {}
        self._tokens_per_second = tokens_per_second
        self._stopping = Event()
        self._cleanup = ExitStack()
        self._supervisors: dict[str, Supervisor] = {}
        # Whether there is anything to stop.
        self.has_started = False

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
        """Start every component and wait until all answer; raises Failure, and leaves what runs to stop()."""
        self._prepare()
        self.has_started = True
        stack_plan = plan.build(self.layout)
        self._register_cleanup(stack_plan)

        def report(progress: Progress) -> None:
            run_file.write(self.layout, stack_plan.components)
            self._on_progress(progress)

        run_steps(plan.build_steps(stack_plan, self.layout, self._stopping), self._stopping, report)
        self._supervise(stack_plan.components)

    def stop(self) -> None:
        """Stop all that was started, the last component first."""
        self._stopping.set()
        self._cleanup.close()

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
        return owner.first_owner(self.layout)

    @property
    def problems(self) -> dict[str, str]:
        """Why components do not come up, of those that do not."""
        return {name: one.problem for name, one in self._supervisors.items() if one.problem}

    def pid(self, component: str) -> int | None:
        """Return the process id of a component, while it runs."""
        return self._supervisors[component].component.pid

    def kill(self, component: str) -> None:
        """End a component at once, as kill -9 does; like any that dies, it is started again."""
        if pid := self.pid(component):
            os.kill(pid, signal.SIGKILL)

    @contextmanager
    def frozen(self, component: str) -> Iterator[None]:
        """Suspend a component for a while, as on a machine that is overloaded."""
        pid = self.pid(component)
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

    def stopped(self, component: str) -> AbstractContextManager[None]:
        """Stop a component for a while."""
        return self._supervisors[component].paused()

    def restart(self, component: str) -> None:
        """Stop a component in good order, and start it again."""
        with self.stopped(component):
            pass

    def _prepare(self) -> None:
        binaries.require_all()
        self.data_dir.create()
        self._cleanup.callback(os.close, runner.acquire(self.data_dir, self._port))
        if shortage := disk.shortage(self.data_dir, disk.MIN_FREE_TO_START):
            raise Failure("disk", shortage)
        timeout = PORT_RELEASE_SECONDS if self.data_dir.run_file.exists() else 0
        if self._port is not None:
            ports.require(self._port, timeout)
        block = self._reserve_ports(timeout)
        numbers = {**block.ports, "gateway": self._port or block.ports["gateway"]}
        values = secrets.load_or_create(self.data_dir.secrets_file, SECRETS)
        self.layout = Layout(
            self.data_dir,
            numbers,
            values,
            self._durable,
            self._replicas,
            self._settings,
            self._tokens_per_second,
        )

    def _reserve_ports(self, timeout: float) -> ports.PortBlock:
        """Reserve the ports of the run before, if they are free: bookmarks of the inbox stay good."""
        previous = 0
        with suppress(FileNotFoundError, ValueError):
            previous = int(self.data_dir.ports_file.read_text())
        block = ports.PortBlock(port_names(self._replicas), previous, timeout)
        self._cleanup.callback(block.release)
        self.data_dir.ports_file.write_text(f"{block.first}\n")
        return block

    def _register_cleanup(self, stack_plan: Plan) -> None:
        """Register that the components are stopped, the last first, and that their supervisors end then."""
        self._cleanup.callback(self._join_supervisors)
        for layer in stack_plan.layers:
            self._cleanup.callback(stop_together, layer)
        self._cleanup.callback(self.data_dir.run_file.unlink, missing_ok=True)

    def _supervise(self, components: Sequence[Component]) -> None:
        self._supervisors = {
            component.name: Supervisor(component, self._stopping, self._on_progress, self._write_run_file)
            for component in components
        }
        self._write_run_file()
        for supervisor in self._supervisors.values():
            supervisor.start()

    def _join_supervisors(self) -> None:
        for supervisor in self._supervisors.values():
            supervisor.join()

    def _write_run_file(self) -> None:
        components = [supervisor.component for supervisor in self._supervisors.values()]
        with suppress(OSError):  # a full disk must not end the supervisors, which write this down
            run_file.write(self.layout, components, self.problems)


def stop_together(components: Sequence[Component]) -> None:
    """Stop components that do not need each other."""
    with ThreadPoolExecutor(len(components)) as pool:
        list(pool.map(lambda component: component.stop(), components))
