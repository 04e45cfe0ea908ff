import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import asyncpg
import httpx
import pytest
from auth import users
from auth.configuration.limits import RATE_LIMITS
from auth.configuration.sign_in import MIN_PASSWORD_MEMORY_KIB
from auth.email_address import canonical_email
from auth.main import create_app
from auth.registration import email_verification, registration
from auth.schemas import Registration
from auth.security import bounded_wait, lockout
from auth.security.refresh_tokens import RefreshTokens
from auth.settings import Settings
from auth.signing import key_table, vault, vault_keys
from fastapi import FastAPI
from mmdb_writer import MMDBWriter
from netaddr import IPSet
from sandbox.vault import create_vault
from servicekit.auth import jose
from servicekit.encryption import decrypt
from servicekit.settings import RotatingSecret
from testkit.app import client, running
from testkit.live_server import NO_AUTHORITIES, serving

from .vault_fixtures import KEY, Operator, SigningVault

PASSWORD = "four unrelated words here"
# The rate limits that have a variable of their own; AUTH_RATE_LIMITS would win over it.
OWN_VARIABLES = {
    "email_verification_ip_rate_limit_per_hour": "ip:email/send",
    "email_verification_email_rate_limit_per_hour": "subject:mail",
    "password_reset_ip_rate_limit_per_hour": "ip:password/forgot",
    "password_reset_email_rate_limit_per_hour": "subject:password/forgot",
}
SEALING_KEY = RotatingSecret("c2VhbGluZy1rZXktb2YtdGhpcnR5LXR3by1ieXRlcyE=")
ISSUER = "http://acme.test"
MACHINE_SECRET = "what-chat-agent-proves-itself-with"

# What a token of an ended session gets: by the session, or by its revocation once this service has read it.
SESSION_OVER_CODES = {"session_ended", "invalid_token"}
SESSION_OVER = {(401, one) for one in SESSION_OVER_CODES}

# What production hashes a password with.
FULL_COST = {"auth_password_memory_kib": MIN_PASSWORD_MEMORY_KIB}

Variables = dict[str, Any]


