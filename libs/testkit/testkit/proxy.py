"""A TCP connection that can be cut, or stand still, whenever a test wants it to."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Self

CHUNK = 65536


class Proxy:
    """Stands in front of a server on loopback, at `port`; passes everything on while it is open."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._connections: set[socket.socket] = set()
        self._is_cut = False
        self._flows = threading.Event()
        self._flows.set()

    @contextlib.contextmanager
    def cut(self) -> Iterator[None]:
        """Break every connection, and let nobody through until the block ends."""
        self._is_cut = True
        self._cut()
        yield
        self._is_cut = False

    @contextlib.contextmanager
    def stalled(self) -> Iterator[None]:
        """Pass nothing on until the block ends, then all of it; connections stand."""
        self._flows.clear()
        yield
        self._flows.set()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_cut = True
        self._flows.set()
        # Wakes the thread that accepts, which closing alone does not.
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._cut()

    def _cut(self) -> None:
        for one in list(self._connections):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                if self._is_cut:
                    near.close()
                else:
                    self._join(near)

    def _join(self, near: socket.socket) -> None:
        far = socket.create_connection(("127.0.0.1", self._target))
        self._connections |= {near, far}
        for one, other in ((near, far), (far, near)):
            threading.Thread(target=self._forward, args=(one, other), daemon=True).start()

    def _forward(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(CHUNK):
                self._flows.wait()
                other.sendall(data)
        for each in (one, other):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._connections.discard(one)
        one.close()
