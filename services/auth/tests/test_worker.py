import pytest
from auth.worker import STREAM_READERS, ExpiryWorker, workers
from redis.asyncio import Redis
from servicekit.app import Resources
from servicekit.events.outbox import ReceivedEvent
from testkit.eventually import until_async


@pytest.fixture
async def redis(redis_url):
    async with Redis.from_url(redis_url) as connected:
        yield connected


async def test_sends_events_to_the_stream_that_others_read(auth, start, redis):
    await auth.register(display_name="Ann")
    await start(run_workers=True)

    async def all_are_sent() -> bool:
        return int(await redis.xlen("events:auth")) == 3

    await until_async(all_are_sent)
    entries = await redis.xrange("events:auth")
    created, event, email = [ReceivedEvent.decode(fields) for _, fields in entries]
    assert (created.type, created.data) == ("auth.tenant.created.v1", {"tenant_id": str(event.tenant_id)})
    assert (event.type, event.source) == ("auth.user.registered.v1", "acme/auth")
    assert event.subject == event.data["user_id"]
    assert str(event.tenant_id) == event.data["tenant_id"]
    assert set(event.data) == {"user_id", "tenant_id"}
    assert (email.type, email.data["kind"]) == ("auth.email.requested.v1", "email_verification")
    assert (email.data["recipient"], email.data["facts"]) == (event.subject, {"tenant_name": "Ann's Bakery"})
    assert (email.data["email"], email.data["display_name"]) == ("ann@example.com", "Ann")
    assert "." in email.data["token"]
    groups = await redis.xinfo_groups("events:auth")
    assert {group["name"] for group in groups} == {reader.encode() for reader in STREAM_READERS}


async def test_is_part_of_being_ready(start):
    auth = await start(run_workers=True)
    answer = await auth.internal.get("/readyz")
    assert answer.status_code == 200
    assert set(answer.json()["checks"]) == {
        "database",
        "redis",
        "keys",
        "relay:auth",
        "consumer:auth",
        "housekeeping",
        "expiry",
    }


async def test_clears_away_what_has_run_out(auth):
    bundle = await auth.somebody()
    await auth.refresh(bundle)
    await auth.session()
    await auth.register("late@example.com")
    await auth.register("recent@example.com")
    for change in (
        "update sessions set expires_at = now() - interval '1 day' where id = $1",
        "update refresh_tokens set expires_at = now() - interval '1 day' where session_id = $1",
    ):
        await auth.database.execute(change, bundle["session_id"])
    await auth.database.execute(
        "update users set created_at = now() - interval '8 days' where email_key like 'late%'"
    )
    resources: Resources = auth.app.state.resources
    await ExpiryWorker(resources.database).step()
    assert await auth.database.fetchval("select count(*) from sessions") == 1
    assert await auth.database.fetchval("select count(*) from refresh_tokens") == 1
    assert await auth.database.fetchval("select count(*) from tenants") == 2
    remaining = {row["email"] for row in await auth.database.fetch("select email from users")}
    assert remaining == {"ann@example.com", "recent@example.com"}
    assert [worker.name for worker in workers(resources)] == [
        "relay:auth",
        "consumer:auth",
        "housekeeping",
        "expiry",
    ]


async def test_keeps_the_account_of_somebody_who_never_had_to_confirm(start):
    auth = await start(require_email_verification=False)
    await auth.register()
    await auth.database.execute("update users set created_at = now() - interval '8 days'")
    await ExpiryWorker(auth.app.state.resources.database).step()
    assert (await auth.sign_in()).status_code == 200
