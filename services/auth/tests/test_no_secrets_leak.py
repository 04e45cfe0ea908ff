"""Nothing secret leaves through the logs, and nothing but the address readable through the outbox."""

import json
import logging

from servicekit.settings import RotatingSecret

from .all_tokens import everything as all_tokens
from .all_tokens import replica

WRONG = "a wrong one, that somebody typed"


async def everything(auth):
    """Do all that one can do here, right and wrong; give what must stay secret."""
    bundle = await auth.somebody(display_name="Ann Canary")
    mail = await auth.mail_tokens()
    renewed = (await auth.refresh(bundle)).json()
    again = (await auth.refresh(bundle)).json()
    await auth.sign_in(password=WRONG)
    await auth.register(password=WRONG)
    await auth.register("someone@canary.example", password="short")
    await auth.post("token", email="someone@canary.example", password=["not a text"], extra=WRONG)
    await auth.post("email/send", email="someone@canary.example")
    await auth.post("email/verify", token=mail[0])
    await auth.database.execute("update refresh_tokens set consumed_at = consumed_at - interval '1 hour'")
    await auth.refresh(bundle)
    await auth.post("logout/all", bearer=again["access_token"] + "x")
    await auth.public.get("/api/v1/auth/me", params={"access_token": again["access_token"]})
    machine = await auth.machine()
    await auth.machine(client_secret=WRONG)
    tokens = [one[kind] for one in (bundle, renewed, again) for kind in ("access_token", "refresh_token")]
    return {
        *tokens,
        *mail,
        *(token.partition(".")[2] for token in mail),
        machine.json()["access_token"],
        auth.password,
        WRONG,
        "what-chat-agent-proves-itself-with",
        *(secret.get_secret_value() for secret in peppers(auth.settings)),
    }


def peppers(settings):
    """The peppers and keys that this service stores digests and ciphertexts by."""
    found = [
        one
        for name in type(settings).model_fields
        if isinstance(one := getattr(settings, name), RotatingSecret)
    ]
    assert len(found) >= 6
    return found


async def test_writes_no_secret_and_no_address_into_its_logs(start, capsys):
    auth = await start(logging_sink="stdout", log_level="DEBUG")
    secrets = await everything(auth)
    for handler in logging.getLogger().handlers:
        handler.flush()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    written = json.dumps(lines, ensure_ascii=False)
    assert {"http.response", "refresh token reused"} <= {line["event"] for line in lines}
    assert [secret for secret in secrets if secret in written] == []
    for personal in ("example.com", "canary", "Canary", "Bakery"):
        assert personal not in written
    [*_, line] = [
        one for one in lines if one.get("path") == "/api/v1/auth/refresh" and one["status_code"] == 200
    ]
    assert line["user_id"].startswith("user:")
    assert line["tenant_id"]


async def test_shows_no_secret_and_no_address_to_who_runs_it(start, operator, tmp_path, captured_telemetry):
    auth = await replica(start, operator, tmp_path, **captured_telemetry.settings)
    made = await all_tokens(auth, operator)
    for token in made.tokens.values():
        headers = {"Authorization": f"Bearer {token}", "Cookie": f"token={token}"}
        await auth.public.get("/api/v1/auth/me", params={"token": token}, headers=headers)
        await auth.post("refresh", refresh_token=token, **{"not expected": token})
    await auth.database.execute("truncate users, tenants cascade")
    secrets = await everything(auth)
    assert captured_telemetry.instrumented_libraries == {"fastapi", "sqlalchemy", "redis", "aiohttp_client"}
    assert "auth_refreshes_total" in captured_telemetry.metrics
    # With its @: other tests of this process may have named an issuer's host in the metrics.
    personal = ("@example.com", "elsewhere.example", "canary", "Canary", "Bakery")
    assert captured_telemetry.leaks(*secrets, *made.tokens.values(), *personal) == []


async def test_leaves_only_the_address_and_names_readable_in_events(auth):
    secrets = await everything(auth)
    written = "".join(event["data"] for event in await auth.events())
    assert "ann@example.com" in written
    assert [secret for secret in secrets if secret in written] == []


async def test_keeps_no_password_and_no_token_in_any_table(auth):
    secrets = await everything(auth)
    tables = await auth.database.fetch("select tablename from pg_tables where schemaname = 'public'")
    for table in tables:
        rows = await auth.database.fetch(f"select * from {table['tablename']}")  # noqa: S608  # our own tables
        stored = "".join(str(dict(row)) for row in rows)
        assert [secret for secret in secrets if secret in stored] == [], table


async def test_sends_nothing_back_of_what_does_not_fit(auth):
    answer = await auth.post("token", email="nobody", password=[WRONG], secret=WRONG)
    assert answer.status_code == 422
    assert WRONG not in answer.text
    assert "nobody" not in answer.text
