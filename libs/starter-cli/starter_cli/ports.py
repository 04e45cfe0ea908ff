"""Ports: a block of free ones that no other stack on this machine takes, and who holds a given one."""

import random
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial

import psutil  # type: ignore[import-untyped]  # it ships no types
from sandbox.processes import wait_until

from starter_cli.errors import Failure

HOST = "127.0.0.1"
# Below the ranges that systems take the ports of outgoing connections from, which could come in between.
MIN_PORT, MAX_PORT, BLOCK_SIZE = 20_000, 30_000, 25
BASES = range(MIN_PORT, MAX_PORT, BLOCK_SIZE)
# `make run` passes no options.
CHOICE = "--port or GATEWAY_PORT"


class PortBlock:
    """Ports by name, ours until released: a socket on the block's first port keeps other stacks out.

    The block that begins at `first` is taken if it is free, if need be after `patience` seconds.
    """

    def __init__(self, names: Sequence[str], first: int = 0, timeout: float = 0) -> None:
        if len(names) >= BLOCK_SIZE:
            raise Failure("ports", f"{len(names)} are needed, and a stack has {BLOCK_SIZE - 1}")
        if first in BASES and wait_until(partial(self._reserve, first, names), seconds=timeout):
            return
        if not any(self._reserve(base, names) for base in random.sample(BASES, len(BASES))):
            raise Failure("ports", f"there are no {len(names)} free ports between {MIN_PORT} and {MAX_PORT}")

    def _reserve(self, base: int, names: Sequence[str]) -> bool:
        with suppress(OSError):
            self._bound = bind(base)
            self.first = base
            self.ports: Mapping[str, int] = dict(zip(names, range(base + 1, base + BLOCK_SIZE), strict=False))
            if all(is_free(port) for port in self.ports.values()):
                return True
            self.release()
        return False

    def release(self) -> None:
        """Release the block."""
        self._bound.close()


def bind(port: int) -> socket.socket:
    """Bind a port without listening on it; raises OSError where it is in use."""
    sock = socket.socket()
    try:
        sock.bind((HOST, port))
    except OSError:
        sock.close()
        raise
    return sock


def is_free(port: int) -> bool:
    """Return whether a server could listen on a port now."""
    # Some systems let a server listen on one address beside another that listens on all of them.
    with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return False
    with suppress(OSError), socket.create_server((HOST, port)):
        return True
    return False


def require(port: int, timeout: float = 0) -> None:
    """Raise, saying who has it, unless the gateway can have this port, if need be after some seconds."""
    if wait_until(lambda: is_free(port), seconds=timeout):
        return
    reason = f"port {port} is taken by {describe_listener(port)}; stop that, or choose another with {CHOICE}"
    if is_reserved(port):
        reason = f"port {port} is not for ordinary users; choose one above 1023 with {CHOICE}"
    raise Failure("gateway", reason)


def is_reserved(port: int) -> bool:
    """Return whether the system keeps a port from this account."""
    try:
        bind(port).close()
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def describe_listener(port: int) -> str:
    """Name the program that listens on a port, as far as the system tells us."""
    with suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                process = psutil.Process(connection.pid)
                return f"{process.name()} (process {process.pid}{describe_stack(process)})"
    return "another program"


def describe_stack(process: psutil.Process) -> str:
    """Return which Acme a process belongs to, if it is one of another checkout or folder."""
    with suppress(psutil.Error):  # of other people's programs the system may tell nothing
        for parent in process.parents():
            if "starter_cli" in " ".join(parent.cmdline()):
                return f", of Acme that process {parent.pid} runs in {parent.cwd()}"
    return ""
