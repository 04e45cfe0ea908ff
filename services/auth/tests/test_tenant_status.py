"""Every way by which a credential or token of a tenant comes to exist or goes on working, in every status.

Nothing works while the tenant is suspended or deleted. When it is active again, credentials work as before;
what was revoked on the way (sessions, access tokens, invites of a deleted tenant) stays revoked.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import uuid4

import jwt
import pytest
import yaml
from auth.models import Base
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sandbox.running_time import RunningTime
from servicekit.auth import jose
from testkit.eventually import MAX_SECONDS_PER_LOOK, MAX_WAIT_SECONDS

from .conftest import Auth
from .factor_helpers import enrol
from .test_tenants import run
from .vault_fixtures import Operator

ENDPOINT = "http://acme.test/api/v1/auth/oauth/token"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
SCOPES = ["tenant:read", "members:manage", "conversations:read"]


@dataclass
class World:
    """A tenant of Ann's with Bob as a member, and everything that was made for it while it was active."""

    auth: Auth
    operator: Operator
    tenant: str
    elsewhere: str
    sessions: dict[str, dict[str, Any]]
    credentials: dict[str, dict[str, Any]]
    tokens: dict[str, str]
    key: Ed25519PrivateKey

    async def opens(self, bearer: str) -> bool:
        """Whether a bearer opens a route of its tenant."""
        headers = {"Authorization": f"Bearer {bearer}"}
        answer = await self.auth.public.get("/api/v1/auth/tenants/current/members", headers=headers)
        return answer.is_success

    async def exchanged(self, name: str, **form: str) -> str | None:
        """The access token for a credential, if there is one."""
        held = self.credentials[name]
        form = {"grant_type": "client_credentials", "client_id": held["client_id"], **form}
        if held["client_secret"]:
            form["client_secret"] = held["client_secret"]
        else:
            form |= {"client_assertion_type": ASSERTION_TYPE, "client_assertion": self.assertion(held)}
        answer = await self.auth.public.post("/api/v1/auth/oauth/token", data=form)
        return answer.json()["access_token"] if answer.is_success else None

    def assertion(self, held: dict[str, Any]) -> str:
        now, client = int(time.time()), held["client_id"]
        claims = {"iss": client, "sub": client, "aud": ENDPOINT, "iat": now, "exp": now + 60}
        return jwt.encode({**claims, "jti": str(uuid4())}, self.key, "EdDSA")

    async def exchange_opens(self, name: str, **form: str) -> bool:
        token = await self.exchanged(name, **form)
        return token is not None and await self.opens(token)

    async def issued(self, account: str) -> bool:
        request = self.operator.request(account=account, tenant_id=self.tenant)
        return (await self.auth.post("service-accounts/issue", **request)).is_success

    async def introspected(self) -> bool:
        token = (await self.auth.machine(audience="auth", scope="api_keys:introspect")).json()["access_token"]
        answer = await self.auth.internal.post(
            "/internal/v1/api-keys/introspect",
            json={"key": self.tokens["API key"], "address": "192.0.2.1"},
            headers={"Authorization": f"Bearer {token}"},
        )
        return bool(answer.json()["active"])

    async def acted_for(self, subject: str) -> bool:
        """Whether a service that acts for somebody hears that they are in an active tenant."""
        token = (await self.auth.machine(audience="auth", scope="members:read")).json()["access_token"]
        answer = await self.auth.internal.get(
            f"/internal/v1/tenants/{self.tenant}/members/{subject}",
            headers={
                "Authorization": f"Bearer {token}",
                "Acme-On-Behalf-Of": f"{self.tenant}/{subject}",
            },
        )
        return answer.is_success and answer.json()["tenant_status"] == "active"

    async def sent_link(self) -> bool:
        """Sign Bob in by a link of a mail."""
        binding = (await self.auth.post("magic-link", email="bob@example.com")).json()["binding"]
        token = (await self.auth.mails("magic_link"))[-1]["token"]
        link = {"token": token, "binding": binding, "tenant_id": self.tenant}
        return (await self.auth.post("magic-link/verify", **link)).is_success

    async def second_factor(self) -> bool:
        """Sign Dora in by password and code."""
        first = await self.auth.sign_in("dora@example.com", tenant_id=self.tenant)
        return first.json().get("code") == "second_factor_required"

    async def switched(self) -> bool:
        """Bring Bob, who is signed in elsewhere, into the tenant."""
        before = (await self.auth.sign_in("bob@example.com", tenant_id=self.elsewhere)).json()
        return (await self.auth.ask("POST", f"tenants/{self.tenant}/switch", before)).is_success

    async def refreshed(self) -> bool:
        """Exchange Bob's refresh token."""
        answer = await self.auth.refresh(self.sessions["bob"])
        self.sessions["bob"] |= answer.json() if answer.is_success else {}
        return bool(answer.is_success)

    async def accepted(self) -> bool:
        """Have somebody new sign up by the invite."""
        email = f"p{uuid4().hex}@example.com"
        return (await self.auth.register(email, invite=self.tokens["invite"])).is_success


