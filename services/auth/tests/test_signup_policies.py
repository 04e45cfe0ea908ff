import asyncio

import pytest
from auth.settings import Settings
from pydantic import ValidationError

CLOSED = (403, "signup_closed")
REQUEST = {"email": "new@example.com", "name": "Nell New", "company": "New & Sons", "message": "Please."}


def code(answer):
    return answer.status_code, answer.json()["code"]


async def ask(auth, **changes):
    return await auth.post("signup-requests", **{**REQUEST, **changes})


@pytest.fixture
async def approving(auth, start):
    """A service where operators decide, and the session of one."""
    operator = await auth.somebody("op@example.com", tenant_name="Operators")
    decided = await start(auth_signup_policy="approval", auth_operator_tenant_id=operator["tenant_id"])
    return decided, operator


async def pending(auth, operator):
    answer = await auth.ask("GET", "signup-requests?status=pending", operator)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


async def test_everybody_may_sign_up_where_it_is_public(auth):
    assert (await auth.public.get("/api/v1/auth/signup-policy")).json() == {"policy": "public"}
    assert (await auth.register()).status_code == 202
    assert code(await ask(auth)) == (403, "signup_requests_closed")


@pytest.mark.parametrize("policy", ["invite_only", "approval"])
async def test_a_sign_up_without_an_invite_is_refused_and_reveals_nothing_of_the_address(auth, start, policy):
    bundle = await auth.somebody()
    closed = await start(auth_signup_policy=policy, auth_operator_tenant_id=bundle["tenant_id"])
    assert (await closed.public.get("/api/v1/auth/signup-policy")).json() == {"policy": policy}
    answers = [await closed.register(email) for email in ("ann@example.com", "new@example.com")]
    bodies = [{**answer.json(), "request_id": None} for answer in answers]
    assert [code(answer) for answer in answers] == [CLOSED, CLOSED]
    assert bodies[0] == bodies[1]
    assert await auth.database.fetchval("select count(*) from users") == 1


async def test_an_invite_opens_what_is_closed_but_not_with_a_bad_token(auth, start):
    owner = await auth.somebody()
    closed = await start(auth_signup_policy="invite_only")
    assert code(await closed.register("new@example.com", invite="x")) == (400, "invalid_invite")
    bundle = await closed.joined(owner, "new@example.com", "viewer")
    assert bundle["tenant_id"] == owner["tenant_id"]
    assert code(await ask(closed)) == (403, "signup_requests_closed")


async def test_who_asks_is_approved_and_signs_up_with_the_mails_invite(approving):
    auth, operator = approving
    assert code(await auth.register("new@example.com")) == CLOSED
    assert (await ask(auth)).status_code == 202
    [notice] = await auth.mails("access_requested")
    assert notice["email"] == "op@example.com"
    assert notice["facts"] == {"email": "new@example.com", "name": "Nell New", "company": "New & Sons"}
    [request] = await pending(auth, operator)
    assert {key: request[key] for key in REQUEST} == REQUEST

    answer = await auth.ask("POST", f"signup-requests/{request['id']}/approve", operator)
    assert (answer.status_code, answer.json()["status"]) == (200, "approved")
    assert await pending(auth, operator) == []
    [mail] = await auth.mails("access_approved")
    assert (mail["recipient"], mail["email"]) == ("mail:new@example.com", "new@example.com")
    assert mail["token"] not in answer.text

    # Into a tenant of their own, which has to be named; the mail has confirmed the address.
    nameless = {"email": "new@example.com", "password": auth.password, "invite": mail["token"]}
    assert code(await auth.post("register", **nameless)) == (422, "tenant_name_missing")
    assert code(await auth.register("other@example.com", invite=mail["token"])) == (400, "invalid_invite")
    signed_up = await auth.register("new@example.com", tenant_name="New & Sons", invite=mail["token"])
    assert signed_up.status_code == 202
    bundle = await auth.session("new@example.com")
    own = (await auth.ask("GET", "tenants/current", bundle)).json()
    assert (own["name"], own["role"]) == ("New & Sons", "owner")
    # Good once.
    again = await auth.register("new@example.com", tenant_name="Again", invite=mail["token"])
    assert code(again) == (400, "invalid_invite")
    for action in ("access_requested", "access_approved"):
        assert len(await auth.audited(action)) == 1


async def test_an_approval_lets_nobody_into_the_operators_tenant(approving):
    auth, operator = approving
    await ask(auth)
    [request] = await pending(auth, operator)
    await auth.ask("POST", f"signup-requests/{request['id']}/approve", operator)
    [mail] = await auth.mails("access_approved")
    bob = await auth.joined(operator, "new@example.com", "viewer")
    answer = await auth.ask("POST", "invites/accept", bob, {"token": mail["token"]})
    assert code(answer) == (400, "invalid_invite")


