"""Where a request comes from, as far as our own proxies vouch for it."""

from ipaddress import IPv6Address, ip_address, ip_network
from typing import Annotated

from fastapi import Depends, Request

IPV6_SITE_BITS = 64


def client_address(request: Request) -> str:
    """Give the address of the client, or its network.

    Each trusted proxy appends the address that it was called from, so only that many entries at the end of
    X-Forwarded-For are true; the ones before are whatever the client wrote.
    """
    trusted: int = request.app.state.kit.settings.trusted_proxy_count
    hops = [hop.strip() for line in request.headers.getlist("X-Forwarded-For") for hop in line.split(",")]
    peer = request.client.host if request.client else ""
    claimed = hops[-trusted] if 0 < trusted <= len(hops) else peer
    return countable(claimed) or countable(peer) or "unknown"


def countable(address: str) -> str | None:
    """Write an address one way; of IPv6 the /64, because a single customer has all of it."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return None
    if isinstance(parsed, IPv6Address):
        inner = parsed.ipv4_mapped
        return str(inner or ip_network((int(parsed), IPV6_SITE_BITS), strict=False))
    return str(parsed)


ClientAddress = Annotated[str, Depends(client_address)]
