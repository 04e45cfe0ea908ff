import asyncio

import pytest
from auth.settings import Settings
from pydantic import ValidationError

from .factor_helpers import answered, challenged, enrol


@pytest.fixture
async def linked(start):
    """A service that lets people in by mail."""
    return await start(auth_magic_link_enabled=True)


async def request_link(auth, email="ann@example.com"):
    answer = await auth.post("magic-link", email=email)
    assert answer.status_code == 202, answer.text
    return answer.json()["binding"]


async def newest(auth):
    return (await auth.mails("magic_link"))[-1]["token"]


async def followed(auth, token, binding, **more):
    return await auth.post("magic-link/verify", token=token, binding=binding, **more)


async def test_is_off_unless_it_is_turned_on(auth):
    assert auth.settings.auth_magic_link_enabled is False
    await auth.somebody()
    for path, body in (
        ("magic-link", {"email": "ann@example.com"}),
        ("magic-link/verify", {"token": "x", "binding": "x"}),
    ):
        answer = await auth.post(path, **body)
        assert (answer.status_code, answer.json()["code"]) == (404, "magic_links_disabled")
    assert await auth.mails("magic_link") == []


async def test_lets_the_owner_of_a_mailbox_in(linked):
    before = await linked.somebody()
    binding = await request_link(linked)
    [mail] = await linked.mails("magic_link")
    assert (mail["email"], mail["recipient"]) == ("ann@example.com", before["user_id"])
    answer = await followed(linked, mail["token"], binding)
    bundle = answer.json()
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert (bundle["user_id"], bundle["tenant_id"]) == (before["user_id"], before["tenant_id"])
    assert linked.claims(bundle)["amr"] == ["email"]
    row = (await linked.audited("authn_login_success"))[-1]
    assert row["actor"] == bundle["user_id"]


async def test_lets_in_once_of_twenty_at_once(linked):
    await linked.somebody()
    binding = await request_link(linked)
    token = await newest(linked)
    answers = await asyncio.gather(*(followed(linked, token, binding) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 19


async def test_is_valid_only_in_the_browser_that_requested_it(linked):
    await linked.somebody()
    binding = await request_link(linked)
    token = await newest(linked)
    others = await request_link(linked, "unknown@example.com")
    for wrong in (others, "x", binding[:-1], binding.swapcase()):
        answer = await followed(linked, token, wrong)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_email_token")
    assert (await linked.post("magic-link/verify", token=token)).status_code == 422
    assert (await linked.post("magic-link/verify", token=token, binding="")).status_code == 422
    # None of them has used it up.
    assert (await followed(linked, token, binding)).status_code == 200


async def test_answers_in_one_way_whatever_the_address(linked):
    await linked.somebody()
    await linked.register("unconfirmed@example.com")
    await linked.somebody("disabled@example.com")
    await linked.database.execute("update users set status = 'disabled' where email_key like 'disabled%'")
    answers = [
        await linked.post("magic-link", email=f"{name}@example.com")
        for name in ("ann", "unknown", "unconfirmed", "disabled")
    ]
    bodies = [{**answer.json(), "binding": len(answer.json()["binding"])} for answer in answers]
    assert [answer.status_code for answer in answers] == [202] * 4
    assert bodies == [bodies[0]] * 4
    assert [mail["email"] for mail in await linked.mails("magic_link")] == ["ann@example.com"]


async def test_voids_the_link_before(linked):
    await linked.somebody()
    first, old = await request_link(linked), await newest(linked)
    second, new = await request_link(linked), await newest(linked)
    assert (await followed(linked, old, first)).status_code == 400
    assert (await followed(linked, new, second)).status_code == 200


async def test_refuses_a_link_that_is_too_old(linked):
    await linked.somebody()
    binding = await request_link(linked)
    left = await linked.database.fetchval(
        "select max(expires_at) - now() from email_tokens where purpose = 'magic_link'"
    )
    assert left.total_seconds() <= 600
    await linked.database.execute("update email_tokens set expires_at = now() - interval '1 second'")
    assert (await followed(linked, await newest(linked), binding)).status_code == 400


@pytest.mark.parametrize(
    "change",
    [
        "update users set email_key = 'other@example.com'",
        "update users set status = 'disabled'",
        "update tenants set status = 'suspended'; update memberships set role = 'admin'",
    ],
)
async def test_refuses_a_link_when_things_have_changed(linked, change):
    await linked.somebody()
    binding = await request_link(linked)
    await linked.database.execute(change)
    assert (await followed(linked, await newest(linked), binding)).status_code == 400


async def test_signs_in_to_no_tenant_of_others(linked):
    await linked.somebody()
    other = await linked.somebody("bob@example.com")
    binding = await request_link(linked)
    answer = await followed(linked, await newest(linked), binding, tenant_id=other["tenant_id"])
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_email_token")


async def test_is_no_second_factor(linked):
    app = await enrol(linked, await linked.somebody())
    binding = await request_link(linked)
    answer = await followed(linked, await newest(linked), binding)
    body = answer.json()
    assert (answer.status_code, body["code"]) == (401, "second_factor_required")
    assert (await followed(linked, await newest(linked), binding)).status_code == 400
    bundle = (await answered(linked, body["challenge"], code=app.code)).json()
    assert linked.claims(bundle)["amr"] == ["email", "otp", "mfa"]
    await challenged(linked)


async def test_has_tokens_that_fit_nowhere_else(linked):
    await linked.somebody()
    await linked.register("bob@example.com")
    confirming = (await linked.mail_tokens())[-1]
    binding = await request_link(linked)
    token = await newest(linked)
    assert (await linked.post("email/verify", token=token)).json()["code"] == "invalid_email_token"
    assert (await followed(linked, confirming, binding)).status_code == 400
    assert (await followed(linked, token, binding)).status_code == 200


async def test_sends_a_mailbox_only_so_many_and_says_so_to_nobody(auth, start):
    linked = await start(auth_magic_link_enabled=True, auth_rate_limits={"subject:magic-link": 2})
    await linked.somebody()
    answers = [await linked.post("magic-link", email="ann@example.com") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [202] * 4
    assert len(await linked.mails("magic_link")) == 2


async def test_limits_an_address(start):
    linked = await start(
        auth_magic_link_enabled=True,
        auth_rate_limits={"ip:magic-link": 2, "ip:magic-link/verify": 2},
    )
    sent = [await linked.post("magic-link", email=f"a{n}@example.com") for n in range(3)]
    tried = [await followed(linked, "x", "x") for _ in range(3)]
    assert [answer.status_code for answer in sent] == [202, 202, 429]
    assert [answer.status_code for answer in tried] == [400, 400, 429]


async def test_is_not_consumed_by_a_scanner_that_follows_the_link(linked):
    await linked.somebody()
    await request_link(linked)
    answer = await linked.public.get("/api/v1/auth/magic-link/verify", params={"token": await newest(linked)})
    assert answer.status_code == 405


@pytest.mark.parametrize("minutes", [0, 11])
async def test_lasts_at_most_ten_minutes(variables, minutes):
    with pytest.raises(ValidationError, match="MAGIC_LINK_TOKEN_TTL_MINUTES"):
        Settings(**{**variables, "magic_link_token_ttl_minutes": minutes})
