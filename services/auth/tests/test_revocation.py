"""What auth revokes, as a service in another process would hear of it: over Redis, with its own verifier."""

import asyncio
import contextlib
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import pytest
from auth.security.revocation import RevocationKind, RevocationPublisher, purge, revoke
from fastapi import APIRouter
from redis.asyncio import Redis
from sandbox.embedded import Valkey
from servicekit.app import create_service
from servicekit.auth.dependencies import require
from servicekit.auth.revocations import KEY, REMEMBERED_SECONDS
from servicekit.auth.tokens import Principal
from servicekit.settings import ServiceSettings
from testkit.app import client, running
from testkit.eventually import time_limit

router = APIRouter()


@router.get("/seen")
async def seen(caller: Annotated[Principal, require("conversations:read")]) -> str:
    return caller.subject


@contextlib.asynccontextmanager
async def shop(auth):
    """Another service, which knows auth by its keys and by what is in Redis alone."""
    settings = ServiceSettings(
        environment="test",
        debug=True,
        run_workers=False,
        logging_sink="none",
        database_url=auth.settings.database_url,
        redis_url=auth.settings.redis_url,
        auth_issuer=auth.settings.auth_issuer,
        auth_jwks_url=auth.settings.auth_jwks_url,
    )
    app = create_service("shop", settings, routers=[router], keys=auth.app.state.services.keys)
    async with running(app), client(app) as other:
        yield lambda bundle: other.get("/seen", headers={"Authorization": f"Bearer {bundle['access_token']}"})


async def until_refused(ask, bundle):
    """Wait until a service refuses a token."""
    # Five seconds are promised; a busy machine takes longer, and no token ends within this by itself.
    async with time_limit():
        while (answer := await ask(bundle)).status_code == 200:  # noqa: ASYNC110  # it asks
            await asyncio.sleep(0.01)
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")


async def sign_out(auth, bundle):
    assert (await auth.post("logout", refresh_token=bundle["refresh_token"])).status_code == 204


async def sign_out_everywhere(auth, bundle):
    assert (await auth.post("logout/all", bearer=bundle["access_token"])).status_code == 204


async def end_by_id(auth, bundle):
    other = await auth.session()
    answer = await auth.public.delete(
        f"/api/v1/auth/sessions/{bundle['session_id']}",
        headers={"Authorization": f"Bearer {other['access_token']}"},
    )
    assert answer.status_code == 204


async def sign_out_others(auth, bundle):
    other = await auth.session()
    assert (await auth.post("logout/others", bearer=other["access_token"])).status_code == 204


async def use_a_copy(auth, bundle):
    child = (await auth.refresh(bundle)).json()
    await auth.refresh(child)
    assert (await auth.refresh(bundle)).json()["code"] == "refresh_token_reused"


async def be_disabled(auth, bundle):
    await auth.database.execute("update users set status = 'disabled'")
    assert (await auth.refresh(bundle)).status_code == 401


@pytest.mark.parametrize(
    "over", [sign_out, sign_out_everywhere, end_by_id, sign_out_others, use_a_copy, be_disabled]
)
async def test_another_service_refuses_within_five_seconds_whatever_ended_the_session(auth, over):
    bundle = await auth.somebody()
    bobs = await auth.somebody("bob@example.com")
    async with shop(auth) as ask:
        assert (await ask(bundle)).status_code == 200
        await over(auth, bundle)
        await until_refused(ask, bundle)
        if over is not be_disabled:
            assert (await ask(bobs)).status_code == 200


async def test_auth_itself_refuses_as_well(auth):
    bundle = await auth.somebody()

    async def me(held):
        return await auth.public.get(
            "/api/v1/auth/me/audit", headers={"Authorization": f"Bearer {held['access_token']}"}
        )

    await sign_out(auth, bundle)
    await until_refused(me, bundle)


# What is revoked of a tenant are its machines' tokens: test_tenant_status has those.
@pytest.mark.parametrize("kind", [kind for kind in RevocationKind if kind is not RevocationKind.TENANT])
async def test_carries_sessions_tokens_subjects_and_clients(auth, kind):
    bundle, other = await auth.somebody(), await auth.somebody("bob@example.com")
    claims = auth.claims(bundle)
    name = {"session": "sid", "token": "jti", "subject": "sub", "client": "client_id"}[kind]
    async with shop(auth) as ask:
        async with auth.app.state.services.database.begin() as db:
            await revoke(db, kind, claims[name])
            await revoke(db, kind)
        await until_refused(ask, bundle)
        assert (await ask(other)).status_code == (401 if kind is RevocationKind.CLIENT else 200)


