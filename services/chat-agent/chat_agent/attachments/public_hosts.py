"""Addresses that users send: whether their host is public.

The service never fetches them. The model's provider does, which may be a server of the private network.
"""

import asyncio
import ipaddress
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from urllib.parse import urlsplit

RESOLVE_SECONDS = 5.0
# Threads of their own: names that are slow to resolve delay nothing else.
RESOLVERS = ThreadPoolExecutor(4, "resolver")


async def is_public(url: str) -> bool:
    """Return whether an address is https, without credentials, and all addresses of its host are public."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return False
    if parts.scheme.lower() != "https" or not host or parts.username is not None:
        return False
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            lookup = partial(socket.getaddrinfo, host, port or 443, type=socket.SOCK_STREAM)
            found = await asyncio.get_running_loop().run_in_executor(RESOLVERS, lookup)
    except (OSError, UnicodeError, TimeoutError):
        return False
    return bool(found) and all(is_global(str(address[0])) for *_, address in found)


def is_global(address: str) -> bool:
    """Return whether an IP address is public, also one of version 4 that is written as version 6."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        embedded = ip.ipv4_mapped or ip.sixtofour
        if embedded is not None:
            return embedded.is_global and not embedded.is_multicast
        if ip in NAT64:
            return False
    return ip.is_global and not ip.is_multicast


NAT64 = ipaddress.ip_network("64:ff9b::/96")