@pytest.fixture(scope="session", autouse=True)
def _busy_machine_of_auth() -> Iterator[None]:
    """Allow Vault, keys and sign-ins as long as a busy machine takes; tests of a limit set a short one."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("SIGNING", "VERIFYING"):
            patch.setattr(vault, name, replace(getattr(vault, name), attempt=30, total=60, queue=60))
        patch.setattr(vault_keys, "ATTEMPT_SECONDS", 30)
        patch.setattr(vault_keys, "MAX_SECONDS", 60)
        patch.setattr(key_table, "READ_SECONDS", 60)
        patch.setattr(bounded_wait, "MAX_SECONDS", 60)
        patch.setattr(lockout, "PENDING_TTL_MILLI", 600_000)
        yield


@pytest.fixture(scope="session", autouse=True)
def _long_grace() -> Iterator[None]:
    """Make the grace of refresh tokens last as many minutes as it is set to seconds."""
    build = RefreshTokens.from_settings

    def with_long_grace(settings: Settings) -> RefreshTokens:
        tokens = build(settings)
        return replace(tokens, grace=tokens.grace * 60)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RefreshTokens, "from_settings", with_long_grace)
        yield


@pytest.fixture(scope="session")
def variables(
    migrated: Callable[[str], str], redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Variables:
    """What a service of these tests is told; `start` takes changes."""
    return {
        "environment": "test",
        "debug": True,
        "run_workers": False,
        "logging_sink": "none",
        "database_url": migrated("auth"),
        "redis_url": redis_url,
        "auth_issuer": ISSUER,
        "auth_jwks_url": f"{ISSUER}/.well-known/jwks.json",
        "auth_key_storage_path": tmp_path_factory.mktemp("auth") / "keys" / "keys.json",
        "auth_password_pepper": "pepper of passwords",
        "auth_refresh_token_pepper": "pepper of refresh tokens",
        "auth_email_verification_token_pepper": "pepper of confirming mails",
        "auth_password_reset_token_pepper": "pepper of password resets",
        "auth_jwks_etag_salt": "salt of entity tags",
        "auth_session_encryption_key": SEALING_KEY,
        "auth_session_ip_hash_salt": "salt of addresses",
        "auth_service_secrets": {"chat-agent": MACHINE_SECRET},
        "event_sealing_key": SEALING_KEY,
        "auth_account_deletion_grace_days": 0,
        # Hashing costs next to nothing here; tests of its cost start a service with FULL_COST.
        "auth_password_memory_kib": 64,
        # Nobody waits here for the clock to tell nothing; `test_constant_time` does.
        "auth_answer_floor_ms": 0,
        "app_public_url": "https://app.acme.test",
        **dict.fromkeys(OWN_VARIABLES, 1000),
        "auth_rate_limits": {
            name: 1000
            for name in RATE_LIMITS
            if name not in {*OWN_VARIABLES.values(), "subject:factors/reset"}
        },
    }


def sign_up(email: str, **changes: Any) -> dict[str, Any]:
    return {"email": email, "password": PASSWORD, "tenant_name": "Ann's Bakery", **changes}


@dataclass
class Auth:
    """A running auth service, with what its clients and its readers do."""

    app: FastAPI
    settings: Settings
    public: httpx.AsyncClient
    internal: httpx.AsyncClient
    database: asyncpg.Connection

    password: ClassVar = PASSWORD

    async def post(self, path: str, bearer: str | None = None, **body: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        return await self.public.post(f"/api/v1/auth/{path}", json=body, headers=headers)

    async def ask(
        self, method: str, path: str, bundle: dict[str, Any], body: Any = None, **headers: str
    ) -> httpx.Response:
        """Send a request with the access token of a session."""
        headers["Authorization"] = f"Bearer {bundle['access_token']}"
        return await self.public.request(method, f"/api/v1/auth/{path}", json=body, headers=headers)

    async def joined(self, owner: dict[str, Any], email: str, role: str) -> dict[str, Any]:
        """Invite somebody new into the owner's tenant, and give what their client gets there."""
        answer = await self.ask("POST", "tenants/current/invites", owner, {"email": email, "role": role})
        assert answer.status_code == 201, answer.text
        token = (await self.mails("invitation"))[-1]["token"]
        assert (await self.register(email, invite=token)).status_code == 202
        return await self.session(email)

    async def me(self, token: str, **headers: str) -> httpx.Response:
        return await self.public.get(
            "/api/v1/auth/me", headers={"Authorization": f"Bearer {token}", **headers}
        )

    async def register(self, email: str = "ann@example.com", **changes: Any) -> httpx.Response:
        return await self.post("register", **sign_up(email, **changes))

    async def sign_in(
        self, email: str = "ann@example.com", password: str = PASSWORD, **more: Any
    ) -> httpx.Response:
        return await self.post("token", email=email, password=password, **more)

    async def events(self) -> list[asyncpg.Record]:
        return await self.database.fetch("select * from outbox order by seq")

    async def mail_tokens(self) -> list[str]:
        """The tokens of the verification emails, oldest first."""
        return [mail["token"] for mail in await self.mails("email_verification")]

    async def mails(self, kind: str) -> list[dict[str, Any]]:
        """The mails of a kind that were asked for, oldest first, with tokens as their readers see them."""
        due = [
            jose.parse_object(event["data"].encode())
            for event in await self.events()
            if event["type"] == "auth.email.requested.v1"
        ]
        return [
            {
                **mail,
                "token": mail["token"] and decrypt(SEALING_KEY, mail["token"], context=mail["recipient"]),
            }
            for mail in due
            if mail["kind"] == kind
        ]

    async def audited(self, action: str) -> list[asyncpg.Record]:
        """What the audit log says of an action, oldest first."""
        return await self.database.fetch(
            "select * from audit_events where action = $1 order by happened_at", action
        )

    async def confirm(self) -> httpx.Response:
        return await self.post("email/verify", token=(await self.mail_tokens())[-1])

    async def somebody(self, email: str = "ann@example.com", **changes: Any) -> dict[str, Any]:
        """Sign somebody up and in, and give what their client gets."""
        if changes.keys() <= {"tenant_name", "display_name"}:
            await self.add_account(email, **changes)
        else:
            assert (await self.register(email, **changes)).status_code == 202
            assert (await self.confirm()).status_code == 200
        return await self.session(email, changes.get("password", PASSWORD))

    async def add_account(self, email: str, **changes: str) -> None:
        """Do what `register` and `confirm` do, without their requests: hundreds of tests begin with it."""
        services = self.app.state.services
        request = Registration.model_validate(sign_up(email, **changes))
        password_hash = await services.passwords.hash(PASSWORD)
        async with services.database.begin() as db:
            await registration.add(db, services, request, password_hash)
            (user,) = await db.scalars(users.select_by_email(canonical_email(email)))
            assert user.email_verified_at is None
            await email_verification.activate(db, services, user)

    async def session(self, email: str = "ann@example.com", password: str = PASSWORD) -> dict[str, Any]:
        answer = await self.sign_in(email, password)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def machine(self, **changes: str) -> httpx.Response:
        form = {
            "grant_type": "client_credentials",
            "client_id": "chat-agent",
            "client_secret": MACHINE_SECRET,
            "audience": "conversation",
            "scope": "conversations:read",
        }
        return await self.internal.post("/internal/v1/oauth/token", data={**form, **changes})

    async def refresh(self, bundle: dict[str, Any]) -> httpx.Response:
        return await self.post("refresh", refresh_token=bundle["refresh_token"])

    @staticmethod
    def claims(bundle: dict[str, Any]) -> dict[str, Any]:
        """What an access token says, unverified."""
        return jose.parse_object(jose.decode(bundle["access_token"].split(".")[1]))

    async def role(self, email: str, role: str) -> None:
        await self.database.execute(
            "update memberships set role = $2 from users where user_id = users.id and email_key = $1",
            email,
            role,
        )


