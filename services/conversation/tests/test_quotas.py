"""What is kept has limits, which are exact when many write at once, and which deleting makes room under."""

import asyncio
from uuid import uuid4

import asyncpg
import pytest
from conversation import quotas
from conversation.main import create_app
from testkit.app import client, running

TENANT, ANN = uuid4(), f"user:{uuid4()}"


@pytest.fixture
async def limited(settings):
    """Start the service with limits of its own, any number of times."""
    stack = []

    async def start(**limits):
        changes = {"conversation_limits": limits}
        app = create_app(type(settings).model_validate({**settings.model_dump(), **changes}))
        context = running(app)
        stack.append(context)
        return await context.__aenter__()

    yield start
    for context in reversed(stack):
        await context.__aexit__(None, None, None)


@pytest.fixture
async def database(settings):
    connection = await asyncpg.connect(settings.database_url.get_secret_value())
    yield connection
    await connection.close()


@pytest.fixture
def on_behalf(issuer):
    """Return a client of the internal port of an app."""

    def client_for(app, subject):
        scope = "conversations:read conversations:write"
        token = issuer.service_token("chat-agent", audience="conversation", scope=scope)
        return client(app.state.internal, token, **{"Acme-On-Behalf-Of": f"{TENANT}/{subject}"})

    return client_for


def someone(app, issuer, subject=ANN):
    return client(app, issuer.token(tenant_id=TENANT, subject=subject, role="owner"))


def items(*names, text="Hello", prefix=""):
    return [{"id": f"{prefix}{name}", "data": {"role": "user", "content": text}} for name in names]


def is_refused(answer, limit, most):
    body = answer.json()
    return (answer.status_code, body["code"], body["limit"], body["most"]) == (
        409,
        "conversation_limit_reached",
        limit,
        most,
    )


async def begin(http, calls):
    answers = await asyncio.gather(*(http.post("/api/v1/conversations", json={}) for _ in range(calls)))
    return [answer for answer in answers if answer.status_code == 201], [
        answer for answer in answers if answer.status_code != 201
    ]


async def test_of_many_at_once_only_as_many_are_begun_as_a_person_may_have(limited, issuer):
    replicas = [await limited(conversations_per_person=5) for _ in range(2)]
    async with someone(replicas[0], issuer) as one, someone(replicas[1], issuer) as two:
        results = await asyncio.gather(begin(one, 10), begin(two, 10))
        begun = [answer.json()["conversation_id"] for made, _ in results for answer in made]
        refused = [answer for _, others in results for answer in others]
        assert len(begun) == 5, refused[0].text
        assert all(is_refused(answer, "conversations_per_person", 5) for answer in refused)
        assert "Delete some of them" in refused[0].json()["detail"]
        assert "retry-after" not in refused[0].headers
        # Deleting makes room for one.
        assert (await one.delete(f"/api/v1/conversations/{begun[0]}")).status_code == 204
        made, others = await begin(one, 3)
        assert (len(made), len(others)) == (1, 2)


async def test_of_many_people_only_as_many_are_begun_as_a_tenant_may_have(limited, issuer):
    replicas = [await limited(conversations_per_tenant=5) for _ in range(2)]
    people = [someone(replicas[number % 2], issuer, f"user:{uuid4()}") for number in range(20)]
    results = await asyncio.gather(*(begin(one, 1) for one in people))
    assert sum(len(made) for made, _ in results) == 5
    refused = [answer for _, others in results for answer in others]
    assert all(is_refused(answer, "conversations_per_tenant", 5) for answer in refused)


async def test_another_tenant_has_limits_of_its_own(limited, issuer):
    app = await limited(conversations_per_tenant=1)
    async with someone(app, issuer) as ann, client(app, issuer.token(tenant_id=uuid4())) as other:
        assert len((await begin(ann, 2))[0]) == 1
        assert len((await begin(other, 2))[0]) == 1


@pytest.mark.parametrize(
    ("limit", "most"),
    [("items_per_conversation", 5), ("bytes_per_conversation", 2_000), ("bytes_per_tenant", 2_000)],
)
async def test_a_conversation_takes_so_much_and_no_more(limited, issuer, limit, most):
    app = await limited(**{limit: most})
    async with someone(app, issuer) as ann:
        made, _ = await begin(ann, 1)
        path = f"/api/v1/conversations/{made[0].json()['conversation_id']}/items"
        text = "x" * 350
        answers = await asyncio.gather(
            *(ann.post(path, json={"items": items(f"m{number}", text=text)}) for number in range(20))
        )
        stored = [answer for answer in answers if answer.status_code == 200]
        assert len(stored) == 5
        assert all(is_refused(answer, limit, most) for answer in answers if answer.status_code != 200)
        # What is there already may be sent again: nothing is added.
        again = stored[0].json()["items"][0]["id"]
        assert (await ann.post(path, json={"items": items(again, text=text)})).status_code == 200


