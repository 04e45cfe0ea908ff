"""Addresses that users and models name: whether their host is public, by all of its IP addresses."""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

RESOLVE_SECONDS = 5.0
# Threads of their own: names that are slow to resolve delay nothing else. More than the requests that one
# tenant may have under way, whose name server may not answer.
RESOLVERS = ThreadPoolExecutor(40, "resolver")
# Names of the metadata services of clouds, wherever they lead.
METADATA_NAMES = frozenset(
    {
        "instance-data",
        "instance-data.ec2.internal",
        "metadata",
        "metadata.azure.internal",
        "metadata.google.internal",
        "metadata.tencentyun.com",
    }
)
# Octal, hexadecimal, fewer than four numbers: resolvers read these as an IPv4 address.
NUMBERS = re.compile(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+)){0,3}\.?", re.IGNORECASE)
SPECIAL_IPV4 = [
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
]
# All else is loopback, private, link-local, multicast, mapped or translated IPv4, or not assigned.
UNICAST_IPV6 = ipaddress.IPv6Network("2000::/3")
SPECIAL_IPV6 = [
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",
        "2002::/16",  # 6to4
        "3fff::/20",
    )
]


class HostNotPublic(Exception):
    """The host of an address is not public, or cannot be resolved."""


def is_visibly_public(host: str) -> bool:
    """Return whether a host may be public, as far as it shows without resolving its name."""
    name = host.lower().rstrip(".")
    if name in METADATA_NAMES or is_odd_ipv4(name) or name == "localhost" or name.endswith(".localhost"):
        return False
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return True
    return is_global(name)


async def resolve_public(host: str, port: int) -> Sequence[str]:
    """Return the IP addresses of a host; raises HostNotPublic unless all of them are public."""
    if not is_visibly_public(host):
        raise HostNotPublic(host)
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            lookup = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
            results = await asyncio.get_running_loop().run_in_executor(RESOLVERS, lookup)
    except (OSError, UnicodeError, TimeoutError) as error:
        raise HostNotPublic(host) from error
    addresses = [str(address[0]) for *_, address in results]
    if not addresses or not all(map(is_global, addresses)):
        raise HostNotPublic(host)
    return addresses


def is_odd_ipv4(name: str) -> bool:
    """Return whether a name is an IPv4 address in another spelling than four decimal numbers."""
    if not NUMBERS.fullmatch(name):
        return False
    try:
        ipaddress.IPv4Address(name)
    except ValueError:
        return True
    return False


def is_global(address: str) -> bool:
    """Return whether an IP address is public; one that embeds an address of version 4 is not."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv4Address):
        return not any(ip in network for network in SPECIAL_IPV4)
    return ip in UNICAST_IPV6 and not any(ip in network for network in SPECIAL_IPV6)
