"""API keys: made by a person, good at every service, and never for more than the person may do."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from auth.main import create_app
from auth.settings import Settings
from servicekit.app import create_service
from servicekit.auth import api_keys
from servicekit.settings import ServiceSettings
from testkit.app import client, running
from testkit.combined_app import CombinedApp
from testkit.eventually import time_limit
from testkit.live_server import serving

from .route_table import router

SCOPES = ["conversations:read", "tenant:read"]

SECRET = "what-notification-proves-itself-with"


async def ask(auth, method, path, bearer, **more):
    headers = {"Authorization": f"Bearer {bearer}", **more.pop("headers", {})}
    return await auth.public.request(method, f"/api/v1/auth/api-keys{path}", headers=headers, **more)


async def made(auth, bearer, **changes):
    answer = await ask(auth, "POST", "", bearer, json={"name": "Nightly", "scopes": SCOPES, **changes})
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()


async def introspected(auth, key, address=""):
    token = (await auth.machine(audience="auth", scope=api_keys.SCOPE)).json()["access_token"]
    return await auth.internal.post(
        "/internal/v1/api-keys/introspect",
        headers={"Authorization": f"Bearer {token}"},
        json={"key": key, "address": address},
    )


async def is_active(auth, key, address=""):
    return (await introspected(auth, key, address)).json()["active"]


async def test_creates_a_key_whose_secret_is_returned_once_and_stored_nowhere(auth):
    owner = await auth.somebody()
    key = await made(auth, owner["access_token"])
    assert api_keys.SHAPE.fullmatch(key["key"])
    assert key["key"].startswith(key["prefix"])
    (listed,) = (await ask(auth, "GET", "", owner["access_token"])).json()["items"]
    assert "key" not in listed
    assert (listed["scopes"], listed["created_by"], listed["last_used_at"]) == (
        SCOPES,
        owner["user_id"],
        None,
    )
    secret = key["key"].rpartition("_")[2][:64]
    (row,) = await auth.database.fetch("select * from api_keys")
    assert secret not in str(dict(row))
    assert bytes.fromhex(secret) not in row["digest"]
    (audited,) = await auth.audited("authn_token_created")
    assert (audited["actor"], str(audited["tenant_id"])) == (owner["user_id"], owner["tenant_id"])
    assert secret not in str(dict(audited))


async def test_tells_services_whose_a_key_is_and_what_it_may(auth):
    owner = await auth.somebody()
    key = await made(auth, owner["access_token"])
    introspection = (await introspected(auth, key["key"])).json()
    assert introspection["active"] is True
    assert introspection["subject"] == f"service:ak.{UUID(key['id']).hex}"
    assert (introspection["tenant_id"], introspection["role"], sorted(introspection["scopes"])) == (
        owner["tenant_id"],
        "owner",
        SCOPES,
    )
    assert introspection["audience"] == ["acme-api"]
    (listed,) = (await ask(auth, "GET", "", owner["access_token"])).json()["items"]
    assert listed["last_used_at"] is not None


async def test_says_nothing_of_keys_that_do_not_work(auth):
    key = (await made(auth, (await auth.somebody())["access_token"]))["key"]
    wrong = api_keys.format_key(api_keys.parse_key_id(key), "0" * 64)
    unknown = api_keys.format_key(uuid4(), "0" * 64)
    answers = [(await introspected(auth, one)).json() for one in (wrong, unknown, key[:-1] + "x", "x")]
    assert all(answer == answers[0] for answer in answers)
    assert answers[0]["active"] is False
    assert answers[0]["tenant_id"] is None


async def test_gives_no_more_than_the_maker_has(auth):
    owner = await auth.somebody()
    key = (await made(auth, owner["access_token"], scopes=["billing:manage", "billing:read"]))["key"]
    assert (await introspected(auth, key)).json()["role"] == "owner"
    await auth.role("ann@example.com", "admin")
    introspection = (await introspected(auth, key)).json()
    assert (introspection["role"], sorted(introspection["scopes"])) == (
        "admin",
        ["billing:manage", "billing:read"],
    )
    assert owner["tenant_id"] == introspection["tenant_id"]


@pytest.mark.parametrize("role", ["member", "viewer"])
async def test_is_nothing_once_the_maker_may_make_no_keys(auth, role):
    owner = await auth.somebody()
    key = (await made(auth, owner["access_token"], scopes=["billing:read"]))["key"]
    await auth.role("ann@example.com", role)
    # Although a viewer may read that, too.
    assert not await is_active(auth, key)


@pytest.mark.parametrize(
    "loss",
    [
        "delete from memberships",
        "update users set status = 'disabled'",
        "delete from users",
    ],
)
async def test_stops_with_its_maker(auth, loss):
    key = (await made(auth, (await auth.somebody())["access_token"]))["key"]
    assert await is_active(auth, key)
    await auth.database.execute(loss)
    assert not await is_active(auth, key)


async def test_takes_only_who_may_manage_keys_and_only_people(auth):
    owner = await auth.somebody()
    key = (await made(auth, owner["access_token"], scopes=["api_keys:manage", "tools:read"]))["key"]
    key_request = {"name": "Another", "scopes": ["tools:read"]}
    assert (await ask(auth, "POST", "", key, json=key_request)).json()["code"] == "people_only"
    await auth.role("ann@example.com", "member")
    member = await auth.session()
    assert (await ask(auth, "POST", "", member["access_token"], json=key_request)).status_code == 403
    await auth.role("ann@example.com", "admin")
    narrowed = await ask(
        auth, "POST", "", owner["access_token"], json=key_request, headers={"X-Tenant-Role": "member"}
    )
    assert narrowed.status_code == 403


async def test_takes_no_scope_that_the_caller_has_not(auth):
    owner = await auth.somebody()
    claims = {
        name: auth.claims(owner)[name] for name in ("aud", "sub", "sid", "client_id", "tenant_id", "role")
    }
    narrow = await auth.app.state.services.access_tokens._sign(["api_keys:manage"], claims)
    body = {"name": "x", "scopes": ["api_keys:manage", "tools:read"]}
    refused = await ask(auth, "POST", "", narrow.token, json=body)
    assert (refused.status_code, refused.json()["code"]) == (403, "scope_beyond_own_rights")
    for scopes in (["nothing:known"], [], ["*"], ["conversations:*"]):
        refused = await ask(auth, "POST", "", owner["access_token"], json={"name": "x", "scopes": scopes})
        assert refused.status_code == 422


async def test_goes_by_what_the_caller_is_now_and_not_by_what_the_token_says(auth):
    owner = await auth.somebody()
    await auth.role("ann@example.com", "viewer")
    body = {"name": "x", "scopes": ["billing:manage"]}
    refused = await ask(auth, "POST", "", owner["access_token"], json=body)
    assert refused.json()["code"] == "role_too_low"
    await auth.database.execute("delete from users")
    assert (await ask(auth, "POST", "", owner["access_token"], json=body)).json()["code"] == "session_ended"


async def test_works_until_it_expires(auth):
    owner = await auth.somebody()
    past = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    body = {"name": "x", "scopes": SCOPES, "expires_at": past}
    assert (await ask(auth, "POST", "", owner["access_token"], json=body)).json()["code"] == "invalid_expiry"
    future = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
    key = await made(auth, owner["access_token"], expires_at=future)
    assert await is_active(auth, key["key"])
    await auth.database.execute("update api_keys set expires_at = now()")
    assert not await is_active(auth, key["key"])
    refusal = await ask(auth, "GET", "", key["key"])
    assert (refusal.status_code, refusal.json()["code"]) == (401, "api_key_expired")


async def test_says_that_a_key_has_expired_only_to_who_has_all_of_it(auth):
    owner = await auth.somebody()
    future = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
    key = (await made(auth, owner["access_token"], expires_at=future))["key"]
    wrong = api_keys.format_key(api_keys.parse_key_id(key), "0" * 64)
    await auth.database.execute("update api_keys set expires_at = now()")
    assert (await introspected(auth, key)).json()["expired"] is True
    assert (await introspected(auth, wrong)).json()["expired"] is False


async def test_works_from_the_networks_it_names_alone(auth):
    owner = await auth.somebody()
    key = (await made(auth, owner["access_token"], networks=["203.0.113.0/24", "2001:db8::/32"]))["key"]
    for address in ("203.0.113.9", "::ffff:203.0.113.9", "2001:db8::1"):
        assert await is_active(auth, key, address), address
    for address in ("203.0.114.9", "2001:db9::1", "", "unknown"):
        assert not await is_active(auth, key, address), address
    bad = {"name": "x", "scopes": SCOPES, "networks": ["203.0.113.9/24"]}
    assert (await ask(auth, "POST", "", owner["access_token"], json=bad)).status_code == 422


async def test_lets_the_old_secret_work_for_a_while_after_a_rotation(auth):
    owner = await auth.somebody()
    old = await made(auth, owner["access_token"])
    path = f"/{old['id']}/rotate"
    new = (await ask(auth, "POST", path, owner["access_token"], json={"overlap_minutes": 5})).json()
    assert new["key"] != old["key"]
    assert new["previous_expires_at"] > datetime.now(UTC).isoformat()
    assert [await is_active(auth, key["key"]) for key in (old, new)] == [True, True]
    await auth.database.execute("update api_keys set previous_expires_at = now()")
    assert [await is_active(auth, key["key"]) for key in (old, new)] == [False, True]
    newest = (await ask(auth, "POST", path, owner["access_token"], json={"overlap_minutes": 0})).json()
    assert [await is_active(auth, key["key"]) for key in (old, new, newest)] == [False, False, True]


async def test_of_a_leaked_key_nothing_is_left_after_a_rotation_without_overlap(auth):
    owner = await auth.somebody()
    old = await made(auth, owner["access_token"])
    path = f"/{old['id']}/rotate"
    await ask(auth, "POST", path, owner["access_token"], json={"overlap_minutes": 0})
    assert not await is_active(auth, old["key"])
    # And what was opened with it is closed.
    assert await auth.database.fetchval("select key from revocations") == f"client:ak.{UUID(old['id']).hex}"


async def test_leaves_two_secrets_at_most_however_many_rotate_at_once(auth):
    owner = await auth.somebody()
    key = await made(auth, owner["access_token"])
    rotations = [ask(auth, "POST", f"/{key['id']}/rotate", owner["access_token"], json={}) for _ in range(20)]
    answers = await asyncio.gather(*rotations)
    assert {answer.status_code for answer in answers} == {200}
    assert sum([await is_active(auth, answer.json()["key"]) for answer in answers]) == 2


async def test_outlives_a_change_of_the_pepper(auth, start, variables):
    owner = await auth.somebody()
    key = await made(auth, owner["access_token"])
    old = variables["auth_refresh_token_pepper"]
    changing = {"auth_refresh_token_pepper": "pepper of the year after"}
    during = await start(auth_refresh_token_pepper=f"{changing['auth_refresh_token_pepper']},{old}")
    assert await is_active(during, key["key"])
    # Used meanwhile, so it is known under the new pepper; the old one may go.
    after = await start(**changing)
    assert await is_active(after, key["key"])
    assert not await is_active(auth, key["key"])


async def test_revokes_a_key_for_good(auth):
    owner = await auth.somebody()
    key = await made(auth, owner["access_token"])
    assert (await ask(auth, "DELETE", f"/{key['id']}", owner["access_token"])).status_code == 204
    assert not await is_active(auth, key["key"])
    assert (await ask(auth, "DELETE", f"/{key['id']}", owner["access_token"])).status_code == 404
    rotation = await ask(auth, "POST", f"/{key['id']}/rotate", owner["access_token"], json={})
    assert rotation.json()["code"] == "api_key_not_found"
    (audited,) = await auth.audited("authn_token_revoked")
    assert audited["subject"] == f"service:ak.{UUID(key['id']).hex}"


async def test_tells_every_service_of_a_revoked_key(auth):
    owner = await auth.somebody()
    key = await made(auth, owner["access_token"])
    await ask(auth, "DELETE", f"/{key['id']}", owner["access_token"])
    revocation = await auth.database.fetchval("select key from revocations")
    assert revocation == f"client:ak.{UUID(key['id']).hex}"


async def test_hides_the_keys_of_other_tenants(auth):
    key = await made(auth, (await auth.somebody())["access_token"])
    stranger = (await auth.somebody("bob@example.com"))["access_token"]
    assert (await ask(auth, "GET", "", stranger)).json()["items"] == []
    for method, path in (("DELETE", f"/{key['id']}"), ("POST", f"/{key['id']}/rotate")):
        answer = await ask(auth, method, path, stranger, json={})
        assert (answer.status_code, answer.json()["code"]) == (404, "api_key_not_found")
    assert await is_active(auth, key["key"])


async def test_lists_page_by_page(auth):
    owner = (await auth.somebody())["access_token"]
    names = [(await made(auth, owner, name=f"Key {number}"))["name"] for number in range(5)]
    seen, cursor = [], None
    while True:
        page = (
            await ask(auth, "GET", "", owner, params={"limit": 2, **({"cursor": cursor} if cursor else {})})
        ).json()
        seen += [key["name"] for key in page["items"]]
        if not (cursor := page["next_cursor"]):
            break
    assert seen == names[::-1]
    assert (await ask(auth, "GET", "", owner, params={"cursor": "x"})).json()["code"] == "invalid_cursor"


async def test_counts_keys_that_are_none_by_address(start):
    auth = await start(auth_rate_limits={"ip:api-key": 3})
    wrong = [api_keys.format_key(uuid4(), "0" * 64) for _ in range(4)]
    assert [(await introspected(auth, key, "203.0.113.1")).status_code for key in wrong] == [
        200,
        200,
        200,
        429,
    ]
    assert (await introspected(auth, wrong[0], "203.0.113.2")).status_code == 200
    good = (await made(auth, (await auth.somebody())["access_token"]))["key"]
    assert await is_active(auth, good, "203.0.113.1")


async def test_tells_only_services_about_keys(auth):
    owner = await auth.somebody()
    key = await made(auth, owner["access_token"])
    other = (await auth.machine()).json()["access_token"]
    for token, status in ((owner["access_token"], 403), (other, 401), (key["key"], 403)):
        answer = await auth.internal.post(
            "/internal/v1/api-keys/introspect",
            headers={"Authorization": f"Bearer {token}"},
            json={"key": key["key"]},
        )
        assert answer.status_code == status
    assert (await auth.public.post("/internal/v1/api-keys/introspect", json={})).status_code == 404


async def test_opens_auth_itself_as_a_machine(auth):
    owner = await auth.somebody()
    key = (await made(auth, owner["access_token"], scopes=["api_keys:manage"]))["key"]
    assert len((await ask(auth, "GET", "", key)).json()["items"]) == 1
    for bad in (key[:-1] + ("0" if key[-1] != "0" else "1"), api_keys.PREFIX, f"{key}0"):
        answer = await ask(auth, "GET", "", bad)
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_api_key")
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert (await auth.me(key)).json()["code"] == "people_only"
    assert (await auth.post("logout/all", bearer=key)).json()["code"] == "people_only"
    assert (await auth.me(owner["access_token"])).status_code == 200


@pytest.fixture
async def another_service(variables, auth):
    """A service as any other, and a replica of auth that it asks over real HTTP."""
    secrets = {**variables["auth_service_secrets"], "notification": SECRET}
    settings = {**variables, "auth_service_secrets": secrets}
    common = {name: value for name, value in variables.items() if name in ServiceSettings.model_fields}
    with serving(CombinedApp(create_app(Settings(**settings)))) as url:
        settings = ServiceSettings(
            **{
                **common,
                "auth_jwks_url": f"{url}/.well-known/jwks.json",
                "auth_internal_url": url,
                "service_client_secret": SECRET,
            }
        )
        app = create_service("notification", settings, routers=[router])
        async with running(app), client(app) as other:
            yield other


async def test_opens_every_service_within_its_scopes_and_shuts_them_within_seconds(auth, another_service):
    owner = await auth.somebody()
    key = await made(auth, owner["access_token"])
    bearer = {"Authorization": f"Bearer {key['key']}"}
    subject = f"service:ak.{UUID(key['id']).hex} {UUID(owner['tenant_id'])}"
    assert (await another_service.get("/reads", headers=bearer)).json() == subject
    assert (await another_service.get("/belongs", headers=bearer)).json() == owner["tenant_id"]
    beyond = await another_service.get("/manages", headers=bearer)
    assert (beyond.status_code, beyond.json()["code"]) == (403, "insufficient_scope")
    lowered = await another_service.get("/reads", headers={**bearer, "X-Tenant-Id": str(uuid4())})
    assert lowered.json()["code"] == "tenant_mismatch"
    await ask(auth, "DELETE", f"/{key['id']}", owner["access_token"])
    async with time_limit():
        while (await another_service.get("/reads", headers=bearer)).status_code == 200:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    refused = await another_service.get("/reads", headers=bearer)
    assert (refused.status_code, refused.json()["code"]) == (401, "invalid_api_key")