async def test_who_is_rejected_hears_of_it_and_may_ask_again(approving):
    auth, operator = approving
    await ask(auth)
    [request] = await pending(auth, operator)
    path = f"signup-requests/{request['id']}/reject"
    assert (await auth.ask("POST", path, operator, {"reason": "Not yet."})).status_code == 200
    [mail] = await auth.mails("access_rejected")
    assert (mail["email"], mail["token"]) == ("new@example.com", None)
    assert mail["facts"] == {"company": "New & Sons", "reason": "Not yet."}
    assert code(await auth.register("new@example.com")) == CLOSED
    assert (await ask(auth)).status_code == 202
    assert len(await pending(auth, operator)) == 1


async def test_of_many_decisions_at_once_one_counts(approving):
    auth, operator = approving
    await ask(auth)
    [request] = await pending(auth, operator)
    path = f"signup-requests/{request['id']}"
    answers = await asyncio.gather(
        *(auth.ask("POST", f"{path}/approve", operator) for _ in range(10)),
        *(auth.ask("POST", f"{path}/reject", operator, {}) for _ in range(10)),
    )
    assert sorted(answer.status_code for answer in answers) == [200, *[409] * 19]
    assert len(await auth.mails("access_approved")) + len(await auth.mails("access_rejected")) == 1
    late = await auth.ask("POST", f"{path}/approve", operator)
    assert code(late) == (409, "signup_request_already_decided")


async def test_only_operators_decide(approving):
    auth, operator = approving
    await ask(auth)
    [request] = await pending(auth, operator)
    member = await auth.joined(operator, "member@example.com", "member")
    owner = await auth.joined(operator, "eve@example.com", "viewer")
    made = (await auth.ask("POST", "tenants", owner, {"name": "Operators"})).json()
    owner = (await auth.ask("POST", f"tenants/{made['id']}/switch", owner)).json()
    path = f"signup-requests/{request['id']}"
    for bundle, expected in ((member, "forbidden"), (owner, "operators_only")):
        for answer in (
            await auth.ask("GET", "signup-requests", bundle),
            await auth.ask("POST", f"{path}/approve", bundle),
            await auth.ask("POST", f"{path}/reject", bundle, {}),
        ):
            assert code(answer) == (403, expected)
    unknown = "signup-requests/00000000-0000-4000-8000-000000000000/approve"
    assert code(await auth.ask("POST", unknown, operator)) == (404, "signup_request_not_found")


async def test_an_operator_of_a_moment_ago_decides_nothing(approving):
    auth, operator = approving
    await ask(auth)
    [request] = await pending(auth, operator)
    await auth.role("op@example.com", "member")
    answer = await auth.ask("POST", f"signup-requests/{request['id']}/approve", operator)
    assert code(answer) == (403, "role_too_low")


async def test_where_no_operators_are_named_nobody_is_one(auth):
    owner = await auth.somebody()
    assert code(await auth.ask("GET", "signup-requests", owner)) == (403, "operators_only")


async def test_asking_tells_nothing_of_the_address(approving):
    auth, operator = approving
    await ask(auth)
    answers = [
        await ask(auth),
        await ask(auth, email="op@example.com"),
        await ask(auth, email="x@example.com"),
    ]
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.text for answer in answers}) == 1
    emails = [request["email"] for request in await pending(auth, operator)]
    assert emails == ["new@example.com", "x@example.com"]


async def test_limits_requests_from_an_address(start):
    auth = await start(auth_signup_policy="approval", auth_rate_limits={"ip:signup-requests": 2})
    answers = [await ask(auth, email=f"p{n}@example.com") for n in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 429]


async def test_limits_requests_for_a_mailbox_and_tells_nobody(start):
    auth = await start(auth_signup_policy="approval", auth_rate_limits={"subject:signup-requests": 1})
    await ask(auth)
    assert await auth.database.fetchval("select count(*) from signup_requests") == 1
    await auth.database.execute("delete from signup_requests")
    assert (await ask(auth)).status_code == 202
    assert await auth.database.fetchval("select count(*) from signup_requests") == 0


async def test_lists_requests_page_by_page(approving):
    auth, operator = approving
    for n in range(3):
        await ask(auth, email=f"p{n}@example.com")
    first = (await auth.ask("GET", "signup-requests?limit=2", operator)).json()
    last = await auth.ask("GET", f"signup-requests?limit=2&cursor={first['next_cursor']}", operator)
    emails = [one["email"] for one in first["items"] + last.json()["items"]]
    assert emails == [f"p{n}@example.com" for n in range(3)]


@pytest.mark.parametrize(
    "bad", [{"email": "x"}, {"name": ""}, {"company": "x"}, {"message": "y" * 1001}, {"more": 1}]
)
async def test_refuses_requests_that_make_no_sense(approving, bad):
    auth, _ = approving
    assert code(await ask(auth, **bad)) == (422, "invalid_request")


def test_does_not_start_for_real_where_nobody_could_decide(variables):
    real = {**variables, "environment": "production", "debug": False, "auth_signup_policy": "approval"}
    with pytest.raises(ValidationError, match="AUTH_OPERATOR_TENANT_ID is missing"):
        Settings(**real)
