"""Names of tenants' own servers: they lead to public hosts only, also after they lead elsewhere."""

import socket

from aiohttp.abc import AbstractResolver, ResolveResult

from chat_agent.clients.public_hosts import HostNotPublic, resolve_public


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
                raise OSError("the host is not public, or its name cannot be resolved") from error
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
