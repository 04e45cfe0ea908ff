"""Operators end the sessions of a person, of a tenant, or of everybody, by route and by command."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest
from alembic.command import upgrade
from auth import cli
from auth.security.revocation import purge
from sandbox.embedded import Valkey
from servicekit.auth.revocations import REMEMBERED_SECONDS
from testkit.databases import Databases
from testkit.eventually import time_limit
from testkit.plugin import service_folder

from .conftest import Auth, Variables, started
from .test_revocation import shop, until_refused
from .test_step_up import grow_old
from .test_tenants import environment


@pytest.fixture(scope="module")
def variables(
    variables: Variables,
    databases: Databases,
    pytestconfig: pytest.Config,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Variables]:
    """A database and a Redis apart: the end of every session is known for minutes by all who share them."""
    url = databases.fresh("auth-ending-sessions")
    service = service_folder(pytestconfig.rootpath, "auth")
    databases.alembic(service, url, lambda config: upgrade(config, "head"))
    with Valkey(tmp_path_factory.mktemp("redis"), durable=False) as server:
        yield {**variables, "database_url": url, "redis_url": server.url}


@pytest.fixture(scope="module")
async def auth(variables: Variables) -> AsyncIterator[Auth]:
    async with started(variables) as running_service:
        yield running_service


def code(answer):
    return answer.status_code, answer.json()["code"]


async def end(auth, operator, **target):
    return await auth.ask("POST", "sessions/end", operator, target)


def run(monkeypatch, auth, *arguments):
    environment(monkeypatch, auth)
    return asyncio.to_thread(cli.main, ["sessions", "end", *arguments])


async def sign_in_again(auth, email="ann@example.com"):
    """Sign in until the second is over up to which everybody was signed out."""
    async with time_limit():
        while True:
            bundle = await auth.session(email)
            if (await auth.refresh(bundle)).status_code == 200:
                return await auth.session(email)
            await asyncio.sleep(0.1)


@pytest.fixture
async def operated(auth, start):
    """A service with operators, the session of one, and Ann's."""
    operator = await auth.somebody("op@example.com", tenant_name="Operators")
    service = await start(auth_operator_tenant_id=operator["tenant_id"])
    return service, operator, await auth.somebody()


async def test_a_person_is_out_everywhere_and_nobody_else(operated):
    auth, operator, ann = operated
    bob = await auth.joined(ann, "bob@example.com", "member")
    own = (await auth.ask("POST", "tenants", bob, {"name": "Bob's"})).json()
    elsewhere = await auth.ask("POST", f"tenants/{own['id']}/switch", await auth.session("bob@example.com"))
    async with shop(auth) as ask:
        answer = await end(auth, operator, user_id=bob["user_id"].removeprefix("user:"))
        assert (answer.status_code, answer.json()) == (200, {"ended": 2})
        for bundle in (bob, elsewhere.json()):
            await until_refused(ask, bundle)
            assert code(await auth.refresh(bundle)) == (401, "invalid_refresh_token")
        assert (await ask(ann)).status_code == 200
    [row] = await auth.audited("sessions_ended")
    assert (row["actor"], row["subject"]) == (operator["user_id"], bob["user_id"])
    assert row["detail"] == '{"ended": 2, "scope": "user"}'
    assert (await auth.sign_in("bob@example.com")).status_code == 200


async def test_a_tenant_is_signed_out_and_no_other(operated):
    auth, operator, ann = operated
    bob = await auth.joined(ann, "bob@example.com", "member")
    eve = await auth.somebody("eve@example.com")
    answer = await end(auth, operator, tenant_id=ann["tenant_id"])
    assert answer.json() == {"ended": 2}
    assert [(await auth.refresh(one)).status_code for one in (ann, bob, eve, operator)] == [
        401,
        401,
        200,
        200,
    ]
    [row] = await auth.audited("sessions_ended")
    assert (str(row["tenant_id"]), row["detail"]) == (ann["tenant_id"], '{"ended": 2, "scope": "tenant"}')


async def test_everybody_is_signed_out_at_every_service_within_five_seconds(operated):
    auth, operator, ann = operated
    made = await auth.post("api-keys", ann["access_token"], name="ci", scopes=["tenant:read"])
    async with shop(auth) as ask:
        assert (await ask(ann)).status_code == 200
        answer = await end(auth, operator, everybody=True)
        assert (answer.status_code, answer.json()) == (200, {"ended": 2})
        for bundle in (ann, operator):
            await until_refused(ask, bundle)
            assert code(await auth.refresh(bundle)) == (401, "invalid_refresh_token")
        async with shop(auth) as started_later:
            assert (await started_later(ann)).status_code == 401
        again = await sign_in_again(auth)
        assert (await ask(again)).status_code == 200
    assert (await auth.me(again["access_token"])).status_code == 200
    key = {"access_token": made.json()["key"]}
    assert (await auth.ask("GET", "tenants/current/members", key)).status_code == 200
    [row] = await auth.audited("sessions_ended")
    assert str(row["tenant_id"]) == operator["tenant_id"]
    assert row["detail"] == '{"ended": 2, "scope": "everybody"}'


