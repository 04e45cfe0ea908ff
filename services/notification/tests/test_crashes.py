"""The service is killed, and its Postgres and Redis go away; people still get one mail."""

import asyncio
import os
import sys
from pathlib import Path

import pytest
from notification import deliveries
from notification.deliveries import Outcome
from notification.main import create_app
from notification.sender import Sender
from pydantic import SecretStr
from redis.asyncio import Redis
from sandbox.embedded import Postgres, Valkey, free_port
from servicekit.database import Database
from testkit.app import client, running
from testkit.databases import Databases

FOLDER = Path(__file__).parents[1]


def environment(settings):
    """Write settings down as the variables that they come from."""
    values = settings.model_dump(exclude_none=True, exclude_defaults=True)
    ports = {"port": free_port(), "internal_port": free_port()}
    variables = {
        name.upper(): value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        for name, value in {**values, **ports}.items()
    }
    return {**os.environ, **variables}


async def test_a_sender_killed_after_the_mail_was_taken_does_not_make_two(
    settings, sign_up, post_office, rows, row_of
):
    await post_office.fail(500, accepted=True, delay=60)
    person = await sign_up()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "notification.worker", env=environment(settings)
    )
    try:
        await row_of(person, status="sending")
        await post_office.arrival(person.email)
    finally:
        process.kill()
        await process.wait()
    assert (await row_of(person))["status"] == "sending"
    # The lease of the dead runs out.
    await rows.execute("update deliveries set due_at = now()")
    async with running(create_app(settings)):
        row = await row_of(person, status="sent")
    mail = await post_office.arrival(person.email)
    assert (row["attempts"], mail["attempts"], row["provider_id"]) == (2, 2, mail["id"])


async def test_events_while_the_service_was_down_are_mailed_once(settings, sign_up, mailed):
    person = await sign_up()
    async with running(create_app(settings)):
        await mailed(person)


@pytest.fixture
def consume_only(settings):
    """The service, listening and not sending."""
    return lambda: running(
        create_app(settings.model_copy(update={"debug": False, "resend_email_enabled": False}))
    )


@pytest.fixture
async def database(settings):
    database = Database(settings.database_url, name="test")
    yield database
    await database.close()


@pytest.fixture
def claimed(database):
    """Claim so many mails, as a sender does."""

    async def claim(count):
        async with database.begin() as db:
            return await deliveries.claim(db, count)

    return claim


async def test_two_senders_never_hold_the_same_mail(consume_only, sign_up, row_of, claimed):
    async with consume_only():
        for person in [await sign_up() for _ in range(6)]:
            await row_of(person, status="queued")
    batches = await asyncio.gather(*(claimed(2) for _ in range(5)))
    claimed_ids = [mail.id for batch in batches for mail in batch]
    assert (len(claimed_ids), len(set(claimed_ids))) == (6, 6)


async def test_a_sender_whose_lease_ran_out_has_no_say(
    consume_only, sign_up, rows, row_of, database, claimed
):
    person = await sign_up()
    async with consume_only():
        await row_of(person)
    [slow] = await claimed(1)
    await rows.execute("update deliveries set due_at = now()")
    [quick] = await claimed(1)
    async with database.begin() as db:
        assert await deliveries.finish(db, quick, Outcome("sent", "mail_1"))
        assert not await deliveries.finish(db, slow, Outcome("failed", error="too_slow"))
    assert (await row_of(person))["status"] == "sent"


async def test_a_sender_rests_until_the_next_mail_is_due_and_not_for_long(
    consume_only, sign_up, rows, row_of, settings, database
):
    sender = Sender(database, settings)
    assert await sender.step() == 10
    person = await sign_up()
    async with consume_only():
        await row_of(person)
    await rows.execute("update deliveries set due_at = now() + interval '1 h'")
    assert await sender.step() == 10
    await rows.execute("update deliveries set due_at = now() + interval '9 s'")
    assert 0 < await sender.step() <= 9


@pytest.fixture(scope="module")
def own_postgres(tmp_path_factory):
    with Postgres(tmp_path_factory.mktemp("postgres"), free_port()) as server:
        yield server


@pytest.fixture(scope="module")
def own_redis(tmp_path_factory):
    with Valkey(tmp_path_factory.mktemp("redis"), free_port(), durable=True) as server:
        yield server


@pytest.fixture(scope="module")
def own_database(own_postgres):
    return Databases(own_postgres.url).migrated(FOLDER)


@pytest.fixture
def elsewhere(settings, own_database, own_redis):
    """The service on servers of its own, which a test may stop."""
    servers = {"database_url": SecretStr(own_database), "redis_url": SecretStr(own_redis.url)}
    return running(create_app(settings.model_copy(update=servers)))


class TestOnServersThatComeAndGo:
    @pytest.fixture
    async def redis(self, own_redis):
        async with Redis.from_url(own_redis.url) as redis:
            yield redis

    async def test_goes_on_when_postgres_comes_back(self, elsewhere, own_postgres, sign_up, mailed):
        async with elsewhere as app:
            await mailed(await sign_up())
            own_postgres.stop()
            person = await sign_up()
            async with client(app.state.internal) as inside:
                assert (await inside.get("/healthz")).status_code == 200
                assert (await inside.get("/readyz")).status_code == 503
            own_postgres.start()
            await mailed(person)

    async def test_goes_on_when_redis_comes_back(self, elsewhere, own_redis, redis, sign_up, mailed):
        async with elsewhere:
            await mailed(await sign_up())
            own_redis.stop()
            own_redis.start()
            await redis.connection_pool.disconnect()
            await mailed(await sign_up())