class Way(NamedTuple):
    """A way; and whether it works again when a suspension is undone, and when a deletion is."""

    works: Callable[[World], Awaitable[bool]]
    after_suspension: bool = True
    after_deletion: bool = True


REVOKED = {"after_suspension": False, "after_deletion": False}
WAYS = {
    "password": Way(lambda w: ok(w.auth.sign_in("bob@example.com", tenant_id=w.tenant))),
    "magic link": Way(lambda w: w.sent_link()),
    "second factor": Way(lambda w: w.second_factor()),
    "switch": Way(lambda w: w.switched()),
    "refresh token": Way(lambda w: w.refreshed(), **REVOKED),
    "access token": Way(lambda w: w.opens(w.sessions["bob"]["access_token"]), **REVOKED),
    "API key": Way(lambda w: w.opens(w.tokens["API key"])),
    "API key, introspected": Way(lambda w: w.introspected()),
    "client secret": Way(lambda w: w.exchange_opens("by secret")),
    "private_key_jwt": Way(lambda w: w.exchange_opens("by key")),
    "global account for the tenant": Way(lambda w: w.exchange_opens("global", tenant_id=w.tenant)),
    "issuing": Way(lambda w: w.issued("of-the-tenant")),
    "issuing by a global account": Way(lambda w: w.issued("of-all")),
    "machine's token": Way(lambda w: w.opens(w.tokens["by secret"]), **REVOKED),
    "machine's token of a global account": Way(lambda w: w.opens(w.tokens["global"]), **REVOKED),
    "for a person": Way(lambda w: w.acted_for(w.sessions["bob"]["user_id"])),
    "for an API key": Way(lambda w: w.acted_for(f"service:ak.{w.tokens['API key'].split('_')[2]}")),
    "for a service account": Way(lambda w: w.acted_for(f"service:{w.credentials['by secret']['client_id']}")),
    "for a global account": Way(lambda w: w.acted_for(f"service:{w.credentials['global']['client_id']}")),
    "invite": Way(lambda w: w.accepted(), after_deletion=False),
}
# What is of no tenant, or of another one, works all the time.
OTHERS = {
    "global account for another": lambda w: w.exchange_opens("global", tenant_id=w.elsewhere),
    "global account's token for another": lambda w: w.opens(w.tokens["global, elsewhere"]),
    "session elsewhere": lambda w: ok(w.auth.sign_in("bob@example.com", tenant_id=w.elsewhere)),
}
# The tables that keep what proves somebody in a tenant, and the way above that stands for each.
KEPT_IN = {
    "api_keys": "API key",
    "challenges": "second factor",
    "invites": "invite",
    "service_credentials": "client secret",
    "sessions": "refresh token",
}


async def ok(request: Awaitable[Any]) -> bool:
    return bool((await request).is_success)


async def settled(world: World, expected: dict[str, bool]) -> dict[str, bool]:
    """What works within seconds: each way is tried until it does as expected, or for too long."""
    waited = RunningTime(MAX_SECONDS_PER_LOOK)
    found: dict[str, bool] = {}
    while (wrong := [name for name in expected if found.get(name) != expected[name]]) and (
        not found or waited.count() < MAX_WAIT_SECONDS
    ):
        for name in wrong:
            found[name] = await WAYS[name].works(world)
        await asyncio.sleep(0.1 if found != expected else 0)
    return found


