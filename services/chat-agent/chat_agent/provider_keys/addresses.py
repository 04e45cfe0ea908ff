"""Base URLs of tenants' own: they lead to public hosts only, also after their names lead elsewhere."""

import socket
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult

from chat_agent.clients.public_hosts import HostNotPublic, resolve_public
from chat_agent.clients.public_http import DEFAULT_PORTS, PORTS
from chat_agent.provider_keys.errors import InvalidBaseUrl


async def check_base_url(url: str, private_hosts: frozenset[str]) -> None:
    """Raise InvalidBaseUrl for an address that may not be called; `private_hosts` (`host:port`) may be."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        raise InvalidBaseUrl from None
    if not host or port is None or parts.username is not None or parts.query or parts.fragment:
        raise InvalidBaseUrl
    if f"{host}:{port}" in private_hosts:
        return
    if parts.scheme != "https" or port not in PORTS:
        raise InvalidBaseUrl
    try:
        await resolve_public(host, port)
    except HostNotPublic:
        raise InvalidBaseUrl from None


class PublicResolver(AbstractResolver):
    """Resolves names to the addresses that were checked, which are then connected to.

    An address that is no name is not resolved: it was checked when it was stored.
    """

    def __init__(self, private_hosts: frozenset[str]) -> None:
        self._private_hosts = private_hosts

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002
    ) -> list[ResolveResult]:
        """Return the addresses of a host; raises OSError unless all of them are public."""
        if f"{host}:{port}" in self._private_hosts:
            addresses = [host if host != "localhost" else "127.0.0.1"]
        else:
            try:
                addresses = list(await resolve_public(host, port))
            except HostNotPublic as error:
                raise OSError("the host is not public") from error
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Do nothing: nothing is open."""
