"""How a service reaches Postgres: at an address as libpq reads it, directly or through PgBouncer."""

import ssl
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

import asyncpg  # type: ignore[import-untyped]  # it ships no types
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

CONNECT_SECONDS = 5
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
SESSION_ATTRIBUTES = ("any", "read-write", "read-only", "primary", "standby", "prefer-standby")
# Parameters of libpq's that asyncpg does not know: it would hand them to the server, which refuses them.
IGNORED = frozenset(
    {
        "channel_binding",
        "client_encoding",
        "connect_timeout",  # read below
        "fallback_application_name",
        "gssencmode",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "load_balance_hosts",
        "requirepeer",
        "sslcompression",
        "sslsni",
        "tcp_user_timeout",
    }
)
FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
TRY_NEXT_HOST = (OSError, asyncpg.CannotConnectNowError, asyncpg.TargetServerAttributeNotMatched)
# Sent along with BEGIN, as PgBouncer takes no such parameters when a connection starts, and a session's
# settings would reach whoever gets the server's connection next.
BEGIN_SETTINGS = (
    # A replica that was cut off loses its locks.
    "set local idle_in_transaction_session_timeout = '60s'",
    "set local jit = off",
)

Host = tuple[str | None, int | None]


class AddressInvalid(ValueError):
    """The address of a database is invalid; the message does not quote it."""


class GuardedConnection(asyncpg.Connection):  # type: ignore[misc]  # see above
    """A connection that applies our settings to every transaction, without a further round trip."""

    async def execute(self, query: str, *args: object, **options: Any) -> str:
        """Execute a script; one that begins a transaction sets it up, too."""
        if query.startswith("BEGIN"):
            query = "; ".join((query.rstrip("; "), *BEGIN_SETTINGS))
        status: str = await super().execute(query, *args, **options)
        return status


class Connector:
    """Opens connections to one database; of several hosts, the one that last answered is tried first."""

    def __init__(self, address: str, name: str, **options: Any) -> None:
        parts = urlsplit(address)
        query = dict(parse_qsl(parts.query))
        if "ssl" in query:  # as SQLAlchemy's asyncpg dialect calls it
            query.setdefault("sslmode", query.pop("ssl"))
        refuse_unknown(parts, query)
        self._hosts = list(hosts_of(parts, query))
        # As libpq counts: for each host.
        self._seconds = float(query.get("connect_timeout", 0)) or CONNECT_SECONDS / len(self._hosts)
        self._rounds = rounds(query.get("target_session_attrs"))
        self._options = options
        if query.get("sslrootcert") == "system":
            query = {key: value for key, value in query.items() if key not in ("sslrootcert", "sslmode")}
            self._options["ssl"] = ssl.create_default_context()
        if "application_name" not in query:
            self._options["server_settings"] = {"application_name": name}
        known = {key: value for key, value in query.items() if key not in IGNORED}
        self._dsn = parts._replace(scheme="postgresql", query=urlencode(known)).geturl()
        # For those who ask the engine where it connects to; without a password.
        host, port = self._hosts[0]
        self.url = URL.create(
            "postgresql+asyncpg",
            username=unquote(parts.username or "") or None,
            host=host,
            port=port,
            database=unquote(parts.path.removeprefix("/")) or None,
        )

    async def __call__(self, **_of_the_url: object) -> asyncpg.Connection:
        """Connect to the first host that answers and has the required role."""
        failure: Exception | None = None
        for attributes in self._rounds:
            for host in tuple(self._hosts):
                try:
                    connection = await self._connect(host, attributes)
                except TRY_NEXT_HOST as error:
                    failure = error
                    continue
                self._hosts.remove(host)
                self._hosts.insert(0, host)
                return connection
        if isinstance(failure, asyncpg.TargetServerAttributeNotMatched):
            raise ConnectionError("No host of the database is of the wanted kind.") from failure
        assert failure is not None  # noqa: S101  # there is at least one host
        raise failure

    async def _connect(self, host: Host, attributes: str | None) -> asyncpg.Connection:
        return await asyncpg.connect(
            self._dsn,
            host=host[0],
            port=host[1],
            target_session_attrs=attributes,
            timeout=self._seconds,
            **self._options,
        )


def create_engine(
    address: str,
    name: str,
    *,
    prepared_statements: bool = True,
    connection_class: type[asyncpg.Connection] = asyncpg.Connection,
    command_seconds: float | None = None,
    **options: Any,
) -> AsyncEngine:
    """Make an engine of the database at an address; raises AddressInvalid.

    Without prepared statements nothing is kept on the server's side between two transactions.
    """
    connector = Connector(
        address,
        name,
        connection_class=connection_class,
        command_timeout=command_seconds,
        **({} if prepared_statements else {"statement_cache_size": 0}),
    )
    unnamed = {"prepared_statement_cache_size": 0, "prepared_statement_name_func": str}
    return create_async_engine(
        connector.url,
        # What people say and who they are does not belong into the message of an error.
        hide_parameters=True,
        connect_args={"async_creator_fn": connector, **({} if prepared_statements else unnamed)},
        **options,
    )


def hosts_of(parts: SplitResult, query: dict[str, str]) -> Iterator[Host]:
    """Yield the hosts of an address with their ports; of one without, what libpq's variables say."""
    listed = parts.netloc.rpartition("@")[2] or query.get("host", "")
    ports = [port for port in query.get("port", "").split(",") if port] or ["5432"]
    names = listed.split(",") if listed else []
    for number, name in enumerate(names):
        port = ports[number] if len(ports) > 1 else ports[0]
        yield host_of(unquote(name), port)
    if not names:
        yield None, None


def host_of(text: str, default_port: str) -> Host:
    """Read `host`, `host:port`, `[v6]:port` or the folder of a socket."""
    if text.startswith("/"):
        return text, int(default_port)
    name, _, port = text.rpartition(":") if ":" in text.rpartition("]")[2] else (text, "", "")
    return name.strip("[]"), int(port or default_port)


def rounds(attributes: str | None) -> Sequence[str | None]:
    """Return the required session attributes, in order of preference."""
    return ("standby", "any") if attributes == "prefer-standby" else (attributes,)


def refuse_unknown(parts: SplitResult, query: dict[str, str]) -> None:
    """Reject unknown parameters and schemes; raises AddressInvalid."""
    if parts.scheme.partition("+")[0] not in ("postgresql", "postgres"):
        raise AddressInvalid("it begins with postgresql:// or postgres://")
    if query.get("sslmode", "prefer") not in SSL_MODES:
        raise AddressInvalid(f"sslmode is one of {', '.join(SSL_MODES)}")
    if query.get("target_session_attrs", "any") not in SESSION_ATTRIBUTES:
        raise AddressInvalid(f"target_session_attrs is one of {', '.join(SESSION_ATTRIBUTES)}")
    for name in FILES:
        if query.get(name, "system") != "system" and not Path(query[name]).is_file():
            raise AddressInvalid(f"there is no file where {name} says")
    try:
        list(hosts_of(parts, query))
        float(query.get("connect_timeout", 0))
    except (ValueError, IndexError):
        raise AddressInvalid("its hosts, ports or connect_timeout cannot be read") from None
