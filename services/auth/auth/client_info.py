"""The client of the current request; only digests of its address are stored."""

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from servicekit.client_ip import client_ip, network_of

from auth.security.keyed_hash import keyed_hash
from auth.services import AuthServices

MAX_USER_AGENT = 512


@dataclass(frozen=True)
class ClientInfo:
    """A client: its address (of IPv6 the /64), the digests of that, and its user agent.

    Earlier requests may be stored under any of the digests; the first is used for new rows.
    """

    address: str
    digests: tuple[bytes, ...]
    user_agent: str | None

    @property
    def digest(self) -> bytes:
        """The digest of the address that is stored."""
        return self.digests[0]


_current: ContextVar[ClientInfo | None] = ContextVar("origin", default=None)


async def bind_client_info(request: Request) -> ClientInfo:
    """Bind the client of a request to its context, for the audit log."""
    services: AuthServices = request.app.state.services
    address = network_of(client_ip(request))
    digests = tuple(keyed_hash(salt, "address", address) for salt in services.settings.address_salts)
    client = ClientInfo(address, digests, (request.headers.get("User-Agent") or "")[:MAX_USER_AGENT] or None)
    _current.set(client)
    return client


def current_client() -> ClientInfo | None:
    """Return the client of the current request, if there is one."""
    return _current.get()


RequestClient = Annotated[ClientInfo, Depends(bind_client_info)]
