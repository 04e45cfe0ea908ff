import asyncio
import io

import pytest
from auth import cli

BASE = ["--email", "owner@example.com", "--tenant-name", "Ann's Bakery"]


@pytest.fixture
def run(variables, monkeypatch, capsys):
    """A function that runs the command as a shell does, and gives its exit code and what it printed."""
    plain = {
        name.upper(): str(value) for name, value in variables.items() if isinstance(value, str | bool | int)
    }
    for name, value in plain.items():
        monkeypatch.setenv(name, value)
    for name in ("auth_session_encryption_key", "event_sealing_key"):
        monkeypatch.setenv(name.upper(), variables[name].get_secret_value())
    monkeypatch.setenv("AUTH_KEY_STORAGE_PATH", str(variables["auth_key_storage_path"]))

    async def command(*arguments, typed=""):
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        # In a thread: the command brings its own loop.
        code = await asyncio.to_thread(cli.main, ["users", "seed", *BASE, *arguments])
        return code, capsys.readouterr()

    return command


OTHER_PASSWORD = "quite different words there"


async def rows(auth):
    """Everything that seeding could change of a person."""
    people = await auth.database.fetch("select * from users order by email")
    return [*people, *await auth.database.fetch("select * from memberships order by user_id, tenant_id")]


async def test_makes_a_tenant_and_an_owner_who_can_sign_in(run, auth):
    options = ("--tenant-slug", "bakery", "--role", "owner", "--password-stdin")
    code, printed = await run(*options, typed=f"{auth.password}\n")
    bundle = await auth.session("owner@example.com")
    me = (await auth.me(bundle["access_token"])).json()
    assert (me["role"], me["tenant_slug"], me["email_verified"]) == ("owner", "bakery", True)
    assert code == 0
    assert printed.out.splitlines() == [f"tenant {me['tenant_id']} bakery", f"user {me['user_id']} owner"]
    assert [event["type"] for event in await auth.events()] == ["auth.tenant.created.v1"]


async def test_creates_a_member_by_default_and_says_that_an_owner_is_missing(run, auth):
    code, printed = await run("--password-stdin", typed=auth.password)
    assert code == 0
    assert auth.claims(await auth.session("owner@example.com"))["role"] == "member"
    assert printed.out.splitlines()[-1].startswith("note: ann-s-bakery has no owner yet")


async def test_can_be_repeated(run, auth):
    await run("--password-stdin", typed=auth.password)
    before = await rows(auth)
    code, _ = await run("--password-stdin", typed=auth.password)
    assert code == 0
    assert await rows(auth) == before


@pytest.mark.parametrize(
    ("options", "typed", "named"),
    [
        (["--role", "admin"], "", "the role"),
        (["--password-stdin"], OTHER_PASSWORD, "the password"),
        (["--display-name", "Somebody else"], "", "the name"),
        (["--tenant-slug", "elsewhere"], "", "the membership"),
        (["--role", "admin", "--password-stdin"], OTHER_PASSWORD, "the role, the password"),
    ],
)
async def test_changes_an_existing_person_only_on_request(run, auth, options, typed, named):
    await run("--password-stdin", typed=auth.password)
    before = await rows(auth)
    code, printed = await run(*options, typed=typed)
    assert (code, printed.out) == (1, "")
    assert f"This would change {named}; repeat the command with --update" in printed.err
    assert await rows(auth) == before
    assert await auth.database.fetchval("select count(*) from tenants") == 1


async def test_sets_another_password_and_another_role_on_request(run, auth):
    await run("--password-stdin", typed=auth.password)
    session = await auth.session("owner@example.com")
    code, _ = await run("--update", "--role", "viewer", "--password-stdin", typed=OTHER_PASSWORD)
    assert code == 0
    assert (await auth.sign_in("owner@example.com")).status_code == 401
    bundle = await auth.session("owner@example.com", OTHER_PASSWORD)
    assert auth.claims(bundle)["role"] == "viewer"
    assert (await auth.post("refresh", refresh_token=session["refresh_token"])).status_code == 401
    assert await auth.database.fetchval("select count(*) from passwords_before") == 1
    actions = {row["action"] for row in await auth.database.fetch("select action from audit_events")}
    assert actions >= {"user_created", "authz_change", "authn_password_change", "session_ended"}


async def test_leaves_a_tenant_its_last_owner(run, auth):
    await run("--role", "owner", "--password-stdin", typed=auth.password)
    before = await rows(auth)
    code, printed = await run("--update", "--role", "member", "--password-stdin", typed=OTHER_PASSWORD)
    assert (code, printed.out) == (1, "")
    assert "last owner" in printed.err
    assert await rows(auth) == before


async def test_makes_up_a_password_and_shows_it_once(run, auth):
    _, printed = await run("--role", "owner", "--print-password")
    password = printed.out.splitlines()[-1].removeprefix("password ")
    await auth.session("owner@example.com", password)
    _, again = await run("--role", "owner", "--print-password")
    assert "password" not in again.out
    await auth.session("owner@example.com", password)


async def test_replaces_an_unconfirmed_sign_up_on_request(run, auth):
    await auth.register("owner@example.com")
    code, printed = await run("--tenant-slug", "other")
    assert code == 1
    assert "the confirmation of the address" in printed.err
    await auth.register("owner@example.com", password="yet other words of somebody")
    _, printed = await run("--update", "--tenant-slug", "other", "--print-password")
    bundle = await auth.session("owner@example.com", printed.out.splitlines()[-1].removeprefix("password "))
    assert bundle["email_verified"] is True
    # Whoever had signed up with the address is not let in by that.
    assert (await auth.sign_in("owner@example.com")).status_code == 401
    assert await auth.database.fetchval("select count(*) from users") == 1


@pytest.mark.parametrize(
    ("password", "sentence"),
    [
        ("short", "15 characters"),
        ("owner@example.com-owner", "common password"),
        ("passwordpassword", "common password"),
    ],
)
async def test_takes_no_weak_password_in_development_either(run, auth, password, sentence):
    code, printed = await run("--password-stdin", typed=password)
    assert (code, printed.out) == (1, "")
    assert sentence in printed.err
    assert await auth.database.fetchval("select count(*) from users") == 0


@pytest.mark.parametrize("wrong", [["--email", "nobody"], ["--role", "emperor"]])
async def test_refuses_what_makes_no_sense(run, wrong, capsys):
    code, _ = await run(*wrong)
    assert code == 2