async def test_a_run_begins_within_the_limits_and_may_end_a_little_beyond(limited, on_behalf):
    app = await limited(items_per_conversation=8)
    conversation, runs = uuid4(), [uuid4() for _ in range(2)]
    turns = [f"/internal/v1/conversations/{conversation}/turns/{run}" for run in runs]
    async with on_behalf(app, ANN) as service:

        async def opened(number, *names):
            new = items(*names, prefix=f"{runs[number]}-")
            return await service.put(turns[number], json={"attempt": 1, "items": new, "last": 10})

        async def added(*names):
            new = items(*names, prefix=f"{runs[0]}-")
            return await service.post(f"{turns[0]}/items", json={"attempt": 1, "items": new})

        assert (await opened(0, *range(8))).status_code == 200
        assert (await added(8, 9)).status_code == 200
        assert is_refused(await added(10), "items_per_conversation", 8)
        assert is_refused(await opened(1, 0), "items_per_conversation", 8)
        # Another replica that takes the first run over finds what it began with.
        assert (await opened(0, *range(8))).status_code == 200
        assert (await service.delete(turns[0], params={"attempt": 1})).status_code == 204
        assert (await opened(1, 0)).status_code == 200


async def test_a_run_begins_no_conversation_beyond_the_limit(limited, on_behalf):
    app = await limited(conversations_per_person=1)
    run = uuid4()
    async with on_behalf(app, ANN) as service:

        async def opened(conversation):
            new = {"attempt": 1, "items": items(1, prefix=f"{run}-"), "last": 10}
            return await service.put(f"/internal/v1/conversations/{conversation}/turns/{run}", json=new)

        first = uuid4()
        assert (await opened(first)).status_code == 200
        assert (await opened(first)).status_code == 200
        assert is_refused(await opened(uuid4()), "conversations_per_person", 1)
        answer = await service.put(f"/internal/v1/conversations/{uuid4()}", json={})
        assert is_refused(answer, "conversations_per_person", 1)


async def test_calls_on_behalf_of_somebody_are_not_counted_against_their_rate(limited, on_behalf):
    app = await limited(writes_per_person=1, reads_per_person=1)
    async with on_behalf(app, ANN) as service:
        for _ in range(5):
            path = f"/internal/v1/conversations/{uuid4()}"
            assert (await service.put(path, json={})).status_code == 200
            assert (await service.get(f"{path}/items")).status_code == 200


async def test_a_search_has_a_limit_of_its_own(limited, issuer):
    app = await limited(searches_per_person=2)
    async with someone(app, issuer) as ann:
        answers = [await ann.get("/api/v1/conversations/search?query=x") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert "q=2" in answers[2].headers["ratelimit-policy"]
        assert (await ann.get("/api/v1/conversations")).status_code == 200


COUNTED = "select conversations, bytes from usage where user_id = $1"
STORED = """
    select count(*), sum(items), sum(bytes), sum(item_count), sum(byte_count) from conversations, lateral (
        select count(*) as items, coalesce(sum(octet_length(data::text)), 0) as bytes from items
        where conversation_id = conversations.id
    ) as kept
"""


async def test_what_is_counted_is_what_is_stored(limited, issuer, on_behalf, database):
    app = await limited()
    run = uuid4()
    async with someone(app, issuer) as ann, on_behalf(app, ANN) as service:
        made, _ = await begin(ann, 3)
        first, second, third = (answer.json()["conversation_id"] for answer in made)
        for conversation in (first, second, third):
            new = {"items": items("a", "b", text="schön “1.0”")}
            await ann.post(f"/api/v1/conversations/{conversation}/items", json=new)
        turn = f"/internal/v1/conversations/{first}/turns/{run}"
        await service.put(turn, json={"attempt": 1, "items": items(1, 2, prefix=f"{run}-"), "last": 10})
        for step in (
            lambda: service.delete(turn, params={"attempt": 1}),
            lambda: service.delete(f"/internal/v1/conversations/{second}/items"),
            lambda: ann.delete(f"/api/v1/conversations/{third}"),
        ):
            assert (await step()).status_code == 204
            number, stored, size, counted, counted_size = await database.fetchrow(STORED)
            assert (stored, size) == (counted, counted_size)
            assert tuple(await database.fetchrow(COUNTED, ANN)) == (number, size)
        for conversation in (first, second):
            await ann.delete(f"/api/v1/conversations/{conversation}")
        assert await database.fetchrow(COUNTED, ANN) is None


async def test_far_from_the_limit_the_total_is_not_looked_at_for_each_write(limited, issuer, monkeypatch):
    app = await limited()
    looked = []
    total = quotas.tenant_usage

    async def counted(db, tenant_id):
        looked.append(tenant_id)
        return await total(db, tenant_id)

    monkeypatch.setattr(quotas, "tenant_usage", counted)
    monkeypatch.setattr(quotas, "SKIP_SECONDS", 3600.0)
    async with someone(app, issuer) as ann:
        made, others = await begin(ann, 20)
    assert (len(made), len(others)) == (20, 0)
    # Those that come at the same time look, and no one after them.
    before = len(looked)
    async with someone(app, issuer) as ann:
        await begin(ann, 20)
    assert len(looked) == before
