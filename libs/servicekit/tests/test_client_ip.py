"""Where a request comes from: only what our own proxies have written is believed."""

from types import SimpleNamespace

import pytest
from servicekit.client_ip import client_ip, network_of
from starlette.applications import Starlette
from starlette.requests import HTTPConnection


def found(forwarded: list[str], proxies: int, peer: str | None = "10.0.0.9") -> str:
    app = Starlette()
    app.state.resources = SimpleNamespace(settings=SimpleNamespace(trusted_proxy_count=proxies))
    headers = [(b"x-forwarded-for", line.encode()) for line in forwarded]
    client = (peer, 1) if peer else None
    return client_ip(HTTPConnection({"type": "http", "app": app, "headers": headers, "client": client}))


@pytest.mark.parametrize(
    ("forwarded", "proxies", "address"),
    [
        ([], 1, "10.0.0.9"),
        (["198.51.100.1, 203.0.113.7"], 0, "10.0.0.9"),
        (["198.51.100.1, 203.0.113.7"], 1, "203.0.113.7"),
        (["198.51.100.1, 203.0.113.7"], 2, "198.51.100.1"),
        (["198.51.100.1", "203.0.113.7"], 1, "203.0.113.7"),
        # Too short to have come through all of them.
        (["203.0.113.7"], 2, "10.0.0.9"),
        (["203.0.113.7, nonsense"], 1, "10.0.0.9"),
        (["203.0.113.7,"], 1, "10.0.0.9"),
        (["2001:DB8:0:0:1::1"], 1, "2001:db8::1:0:0:1"),
        (["::ffff:203.0.113.7"], 1, "203.0.113.7"),
    ],
)
def test_believes_only_what_its_own_proxies_have_written(
    forwarded: list[str], proxies: int, address: str
) -> None:
    assert found(forwarded, proxies) == address


def test_says_nothing_of_one_whom_nobody_knows() -> None:
    assert found(["nonsense"], 1, peer=None) == ""


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("", "unknown"),
        ("nonsense", "unknown"),
    ],
)
def test_counts_a_customer_once(address: str, counted: str) -> None:
    assert network_of(address) == counted
