import asyncio
import io

import pytest
from auth import seed

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
        code = await asyncio.to_thread(seed.main, [*BASE, *arguments])
        return code, capsys.readouterr()

    return command


async def test_makes_a_tenant_and_an_owner_who_can_sign_in(run, auth):
    code, printed = await run("--tenant-slug", "bakery", "--password-stdin", typed=f"{auth.password}\n")
    bundle = await auth.session("owner@example.com")
    me = (await auth.me(bundle["access_token"])).json()
    assert (me["role"], me["tenant_slug"], me["email_verified"]) == ("owner", "bakery", True)
    assert code == 0
    assert printed.out.splitlines() == [f"tenant {me['tenant_id']} bakery", f"user {me['user_id']} owner"]
    assert await auth.events() == []


async def test_can_be_repeated(run, auth):
    for _ in range(2):
        code, _ = await run("--password-stdin", typed=auth.password)
        assert code == 0
    hashes = await auth.database.fetch("select password_hash from users")
    await run("--password-stdin", typed=auth.password)
    assert await auth.database.fetch("select password_hash from users") == hashes
    assert await auth.database.fetchval("select count(*) from users, tenants, memberships") == 1


async def test_sets_another_password_and_another_role(run, auth):
    await run("--password-stdin", typed=auth.password)
    await run("--password-stdin", "--role", "viewer", typed="quite different words there")
    assert (await auth.sign_in("owner@example.com")).status_code == 401
    bundle = await auth.session("owner@example.com", "quite different words there")
    assert auth.claims(bundle)["role"] == "viewer"


async def test_makes_up_a_password_and_shows_it_once(run, auth):
    _, printed = await run("--print-password")
    password = printed.out.splitlines()[-1].removeprefix("password ")
    await auth.session("owner@example.com", password)
    _, again = await run("--print-password")
    assert "password" not in again.out
    await auth.session("owner@example.com", password)


async def test_confirms_an_account_that_waits_for_it(run, auth):
    await auth.register("owner@example.com")
    await run("--tenant-slug", "other")
    bundle = await auth.session("owner@example.com")
    assert bundle["email_verified"] is True


async def test_takes_no_weak_password_where_it_matters(run, auth, monkeypatch):
    weak = ("--password-stdin",)
    assert (await run(*weak, typed="short"))[0] == 0
    monkeypatch.setenv("DEBUG", "false")
    for name, value in {
        "VERIFY_ENABLED": "true",
        "ADDR": "https://v",
        "TOKEN": "t",
        "TRANSIT_KEY": "k",
    }.items():
        monkeypatch.setenv(f"VAULT_{name}", value)
    code, printed = await run(*weak, typed="short")
    assert (code, printed.out) == (1, "")
    assert "15 characters" in printed.err


@pytest.mark.parametrize("wrong", [["--email", "nobody"], ["--role", "emperor"]])
async def test_refuses_what_makes_no_sense(run, wrong, capsys):
    with pytest.raises(SystemExit):
        await run(*wrong)