@pytest.fixture
async def world(auth, start, operator, tmp_path) -> World:
    ann = await auth.somebody()
    path = tmp_path / "accounts.yaml"
    account = {"role": "owner", "scopes": SCOPES}
    accounts = {
        "of-the-tenant": {**account, "tenants": [ann["tenant_id"]]},
        "of-all": {**account, "global": True},
    }
    path.write_text(yaml.safe_dump({"accounts": accounts}))
    service = await start(**operator.settings, auth_service_accounts_file=path, auth_magic_link_enabled=True)
    bob = await service.joined(ann, "bob@example.com", "member")
    dora = await service.joined(ann, "dora@example.com", "member")
    await enrol(service, dora)
    own = (await service.ask("POST", "tenants", bob, {"name": "Bob's"})).json()
    invite = {"role": "member", "max_uses": 20}
    key = Ed25519PrivateKey.generate()
    world = World(service, operator, ann["tenant_id"], own["id"], {"ann": ann, "bob": bob}, {}, {}, key)
    world.tokens["invite"] = (await service.ask("POST", "tenants/current/invites", ann, invite)).json()[
        "token"
    ]
    made = await service.post("api-keys", ann["access_token"], name="Key", scopes=SCOPES)
    world.tokens["API key"] = made.json()["key"]
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": jose.encode(key.public_key().public_bytes_raw())}
    for name, wanted in {
        "by secret": {"account": "of-the-tenant", "tenant_id": world.tenant},
        "by key": {"account": "of-the-tenant", "tenant_id": world.tenant, "jwk": jwk},
        "global": {"account": "of-all", "tenant_id": None},
    }.items():
        request = operator.request(**wanted, scopes=SCOPES)
        world.credentials[name] = (await service.post("service-accounts/issue", **request)).json()
    world.tokens["by secret"] = await world.exchanged("by secret")
    world.tokens["global"] = await world.exchanged("global", tenant_id=world.tenant)
    world.tokens["global, elsewhere"] = await world.exchanged("global", tenant_id=world.elsewhere)
    return world


async def others_work(world: World) -> list[str]:
    return [name for name, works in OTHERS.items() if not await works(world)]


def all_are(works: bool) -> dict[str, bool]:
    return dict.fromkeys(WAYS, works)


async def test_nothing_of_a_tenant_works_while_it_is_not_active(world, monkeypatch):
    assert await settled(world, all_are(True)) == all_are(True)
    ann = world.sessions["ann"]
    assert (await world.auth.ask("POST", "tenants/current/suspend", ann)).status_code == 204
    assert await settled(world, all_are(False)) == all_are(False)
    assert await others_work(world) == []

    assert await run(monkeypatch, world.auth, "reactivate", world.tenant) == 0
    again = {name: way.after_suspension for name, way in WAYS.items()}
    assert await settled(world, again) == again

    ann = (await world.auth.sign_in(tenant_id=world.tenant)).json()
    assert (await world.auth.ask("DELETE", "tenants/current", ann)).status_code == 204
    assert await settled(world, all_are(False)) == all_are(False)
    assert await others_work(world) == []

    assert await run(monkeypatch, world.auth, "reactivate", world.tenant) == 0
    again = {name: way.after_deletion for name, way in WAYS.items()}
    assert await settled(world, again) == again


async def test_nothing_of_a_tenant_works_while_an_operator_has_suspended_it(world, monkeypatch):
    assert await run(monkeypatch, world.auth, "suspend", world.tenant) == 0
    assert await settled(world, all_are(False)) == all_are(False)
    assert await others_work(world) == []


def test_every_table_that_keeps_what_proves_somebody_in_a_tenant_has_a_way_here():
    proving = {
        table.name
        for table in Base.metadata.sorted_tables
        if "tenant_id" in table.columns and {"digest", "key"} & set(table.columns.keys())
    }
    assert proving == KEPT_IN.keys()
    assert set(KEPT_IN.values()) <= WAYS.keys()


async def test_refuses_in_one_way_what_is_of_a_suspended_tenant_or_of_none(world, monkeypatch):
    """A suspended tenant's client hears what an unknown one hears; the tenant is as unknown as any other."""
    await run(monkeypatch, world.auth, "suspend", world.tenant)
    held = world.credentials["by secret"]
    form = {"grant_type": "client_credentials", "client_id": held["client_id"]}
    refused = await world.auth.public.post(
        "/api/v1/auth/oauth/token", data={**form, "client_secret": held["client_secret"]}
    )
    wrong = await world.auth.public.post("/api/v1/auth/oauth/token", data={**form, "client_secret": "x"})
    assert {**refused.json(), "request_id": ""} == {**wrong.json(), "request_id": ""}
    assert (refused.status_code, refused.json()["code"]) == (401, "invalid_client")
    held = world.credentials["global"]
    form = {name: held[name] for name in ("client_id", "client_secret")}
    for tenant in (world.tenant, str(uuid4())):
        answer = await world.auth.public.post(
            "/api/v1/auth/oauth/token",
            data={"grant_type": "client_credentials", **form, "tenant_id": tenant},
        )
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert not await world.issued("of-all")
