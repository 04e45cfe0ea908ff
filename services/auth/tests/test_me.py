import pytest


async def test_shows_the_role_that_a_header_has_lowered(auth):
    bundle = await auth.somebody()
    answer = await auth.me(bundle["access_token"], **{"X-Tenant-Role": "viewer"})
    assert answer.json()["role"] == "viewer"


async def test_refuses_another_tenant(auth):
    bundle, other = await auth.somebody(), await auth.somebody("bob@example.com")
    answer = await auth.me(bundle["access_token"], **{"X-Tenant-Id": other["tenant_id"]})
    assert (answer.status_code, answer.json()["code"]) == (403, "tenant_mismatch")


@pytest.mark.parametrize(
    "change",
    [
        "update users set status = 'disabled'",
        "delete from memberships",
        "delete from sessions",
        "delete from users",
    ],
)
async def test_does_not_wait_for_the_token_to_run_out(auth, change):
    bundle = await auth.somebody()
    await auth.database.execute(change)
    answer = await auth.me(bundle["access_token"])
    assert (answer.status_code, answer.json()["code"]) == (401, "session_ended")
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


async def test_is_never_cached(auth):
    bundle = await auth.somebody()
    assert (await auth.me(bundle["access_token"])).headers["cache-control"] == "no-store"
