"""Where things are: the checkout, the data folder, the addresses of a stack."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.embedded import Postgres, Valkey

from starter_cli.errors import Failure
from starter_cli.ports import HOST

CHECKOUT = Path(__file__).resolve().parents[3]
DEFAULT_DATA = CHECKOUT / ".acme"

# Each with the name of its Python package; started and stopped together, listed in this order.
SERVICES: Mapping[str, str] = {
    "auth": "auth",
    "conversation": "conversation",
    "chat-agent": "chat_agent",
    "billing-webhook": "billing_webhook",
    "notification": "notification",
}
# About as fast as a model; slow enough for an eye to follow.
TOKENS_PER_SECOND = 80
SECRETS: Sequence[str] = (
    "owner-password",
    "password-pepper",
    "refresh-token-pepper",
    "email-verification-token-pepper",
    "password-reset-token-pepper",
    "jwks-etag-salt",
    "session-encryption-key",
    "session-ip-hash-salt",
    "event-sealing-key",
    "tenant-secrets-encryption-key",
    "stripe-webhook-secret",
    *(f"{service}-database" for service in SERVICES),
    *(f"{service}-client" for service in SERVICES),
)


def replica_names(counts: Mapping[str, int] | None = None) -> Mapping[str, str]:
    """Name every replica, with its service: the first is called like it, the second `<service>-2`."""
    return {
        service if number == 1 else f"{service}-{number}": service
        for service in SERVICES
        for number in range(1, (counts or {}).get(service, 1) + 1)
    }


def port_names(replicas: Iterable[str]) -> Sequence[str]:
    """Name the ports of a stack."""
    foundation = ("postgres", "valkey", "sandbox", "gateway", "gateway-admin")
    return [*foundation, *(name for replica in replicas for name in (replica, f"{replica}-internal"))]


def database_variable(service: str) -> str:
    """Return the variable that holds the address of a service's database."""
    return f"{service.replace('-', '_').upper()}_DATABASE_URL"


def service_dir(service: str) -> Path:
    """Return the folder of a service; raises Failure outside a checkout."""
    folder = CHECKOUT / "services" / service
    if not folder.is_dir():
        raise Failure(
            service, f"{folder} is missing; the stack runs from a checkout with its packages installed there"
        )
    return folder


@dataclass(frozen=True)
class DataDir:
    """One data folder. Others may pass through it (as root, Postgres is somebody else), but read nothing."""

    root: Path

    @property
    def databases(self) -> Path:
        """What Postgres keeps."""
        return self.root / "databases"

    @property
    def redis(self) -> Path:
        """What Valkey keeps."""
        return self.root / "redis"

    @property
    def mails(self) -> Path:
        """What the sandbox keeps: the mail that it took, and what its Stripe holds."""
        return self.root / "mails"

    @property
    def secrets_file(self) -> Path:
        """All that was generated and must not be shown."""
        return self.root / "secrets.json"

    @property
    def stripe_variables(self) -> Path:
        """What `stripe setup` has written at the sandbox's Stripe."""
        return self.root / "stripe.env"

    @property
    def stripe_marker(self) -> Path:
        """What it has set up, so that it need not run again."""
        return self.root / "stripe-setup"

    @property
    def run_file(self) -> Path:
        """What runs on this folder at the moment."""
        return self.root / "run.json"

    @property
    def ports_file(self) -> Path:
        """Where the ports of the last run began, so that the next one has them again."""
        return self.root / "ports"

    @property
    def lock_file(self) -> Path:
        """Held by the runner for as long as it lives; says which process that is."""
        return self.root / "lock"

    @property
    def logs(self) -> Path:
        """What the components write about what they do."""
        return self.root / "logs"

    def log(self, component: str) -> Path:
        """Where one component writes."""
        embedded = {"postgres": self.databases, "valkey": self.redis}
        return embedded[component] / "log" if component in embedded else self.logs / f"{component}.log"

    def create(self) -> None:
        """Make them; raises Failure when that is not possible."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self.databases.mkdir(mode=0o711, exist_ok=True)
            for folder in (self.redis, self.mails, self.logs):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise Failure(
                "data folder", f"{error.filename or self.root} cannot be made: {error.strerror}"
            ) from error
        if not os.access(self.root, os.W_OK):
            raise Failure("data folder", f"{self.root} cannot be written to by this user")


@dataclass(frozen=True)
class Layout:
    """One stack: its data folder, its ports and its secrets, by name."""

    data_dir: DataDir
    ports: Mapping[str, int]
    secrets: Mapping[str, str]
    durable: bool = True
    # Each by its own name, with its service's.
    replicas: Mapping[str, str] = field(default_factory=replica_names)
    # What components are told beyond the usual: services, all replicas of each alike, or the gateway.
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    tokens_per_second: float = TOKENS_PER_SECOND

    def url(self, name: str) -> str:
        """Return the HTTP URL of a port."""
        return f"http://{HOST}:{self.ports[name]}"

    @property
    def gateway_url(self) -> str:
        """Where clients go."""
        return self.url("gateway")

    @property
    def sandbox_url(self) -> str:
        """Where the sandbox's model and the inbox of its mail are."""
        return self.url("sandbox")

    @property
    def stripe_url(self) -> str:
        """Where the sandbox's Stripe is."""
        return f"{self.sandbox_url}/stripe"

    @property
    def inbox_url(self) -> str:
        """Where the mail that the sandbox took can be read."""
        return f"{self.sandbox_url}/resend/"

    @property
    def pages_url(self) -> str:
        """Where links in mails lead: pages of the sandbox, since there is no frontend here."""
        return f"{self.sandbox_url}/app"

    @property
    def postgres(self) -> Postgres:
        """The database server of this stack, not necessarily running."""
        return Postgres(self.data_dir.databases, self.ports["postgres"], durable=self.durable)

    @property
    def valkey(self) -> Valkey:
        """The Redis server of this stack, not necessarily running."""
        return Valkey(self.data_dir.redis, self.ports["valkey"], durable=self.durable)

    def database_url(self, service: str) -> str:
        """Return the URL of a service's own database, as its own role."""
        name, password = SERVICES[service], self.secrets[f"{service}-database"]
        return f"postgresql://{name}:{password}@{HOST}:{self.ports['postgres']}/{name}"