def somewhere(code: str, country: str, city: str | None = None, at: tuple[float, float] | None = None) -> Any:
    """A record as MaxMind's city files have them."""
    return {
        "country": {"iso_code": code, "names": {"en": country}},
        **({"city": {"names": {"en": city}}} if city else {}),
        **({"location": dict(zip(("latitude", "longitude"), at, strict=True))} if at else {}),
    }


@pytest.fixture
def geoip(tmp_path: Path) -> Path:
    """A map of a few addresses."""
    writer = MMDBWriter(4, "Test-City", languages=["en"])
    for network, record in {
        "203.0.113.0/25": somewhere("DE", "Germany", "Berlin", (52.52, 13.4)),
        "203.0.113.128/25": somewhere("AU", "Australia", "Sydney", (-33.87, 151.21)),
        "192.0.2.0/25": somewhere("FR", "France"),
        "192.0.2.128/25": somewhere("DE", "Germany", "Hamburg", (53.55, 10.0)),
        "198.51.100.0/24": {"city": "nonsense", "country": {"iso_code": 7}, "location": {"latitude": "x"}},
    }.items():
        writer.insert_network(IPSet([network]), record)
    writer.to_db_file(str(tmp_path / "city.mmdb"))
    return tmp_path / "city.mmdb"


@pytest.fixture(scope="session")
def vault_url() -> Iterator[str]:
    """A Vault of this worker's own."""
    with serving(create_vault()) as url:
        yield url


@pytest.fixture
def operator(vault_url: str) -> Iterator[Operator]:
    """Who holds the key in Vault that vouches for service accounts."""
    headers = {"X-Vault-Token": "hvs.operator"}
    with httpx.Client(
        base_url=vault_url, headers=headers, trust_env=False, verify=NO_AUTHORITIES, timeout=60
    ) as vault:
        held = Operator(vault)
        held.call("POST", f"transit/keys/{KEY}", type="ed25519")
        yield held
        held.recover()


@pytest.fixture
def signing_vault(pytestconfig: pytest.Config) -> Iterator[SigningVault]:
    """A Vault of this test alone, without any key yet."""
    app = create_vault()
    with (
        serving(app) as url,
        httpx.Client(base_url=url, trust_env=False, verify=NO_AUTHORITIES, timeout=60) as root,
    ):
        root.headers["X-Vault-Token"] = "hvs.root"
        yield SigningVault.of(root, pytestconfig.rootpath, app)


Start = Callable[..., Any]


@contextlib.asynccontextmanager
async def started(variables: Variables, **changes: Any) -> AsyncIterator[Auth]:
    """Run a service, and give what its clients and readers need."""
    settings = Settings(**{**variables, **changes})
    database = await asyncpg.connect(variables["database_url"])
    app = create_app(settings)
    async with running(app), client(app) as public, client(app.state.internal) as internal:
        yield Auth(app, settings, public, internal, database)
    await database.close()


@pytest.fixture(scope="session")
async def auth(variables: Variables) -> AsyncIterator[Auth]:
    """A service as in production, but that nobody is slowed down."""
    async with started(variables) as running_service:
        yield running_service


@pytest.fixture
async def start(variables: Variables) -> AsyncIterator[Start]:
    """A function that starts another: `await start(require_email_verification=False)`; all are replicas."""
    async with contextlib.AsyncExitStack() as stack:
        yield lambda **changes: stack.enter_async_context(started(variables, **changes))
