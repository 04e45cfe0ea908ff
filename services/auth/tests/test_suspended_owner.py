"""An owner whose only tenant is suspended signs in to reactivate it, and can do nothing else by that."""

import pytest
from testkit.token_matrix import WRONG_AUDIENCE, matches, protected_routes

from .authenticator import Authenticator
from .factor_helpers import answered, challenged, enrol, register
from .test_passkeys import sign_in_with
from .test_tenants import run

# What the session is for, beside refreshing and signing out, which take the refresh token.
OPEN = {
    ("GET", "/api/v1/auth/tenants"),
    ("POST", "/api/v1/auth/tenants/{tenant_id}/reactivate"),
    ("POST", "/api/v1/auth/tenants/{tenant_id}/switch"),
    ("POST", "/api/v1/auth/step-up"),
    ("POST", "/api/v1/auth/step-up/options"),
}
REFUSED = {(401, "invalid_credentials"), (400, "invalid_email_token"), (401, "invalid_factor")}


def code(answer):
    return answer.status_code, answer.json()["code"]


@pytest.fixture
async def service(start):
    return await start(auth_magic_link_enabled=True)


async def by_password(auth, bundle):
    return await auth.sign_in(tenant_id=bundle["tenant_id"])


async def by_magic_link(auth, _):
    binding = (await auth.post("magic-link", email="ann@example.com")).json()["binding"]
    mails = await auth.mails("magic_link")
    token = mails[-1]["token"] if mails else "0" * 32 + "." + "A" * 43
    return await auth.post("magic-link/verify", token=token, binding=binding)


async def with_app(auth, bundle):
    app = await enrol(auth, bundle)

    async def by_second_factor(auth, _):
        answer = await auth.sign_in()
        if answer.json()["code"] != "second_factor_required":
            return answer
        return await answered(auth, answer.json()["challenge"], code=app.code)

    return by_second_factor


async def with_passkey(auth, bundle):
    key = Authenticator()
    assert (await register(auth, bundle, key)).status_code == 201

    async def by_passkey(auth, _):
        return await sign_in_with(auth, key)

    return by_passkey


async def without_preparation(_auth, _bundle):
    return by_password


async def with_mailbox(_auth, _bundle):
    return by_magic_link


WAYS = {
    "password": without_preparation,
    "magic link": with_mailbox,
    "second factor": with_app,
    "passkey": with_passkey,
}


async def suspend(auth, bundle, by="owner"):
    """Suspend a tenant; `bundle` may be of a session that has gone on meanwhile."""
    change = "update tenants set status = 'suspended', suspended_by_operator = $2 where id = $1"
    await auth.database.execute(change, bundle["tenant_id"], by == "operator")
    await auth.database.execute("update sessions set ended_at = now()")


async def reactivate(auth, session, tenant_id):
    return await auth.ask("POST", f"tenants/{tenant_id}/reactivate", session)


@pytest.mark.parametrize("way", WAYS)
async def test_an_owner_comes_in_to_reactivate_and_goes_on_by_refreshing(service, way):
    before = await service.somebody()
    sign_in = await WAYS[way](service, before)
    await suspend(service, before)

    answer = await sign_in(service, before)
    assert answer.status_code == 200, answer.text
    bundle = answer.json()
    assert (bundle["tenant_id"], bundle["tenant_status"], bundle["scopes"]) == (
        before["tenant_id"],
        "suspended",
        [],
    )
    assert not {"tenant_id", "role", "scope"} & service.claims(bundle).keys()
    listed = (await service.ask("GET", "tenants", bundle)).json()["items"]
    assert [(one["id"], one["status"]) for one in listed] == [(before["tenant_id"], "suspended")]
    # However often it is refreshed, until then it is no more.
    bundle = (await service.refresh(bundle)).json()
    assert not {"tenant_id", "role", "scope"} & service.claims(bundle).keys()
    assert code(await service.me(bundle["access_token"])) == WRONG_AUDIENCE

    assert (await reactivate(service, bundle, before["tenant_id"])).status_code == 200
    after = (await service.refresh(bundle)).json()
    assert (after["tenant_status"], service.claims(after)["role"]) == ("active", "owner")
    assert (await service.me(after["access_token"])).status_code == 200
    assert service.claims(after)["amr"] == service.claims(bundle)["amr"]