async def test_what_was_ended_for_everybody_stays_over_when_its_mark_is_old(operated):
    auth, operator, ann = operated
    await end(auth, operator, everybody=True)
    await sign_in_again(auth)
    await auth.database.execute(
        "update revocations set revoked_at = revoked_at - make_interval(secs => $1)", REMEMBERED_SECONDS + 60
    )
    await auth.database.execute(
        "update sessions set authenticated_at = authenticated_at - make_interval(secs => $1) where id = $2",
        REMEMBERED_SECONDS + 60,
        ann["session_id"],
    )
    async with auth.app.state.services.database.begin() as db:
        await purge(db)
    assert code(await auth.refresh(ann)) == (401, "invalid_refresh_token")


@pytest.mark.parametrize("way", ["switch", "step-up"])
async def test_no_session_slips_through_under_another_id(operated, way):
    """However switching and stepping up fall between, whoever was in is out."""
    auth, operator, ann = operated
    own = (await auth.ask("POST", "tenants", ann, {"name": "Second"})).json()
    sessions = [ann, *[await auth.session() for _ in range(4)]]
    path, body = (
        (f"tenants/{own['id']}/switch", {}) if way == "switch" else ("step-up", {"password": auth.password})
    )
    user_id = ann["user_id"].removeprefix("user:")
    answers = await asyncio.gather(
        *(auth.ask("POST", path, one, body) for one in sessions[:2]),
        end(auth, operator, user_id=user_id),
        *(auth.ask("POST", path, one, body) for one in sessions[2:]),
    )
    went_on = [answer.json() for answer in answers if "refresh_token" in answer.json()]
    assert {(await auth.refresh(one)).status_code for one in [*sessions, *went_on]} == {401}


@pytest.mark.parametrize(
    "target",
    [
        {},
        {"everybody": False},
        {"everybody": True, "user_id": str(uuid4())},
        {"user_id": None},
        {"email": "x@y.z"},
    ],
)
async def test_names_exactly_one_target(operated, target):
    auth, operator, _ = operated
    assert code(await end(auth, operator, **target)) == (422, "invalid_request")


@pytest.mark.parametrize(
    ("kind", "refusal"), [("user_id", "user_not_found"), ("tenant_id", "tenant_not_found")]
)
async def test_tells_an_operator_that_there_is_no_such_target(operated, kind, refusal):
    auth, operator, _ = operated
    assert code(await end(auth, operator, **{kind: str(uuid4())})) == (404, refusal)


async def test_is_for_operators_who_are_so_now_and_have_proved_it_a_short_while_ago(operated):
    auth, operator, ann = operated
    assert code(await end(auth, ann, everybody=True)) == (403, "operators_only")
    key = await auth.post("api-keys", operator["access_token"], name="ci", scopes=["tenant:manage"])
    assert code(await end(auth, {"access_token": key.json()["key"]}, everybody=True)) == (403, "people_only")
    await auth.role("op@example.com", "member")
    assert code(await end(auth, operator, everybody=True)) == (403, "role_too_low")
    await auth.role("op@example.com", "owner")
    await grow_old(auth)
    assert code(await end(auth, operator, everybody=True)) == (401, "insufficient_user_authentication")
    assert (await auth.refresh(ann)).status_code == 200


async def test_there_are_no_operators_unless_a_tenant_is_named(auth):
    assert code(await end(auth, await auth.somebody(), everybody=True)) == (403, "operators_only")


@pytest.mark.parametrize("by", ["email", "id", "subject"])
async def test_a_command_ends_the_sessions_of_a_person(auth, monkeypatch, capsys, by):
    ann, bob = await auth.somebody(), await auth.somebody("bob@example.com")
    name = {
        "email": "Ann@Example.com",
        "id": ann["user_id"].removeprefix("user:"),
        "subject": ann["user_id"],
    }[by]
    assert await run(monkeypatch, auth, "--user", name) == 0
    assert capsys.readouterr().out.startswith("Ended 1 sessions.")
    assert [(await auth.refresh(one)).status_code for one in (ann, bob)] == [401, 200]
    [row] = await auth.audited("sessions_ended")
    assert (row["actor"], row["subject"]) == ("operator", ann["user_id"])


async def test_a_command_ends_the_sessions_of_a_tenant(auth, monkeypatch):
    ann, bob = await auth.somebody(), await auth.somebody("bob@example.com", tenant_name="Bob's")
    assert await run(monkeypatch, auth, "--tenant", "ann-s-bakery") == 0
    assert [(await auth.refresh(one)).status_code for one in (ann, bob)] == [401, 200]


async def test_a_command_ends_the_sessions_of_everybody(auth, monkeypatch, capsys):
    ann, bob = await auth.somebody(), await auth.somebody("bob@example.com")
    async with shop(auth) as ask:
        assert await run(monkeypatch, auth, "--everybody") == 0
        assert capsys.readouterr().out.startswith("Ended 2 sessions.")
        for bundle in (ann, bob):
            await until_refused(ask, bundle)
            assert (await auth.refresh(bundle)).status_code == 401
    await sign_in_again(auth)


@pytest.mark.parametrize(
    "arguments", [("--user", "nobody@example.com"), ("--user", "x"), ("--user", "@"), ("--tenant", "nobody")]
)
async def test_a_command_says_that_there_is_no_such_target(auth, monkeypatch, capsys, arguments):
    assert await run(monkeypatch, auth, *arguments) == 1
    assert "not found" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [(), ("--everybody", "--tenant", "x")])
def test_a_command_wants_exactly_one_target(arguments):
    assert cli.main(["sessions", "end", *arguments]) == 2
