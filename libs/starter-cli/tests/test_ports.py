import os
import socket

import pytest
from starter_cli import ports
from starter_cli.errors import Failure
from starter_cli.ports import PortBlock


def test_two_stacks_never_share_a_port() -> None:
    names = [str(number) for number in range(20)]
    blocks = [PortBlock(names) for _ in range(20)]
    taken = [port for block in blocks for port in block.ports.values()]
    for block in blocks:
        block.release()
    assert len(set(taken)) == 400


def test_every_port_of_a_block_can_be_listened_on() -> None:
    block = PortBlock(["one", "two"])
    for port in block.ports.values():
        socket.create_server((ports.HOST, port)).close()
    block.release()


def test_a_port_with_a_server_is_not_free() -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:  # noqa: S104
        assert not ports.is_free(server.getsockname()[1])


def test_says_who_has_the_port() -> None:
    with socket.create_server((ports.HOST, 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(Failure, match=rf"port {port} is taken by .*\(process {os.getpid()}\).*--port"):
            ports.require(port)


def test_is_content_with_a_free_port() -> None:
    block = PortBlock(["gateway"])
    ports.require(block.ports["gateway"])
    block.release()


def test_asks_for_no_more_ports_than_a_block_has() -> None:
    with pytest.raises(Failure, match="25 are needed, and a stack has 24"):
        PortBlock([str(number) for number in range(ports.BLOCK_SIZE)])


def test_takes_the_block_of_the_run_before_if_it_is_free() -> None:
    first = PortBlock(["one"])
    other = PortBlock(["one"], first.first)
    assert other.first != first.first
    first.release()
    again = PortBlock(["one"], first.first)
    assert again.first == first.first
    for block in (other, again):
        block.release()


def test_an_impossible_block_is_not_taken() -> None:
    block = PortBlock(["one"], 80)
    assert block.first in ports.BASES
    block.release()