async def test_goes_on_by_switching_too(service):
    before = await service.somebody()
    await suspend(service, before)
    bundle = await service.session()
    await reactivate(service, bundle, before["tenant_id"])
    after = await service.ask("POST", f"tenants/{before['tenant_id']}/switch", bundle)
    assert (after.status_code, service.claims(after.json())["role"]) == (200, "owner")
    assert code(await service.refresh(bundle)) == (401, "invalid_refresh_token")


async def test_such_a_session_opens_nothing_else(service):
    before = await service.somebody()
    await suspend(service, before)
    opened = set()
    for place in [
        *protected_routes(service.app),
        *protected_routes(service.app.state.internal, is_internal=True),
    ]:
        bundle = await service.session()
        answer = await place(bundle["access_token"])
        if not matches(answer, WRONG_AUDIENCE):
            opened.add((place.method, place.path))
    assert opened == OPEN
    bundle = await service.session()
    answer = await service.post("logout", refresh_token=bundle["refresh_token"])
    assert answer.status_code == 204
    assert code(await service.refresh(bundle)) == (401, "invalid_refresh_token")


@pytest.mark.parametrize("role", ["admin", "member", "viewer"])
@pytest.mark.parametrize("way", WAYS)
async def test_who_is_no_owner_stays_out_however_they_come(service, way, role):
    before = await service.somebody()
    sign_in = await WAYS[way](service, before)
    await service.role("ann@example.com", role)
    await suspend(service, before)
    assert code(await sign_in(service, before)) in REFUSED


async def test_who_is_no_owner_any_more_is_out_at_the_next_refresh(service):
    before = await service.somebody()
    await suspend(service, before)
    bundle = await service.session()
    await service.role("ann@example.com", "admin")
    assert code(await reactivate(service, bundle, before["tenant_id"])) == (404, "tenant_not_found")
    assert code(await service.refresh(bundle)) == (401, "invalid_refresh_token")


async def test_what_an_operator_has_suspended_stays_so(service, monkeypatch):
    before = await service.somebody()
    assert await run(monkeypatch, service, "suspend", before["tenant_id"]) == 0
    bundle = await service.session()
    assert bundle["tenant_status"] == "suspended"
    refused = await reactivate(service, bundle, before["tenant_id"])
    assert code(refused) == (403, "tenant_suspended_by_operator")
    assert await run(monkeypatch, service, "reactivate", before["tenant_id"]) == 0
    after = (await service.refresh(bundle)).json()
    assert (await service.me(after["access_token"])).status_code == 200


async def test_a_deleted_tenant_is_no_suspended_one(service):
    before = await service.somebody()
    await service.ask("DELETE", "tenants/current", before)
    assert code(await service.sign_in(tenant_id=before["tenant_id"])) == (401, "invalid_credentials")
    assert (await service.session())["tenant_status"] == "active"


async def test_the_proof_has_to_be_fresh_and_can_be_repeated(service):
    before = await service.somebody()
    await suspend(service, before)
    bundle = await service.session()
    await service.database.execute("update sessions set authenticated_at = now() - interval '1 hour'")
    stale = await reactivate(service, bundle, before["tenant_id"])
    assert code(stale) == (401, "insufficient_user_authentication")
    stepped = await service.post("step-up", bundle["access_token"], password=service.password)
    assert (stepped.status_code, stepped.json()["tenant_status"]) == (200, "suspended")
    assert (await reactivate(service, stepped.json(), before["tenant_id"])).status_code == 200


async def test_a_second_factor_that_the_tenant_requires_is_required_here_too(service):
    before = await service.somebody()
    await enrol(service, before)
    await service.database.execute("update tenants set mfa_required = true")
    await suspend(service, before)
    assert (await challenged(service))["challenge"]
