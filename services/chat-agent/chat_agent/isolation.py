"""Code in a run that raises what ends a process or a generator: it fails, and the process goes on.

asyncio ends its loop, and with it the runs of everybody, when a task raises SystemExit or KeyboardInterrupt.
"""

import asyncio
from collections.abc import Coroutine, Generator, Iterator
from contextvars import ContextVar
from typing import Any

# Whether the current task works for a run, and so may call tools and agents of packages.
IN_RUN: ContextVar[bool] = ContextVar("IN_RUN", default=False)


class CodeExited(Exception):
    """Code raised what ends more than itself: `sys.exit()`, KeyboardInterrupt, GeneratorExit."""


class Isolated(Coroutine[Any, Any, Any]):
    """A coroutine that raises CodeExited in place of what is neither an Exception nor a cancellation.

    No `async def`: of one that is cancelled before it starts, the inner coroutine would never be awaited.
    """

    def __init__(self, work: Coroutine[Any, Any, Any] | Generator[Any, Any, Any]) -> None:
        self._work = work

    def __getattr__(self, name: str) -> Any:
        """Return what libraries read of coroutines, such as `cr_frame`."""
        return getattr(self._work, name)

    def __await__(self) -> Generator[Any, Any, Any]:
        """Return what an await of this iterates over."""
        return self  # type: ignore[return-value]  # it has all that an await needs of a generator

    def __iter__(self) -> Iterator[Any]:
        """See `__await__`."""
        return self

    def __next__(self) -> Any:
        """See `send`."""
        return self.send(None)

    def send(self, value: Any) -> Any:
        """Run until the next wait."""
        try:
            return self._work.send(value)
        except (Exception, asyncio.CancelledError):
            raise
        except BaseException as error:
            raise CodeExited from error

    def throw(self, *error: Any) -> Any:
        """Raise an error, mostly a cancellation, where it waits, and run until the next wait."""
        try:
            return self._work.throw(*error)
        except (Exception, asyncio.CancelledError):
            raise
        except BaseException as raised:
            raise CodeExited from raised

    def close(self) -> None:
        """Close it as coroutines are closed, by a GeneratorExit that is its own."""
        self._work.close()


def create_task(
    loop: asyncio.AbstractEventLoop,
    work: Coroutine[Any, Any, Any] | Generator[Any, Any, Any],
    **options: Any,
) -> asyncio.Task[Any]:
    """Create a task; that of a run is isolated. A task factory, for the loop that executes runs."""
    return asyncio.Task(Isolated(work) if IN_RUN.get() else work, loop=loop, **options)