async def test_lets_somebody_back_in_who_signs_in_later(auth):
    bundle = await auth.somebody()
    async with shop(auth) as ask:
        async with auth.app.state.services.database.begin() as db:
            await revoke(db, RevocationKind.SUBJECT, bundle["user_id"])
        await until_refused(ask, bundle)
        # Issued in the same second, it is refused as well.
        async with time_limit():
            while (await ask(await auth.session())).status_code != 200:  # noqa: ASYNC110  # it asks
                await asyncio.sleep(0.2)
        assert (await ask(bundle)).status_code == 401


async def test_tells_nothing_of_what_was_not_committed(auth, redis_url):
    class ChangedMind(Exception):
        pass

    resources = auth.app.state.resources

    async def revoke_and_fail():
        async with resources.database.begin() as db:
            await revoke(db, RevocationKind.SESSION, "undone")
            raise ChangedMind

    with pytest.raises(ChangedMind):
        await revoke_and_fail()
    await RevocationPublisher(resources.database, resources.redis).step()
    async with Redis.from_url(redis_url) as redis:
        assert not [one for one in await redis.zrange(KEY, 0, -1) if b"undone" in one]


async def test_a_process_that_died_before_it_published_has_lost_nothing(auth, redis_url):
    resources, name = auth.app.state.resources, str(uuid4())
    await auth.database.execute("insert into revocations (key) values ($1)", f"session:{name}")
    # What starts in its place tells all that matters still.
    await RevocationPublisher(resources.database, resources.redis).step()
    async with Redis.from_url(redis_url) as redis:
        assert [one for one in await redis.zrange(KEY, 0, -1) if name.encode() in one]


async def test_tells_again_what_redis_has_lost(auth, tmp_path: Path):
    bundle = await auth.somebody()
    await sign_out(auth, bundle)
    resources = auth.app.state.resources
    with Valkey(tmp_path / "first", durable=False) as server:
        async with Redis.from_url(server.url) as redis:
            announcer = RevocationPublisher(resources.database, redis)
            await announcer.step()
            await redis.flushall()
            await announcer.begin()
            await announcer.step()
            assert [one for one in await redis.zrange(KEY, 0, -1) if bundle["session_id"].encode() in one]


async def test_tells_each_only_once_while_all_is_well(auth, redis_url):
    resources, name = auth.app.state.resources, str(uuid4())
    announcer = RevocationPublisher(resources.database, resources.redis)
    await announcer.step()
    await auth.database.execute("insert into revocations (key) values ($1)", f"session:{name}")
    await announcer.step()
    async with Redis.from_url(redis_url) as redis:
        [entry] = [one for one in await redis.zrange(KEY, 0, -1) if name.encode() in one]
        first = await redis.zscore(KEY, entry)
        await announcer.step()
        assert await redis.zscore(KEY, entry) == first


async def test_forgets_when_no_token_is_left(auth):
    insert = (
        "insert into revocations (key, revoked_at) values ($1, clock_timestamp() - make_interval(secs => $2))"
    )
    await auth.database.execute(insert, "session:old", REMEMBERED_SECONDS + 5)
    await auth.database.execute(insert, "session:young", REMEMBERED_SECONDS - 30)
    async with auth.app.state.services.database.begin() as db:
        await purge(db)
    kept = [row["key"] for row in await auth.database.fetch("select key from revocations")]
    assert kept == ["session:young"]
    assert auth.settings.access_token_expire_minutes * 60 + 60 < REMEMBERED_SECONDS


async def test_while_redis_is_away_sessions_end_all_the_same(start, tmp_path):
    with Valkey(tmp_path, durable=False) as server:
        auth = await start(redis_url=server.url)
        bundle = await auth.somebody()
    await sign_out(auth, bundle)
    assert (await auth.me(bundle["access_token"])).json()["code"] == "session_ended"
    assert await auth.database.fetchval("select count(*) from revocations") == 1
