"""URLs that tenants and users supply: what is wrong with one, before it is stored or passed on."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx2

from chat_agent.clients.public_hosts import HostNotPublic, is_visibly_public, resolve_public
from chat_agent.clients.public_http import DEFAULT_PORTS, PORTS, PRIVATE_HOSTS_HINT, host_and_port, port_of

# Printable ASCII without the backslash, which some parsers read as a slash.
AUTHORITY = re.compile(r"[!-\[\]-~]*")


def form_problems(url: str) -> Iterator[str]:
    """Yield why a text is not the URL of a web server, or why it is ambiguous."""
    try:
        parts, parsed = urlsplit(url), httpx2.URL(url)
        host, port = parts.hostname or "", parts.port
    except (ValueError, httpx2.InvalidURL):
        yield "This is no address."
        return
    # Two parsers that disagree would let one host be checked and another be called.
    if not AUTHORITY.fullmatch(parts.netloc) or parsed.host != host:
        yield "This is no address: write its host in lower-case letters without accents."
    elif parts.scheme not in DEFAULT_PORTS or not host or port == 0:
        yield "The address must begin with https:// or http://, and a host."
    elif "@" in parts.netloc:
        yield "The address must not have credentials: name a secret."


def url_problems(url: str, private_hosts: frozenset[str], *, encrypted: bool = True) -> Iterator[str]:
    """Yield why a URL may not be called; where the name of its host leads, each call checks."""
    malformed = list(form_problems(url))
    if malformed or is_private(url, private_hosts):
        yield from malformed
        return
    parsed = httpx2.URL(url)
    if encrypted and parsed.scheme != "https":
        yield f"The address must begin with https://. {PRIVATE_HOSTS_HINT}"
    if port_of(parsed) not in PORTS:
        yield f"The port must be one of {', '.join(map(str, sorted(PORTS)))}. {PRIVATE_HOSTS_HINT}"
    if not is_visibly_public(parsed.host):
        yield f"The host is not public. {PRIVATE_HOSTS_HINT}"


def is_private(url: str, private_hosts: frozenset[str]) -> bool:
    """Return whether the operator allows the host of a well-formed URL, whatever it is."""
    return host_and_port(httpx2.URL(url)) in private_hosts


def is_encrypted(url: str, private_hosts: frozenset[str]) -> bool:
    """Return whether something secret may be sent to a URL."""
    if any(form_problems(url)):
        return False
    return httpx2.URL(url).scheme == "https" or is_private(url, private_hosts)


async def is_callable(url: str, private_hosts: frozenset[str]) -> bool:
    """Return whether a URL may be called now, with something secret."""
    if any(url_problems(url, private_hosts)):
        return False
    return is_private(url, private_hosts) or await is_public(url)


async def is_public(url: str) -> bool:
    """Return whether a URL is https, and all addresses of its host are public."""
    if not is_encrypted(url, frozenset()):
        return False
    parsed = httpx2.URL(url)
    try:
        await resolve_public(parsed.host, port_of(parsed))
    except HostNotPublic:
        return False
    return True
