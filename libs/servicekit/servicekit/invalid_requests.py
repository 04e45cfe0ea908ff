"""Rate limits for invalid requests: too many from a client are answered 429.

They count by the client's address, on every route, and against the rates that the route names itself with
`count_against`. Valid requests from the same address go on being answered: it may be that of a whole
office. While Redis is away each process counts by itself (see `rates`).
"""

from starlette.requests import HTTPConnection
from starlette.types import Scope

from servicekit.auth.call_limits import CallRates
from servicekit.client_ip import client_ip, network_of
from servicekit.rate_limits import Rate

STATUSES = frozenset({400, 413, 414, 415, 422, 431})


def count_against(connection: HTTPConnection, *rates: Rate) -> None:
    """Set the rates that this request counts against if it is invalid, unless it was counted already."""
    connection.state.rates_if_invalid = rates


async def count(scope: Scope) -> None:
    """Count an invalid request; raises RateLimited."""
    connection = HTTPConnection(scope)
    resources = connection.app.state.resources
    rates: CallRates = resources.rates
    address = f"invalid:{resources.name}:{network_of(client_ip(connection))}"
    await rates.admit(Rate(address, resources.settings.invalid_requests_per_minute))
    if named := getattr(connection.state, "rates_if_invalid", ()):
        await rates.admit(*named)
