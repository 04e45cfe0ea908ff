"""The client's IP address, as far as our own proxies vouch for it."""

from ipaddress import IPv6Address, ip_address, ip_network

from starlette.requests import HTTPConnection

IPV6_SITE_BITS, IPV6_MASK_BITS = 64, 48


def client_ip(connection: HTTPConnection) -> str:
    """Return the canonical address of the client; empty when it is unknown.

    Each trusted proxy appends the address that it was called from, so only that many entries at the end of
    X-Forwarded-For are true; the ones before are whatever the client wrote.
    """
    trusted: int = connection.app.state.resources.settings.trusted_proxy_count
    hops = [hop.strip() for line in connection.headers.getlist("X-Forwarded-For") for hop in line.split(",")]
    peer = connection.client.host if connection.client else ""
    claimed = hops[-trusted] if 0 < trusted <= len(hops) else peer
    return canonical(claimed) or canonical(peer)


def canonical(address: str) -> str:
    """Return the canonical form of an address, or an empty text for an invalid one."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return ""
    return str((isinstance(parsed, IPv6Address) and parsed.ipv4_mapped) or parsed)


def network_of(address: str) -> str:
    """Return what counts as one client: an address, of IPv6 the /64, because one customer has all of it."""
    plain = canonical(address)
    return str(ip_network(f"{plain}/{IPV6_SITE_BITS}", strict=False)) if ":" in plain else plain or "unknown"


def mask_ip(address: str) -> str | None:
    """Mask an address down to its network: `203.0.113.x`, `2001:db8:1::/48`."""
    plain = canonical(address.partition("/")[0])
    if ":" in plain:
        return str(ip_network(f"{plain}/{IPV6_MASK_BITS}", strict=False))
    return f"{plain.rpartition('.')[0]}.x" if plain else None
