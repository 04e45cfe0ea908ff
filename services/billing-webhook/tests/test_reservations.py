"""Limits that hold: reserved before a model is called, settled after it, closed with the run's usage."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from billing_webhook.entitlements import expiry
from billing_webhook.main import create_app
from billing_webhook.models import Reservation, UsageTotal
from sqlalchemy import func, select, update
from testkit.app import client, running

REQUEST = {"user_id": "user:ann", "agent": "triage", "model": "gpt-5.1"}
# 429 where the limit resets within a day, as that of a month on its last.
REFUSED = (402, 429)
START = {**REQUEST, "messages": 1}


@pytest.fixture
def token(issuer):
    return issuer.service_token("chat-agent", audience="billing-webhook", scope="billing:reserve")


@pytest.fixture
def budget(admin, tenant):
    async def create(**fields):
        answer = await admin.post(f"/api/v1/billing/tenants/{tenant}/budgets", json=fields)
        assert answer.status_code == 201, answer.text
        return answer.json()

    return create


@pytest.fixture
def reserve(chat_agent, tenant):
    def put(run=None, call="start", http=chat_agent, **request):
        path = f"/internal/v1/tenants/{tenant}/reservations/{run or uuid4()}/calls/{call}"
        return http.put(path, json={**REQUEST, **(request or {"messages": 1})})

    return put


@pytest.fixture
def start(reserve):
    """Reserve the start of a run, and again when the machine is too busy to answer."""

    async def put(**options):
        run = uuid4()
        while (answer := await reserve(run, **options)).status_code == 503:
            pass
        return answer

    return put


@pytest.fixture
def settle(chat_agent, tenant):
    def post(run, call, **used):
        path = f"/internal/v1/tenants/{tenant}/reservations/{run}/calls/{call}/settle"
        return chat_agent.post(path, json=used)

    return post


@pytest.fixture
def spent(admin, tenant):
    """Return used and reserved of a budget."""

    async def get(budget):
        answer = await admin.get(f"/api/v1/billing/tenants/{tenant}/budgets/{budget['id']}")
        return answer.json()["used"], answer.json()["reserved"]

    return get


@pytest.fixture
def counter(app, tenant):
    """Return used and reserved of a feature of the plan."""

    async def get(feature):
        query = select(UsageTotal.used, UsageTotal.reserved)
        query = query.filter_by(tenant_id=tenant, feature_key=feature, scope="tenant")
        async with app.state.resources.database.begin() as db:
            row = (await db.execute(query)).one_or_none()
        return tuple(map(int, row)) if row else (0, 0)

    return get


async def test_parallel_reservations_never_exceed_a_budget(settings, token, budget, start, spent):
    of = await budget(unit="messages", limit=20)
    async with (
        running(create_app(settings)) as second,
        client(second.state.internal, token) as other,
    ):
        answers = await asyncio.gather(
            *(start() for _ in range(100)), *(start(http=other) for _ in range(100))
        )
    assert Counter(answer.status_code in REFUSED for answer in answers) == {False: 20, True: 180}
    assert {answer.status_code for answer in answers} <= {200, *REFUSED}
    assert await spent(of) == ("0", "20")


async def test_every_process_reserves_by_the_newest_limits(
    settings, token, admin, tenant, budget, reserve, subscribe, change_subscription
):
    async with (
        running(create_app(settings)) as second,
        client(second.state.internal, token) as other,
    ):

        async def status():
            return (await reserve(http=other)).status_code

        assert await status() == 200
        of = await budget(unit="messages", limit=1)
        assert [await status(), await status() in REFUSED] == [200, True]
        path = f"/api/v1/billing/tenants/{tenant}/budgets/{of['id']}"
        assert (await admin.patch(path, json={"limit": 2})).status_code == 200
        assert [await status(), await status() in REFUSED] == [200, True]
        assert (await admin.delete(path)).status_code == 204
        assert await status() == 200
        await subscribe()
        assert await status() == 200
        await change_subscription(status="paused")
        assert (await reserve(http=other)).json()["code"] == "subscription_read_only"


async def test_a_refusal_leaves_no_limit_changed(budget, reserve, spent, counter):
    wide, narrow = await budget(unit="messages", limit=9), await budget(unit="tokens", limit=100)
    answer = await reserve(call="1.1", input_tokens=101)
    assert answer.status_code in REFUSED
    assert (answer.json()["feature"], answer.json()["used"], answer.json()["reserved"]) == (
        "tokens",
        "0",
        "0",
    )
    assert [await spent(wide), await spent(narrow)] == [("0", "0")] * 2
    assert await counter("input_tokens") == (0, 0)


async def test_parallel_reservations_never_exceed_the_plan(start, counter):
    answers = await asyncio.gather(*(start() for _ in range(150)))
    assert Counter(answer.status_code in REFUSED for answer in answers) == {False: 100, True: 50}
    assert await counter("messages") == (0, 100)


async def test_a_refusal_says_what_how_much_and_until_when(budget, reserve):
    await budget(unit="tokens", limit=1000, scope="user", scope_id="user:ann", interval="day")
    assert (await reserve(call="1.1", input_tokens=600, output_tokens=300)).status_code == 200
    answer = await reserve(call="1.1", input_tokens=100, output_tokens=1)
    problem = answer.json()
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= 86400
    assert answer.headers["content-type"] == "application/problem+json"
    assert {
        name: problem[name] for name in ("code", "feature", "scope", "limit", "used", "reserved", "requested")
    } == {
        "code": "quota_exceeded",
        "feature": "tokens",
        "scope": "user",
        "limit": "1000",
        "used": "0",
        "reserved": "900",
        "requested": "101",
    }
    assert datetime.fromisoformat(problem["resets_at"]) == midnight
    assert problem["upgrade_url"] == "https://app.acme.example/billing"


async def test_a_refusal_reserves_nothing_of_other_limits(budget, reserve, spent, counter):
    wide = await budget(unit="messages", limit=100)
    await budget(unit="tokens", limit=10)
    run = uuid4()
    assert (await reserve(run, input_tokens=11, messages=1)).status_code in REFUSED
    assert await spent(wide) == ("0", "0")
    assert await counter("messages") == (0, 0)
    # What was refused can be asked for again, with other amounts.
    assert (await reserve(run, input_tokens=10, messages=1)).status_code == 200


@pytest.mark.parametrize(
    ("scope", "scope_id", "other"),
    [
        ("user", "user:ann", {"user_id": "user:bob"}),
        ("api_key", "ak.1", {"api_key_id": "ak.2"}),
        ("api_key", "ak.1", {"api_key_id": None}),
        ("agent", "triage", {"agent": "researcher"}),
    ],
)
async def test_a_budget_holds_for_its_subject_only(budget, reserve, scope, scope_id, other):
    await budget(unit="messages", limit=1, scope=scope, scope_id=scope_id)
    own = {"messages": 1, "api_key_id": "ak.1"}
    assert (await reserve(**own)).status_code == 200
    assert (await reserve(**own)).json()["scope"] == scope
    assert (await reserve(**{**own, **other})).status_code == 200


async def test_budgets_in_money_use_the_price_of_the_model(budget, reserve, spent):
    """125 and 1,000 cents for a million tokens."""
    of = await budget(unit="cost", limit="1.5")
    assert (await reserve(call="1.1", input_tokens=2000, output_tokens=1000)).status_code == 200
    assert await spent(of) == ("0", "1.25")
    answer = await reserve(call="1.1", input_tokens=2001)
    assert answer.status_code in REFUSED
    assert answer.json()["requested"] == "0.250125"


async def test_calls_with_a_key_of_the_tenants_own_cost_nothing(budget, reserve, settle, spent):
    money, tokens = await budget(unit="cost", limit="0.5"), await budget(unit="tokens", limit=10_000)
    charged, run = {"input_tokens": 2000, "output_tokens": 1000}, uuid4()
    assert (await reserve(run, "1.1", **charged)).json()["feature"] == "cost"
    own = {**charged, "own_key": True}
    for _ in range(2):
        assert (await reserve(run, "1.2", **own)).status_code == 200
    assert (await reserve(run, "1.2", **charged)).json()["code"] == "reservation_conflict"
    assert (await spent(money), await spent(tokens)) == (("0", "0"), ("0", "3000"))
    assert (await settle(run, "1.2", input_tokens=2500, output_tokens=1000)).status_code == 200
    assert (await spent(money), await spent(tokens)) == (("0", "0"), ("0", "3500"))


async def test_a_run_with_a_key_of_the_tenants_own_starts_where_no_money_is_left(budget, reserve):
    await budget(unit="cost", limit="0.01")
    await reserve(call="1.1", input_tokens=80)
    assert (await reserve(messages=1)).json()["feature"] == "cost"
    assert (await reserve(messages=1, own_key=True)).status_code == 200


async def test_the_same_call_again_has_the_same_answer(reserve, counter):
    run = uuid4()
    answers = await asyncio.gather(*(reserve(run) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    assert await counter("messages") == (0, 1)
    other = await reserve(run, messages=1, input_tokens=5)
    assert (other.status_code, other.json()["code"]) == (409, "reservation_conflict")


async def test_a_settled_call_holds_what_it_used(reserve, settle, counter):
    run = uuid4()
    await reserve(run, "1.1", input_tokens=1000, output_tokens=4000)
    for _ in range(2):
        answer = await settle(run, "1.1", input_tokens=900, output_tokens=50)
        assert (answer.status_code, answer.json()["state"]) == (200, "settled")
    assert (await counter("input_tokens"), await counter("output_tokens")) == ((0, 900), (0, 50))
    assert (await settle(run, "1.1", input_tokens=1)).json()["code"] == "reservation_conflict"
    assert (await settle(run, "1.2", input_tokens=1)).json()["code"] == "reservation_not_found"


async def test_a_call_that_used_more_than_it_reserved_is_counted_in_full(reserve, settle, budget, spent):
    of = await budget(unit="tokens", limit=100)
    run = uuid4()
    await reserve(run, "1.1", output_tokens=100)
    await settle(run, "1.1", output_tokens=130)
    assert await spent(of) == ("0", "130")
    assert (await reserve(run, "1.2", output_tokens=1)).status_code in REFUSED


async def test_a_call_that_used_nothing_releases_everything(reserve, settle, counter):
    run = uuid4()
    await reserve(run)
    await reserve(run, "1.1", input_tokens=10)
    await settle(run, "1.1")
    await settle(run, "start", messages=0)
    assert (await counter("messages"), await counter("input_tokens")) == ((0, 0), (0, 0))


async def test_a_reservation_that_arrives_after_its_release_holds_nothing(reserve, settle, counter):
    run = uuid4()
    assert (await settle(run, "start", messages=0)).json()["state"] == "settled"
    assert (await settle(run, "1.1")).status_code == 200
    for call, amounts in (("start", {"messages": 1}), ("1.1", {"input_tokens": 10})):
        late = await reserve(run, call, **amounts)
        assert (late.status_code, late.json()["code"]) == (409, "reservation_conflict")
    assert (await counter("messages"), await counter("input_tokens")) == ((0, 0), (0, 0))


async def test_a_run_that_ends_moves_what_it_reserved_to_what_is_used(
    ran, runs, reserve, settle, budget, spent, counter
):
    of = await budget(unit="tokens", limit=1000, scope="api_key", scope_id="ak.1")
    run = uuid4()
    await reserve(run, messages=1, api_key_id="ak.1")
    await reserve(run, "1.1", input_tokens=500, output_tokens=400, api_key_id="ak.1")
    await settle(run, "1.1", input_tokens=100, output_tokens=20)
    await reserve(run, "1.2", input_tokens=500, output_tokens=40, api_key_id="ak.1")
    await ran(("gpt-5.1", 110, 20), run_id=str(run), user_id="user:ann")
    await runs(1)
    assert await counter("messages") == (1, 0)
    assert (await counter("input_tokens"), await counter("output_tokens")) == ((110, 0), (20, 0))
    assert await spent(of) == ("130", "0")
    # A second event of the same run counts nothing.
    await ran(("gpt-5.1", 110, 20), run_id=str(run))
    await ran(("gpt-5.1", 1, 1))
    await runs(2)
    assert await counter("messages") == (2, 0)


async def test_a_run_that_used_nothing_releases_its_reservations(ran, runs, reserve, counter):
    run = uuid4()
    await reserve(run)
    await ran(run_id=str(run))
    await ran(("gpt-5.1", 1, 1))
    await runs(1)
    assert await counter("messages") == (1, 0)


async def test_a_new_budget_counts_what_was_used_before(ran, runs, budget, spent):
    await ran(("gpt-5.1", 100, 20), agent="writer")
    await ran(("gpt-5.1", 7, 3), agent="triage")
    await runs(2)
    assert await spent(await budget(unit="tokens", limit=1000)) == ("130", "0")
    assert await spent(await budget(unit="tokens", limit=1000, scope="agent", scope_id="writer")) == (
        "120",
        "0",
    )


async def test_budgets_and_usage_at_the_same_time_lose_nothing(ran, runs, budget, spent):
    """A record is counted by the budget's first sum or by its own transaction, and never by both."""
    created = await asyncio.gather(
        *(ran(("gpt-5.1", 1, 0)) for _ in range(40)),
        *(
            budget(unit="tokens", limit=1000, scope="agent", scope_id="triage", interval=i)
            for i in ("day", "month")
        ),
    )
    await runs(40)
    for of in created[-2:]:
        assert await spent(of) == ("40", "0")


@pytest.fixture
def age(app, tenant):
    """Make reservations older."""

    async def set_back(**columns):
        async with app.state.resources.database.begin() as db:
            await db.execute(update(Reservation).filter_by(tenant_id=tenant).values(**columns))

    return set_back


PAST = datetime.now(UTC) - timedelta(seconds=1)


async def test_an_abandoned_reservation_expires_and_a_late_settlement_is_counted(
    app, reserve, settle, counter, age
):
    run = uuid4()
    await reserve(run, "1.1", input_tokens=100)
    await age(expires_at=PAST)
    await expiry.expire(app.state.resources.database)
    assert await counter("input_tokens") == (0, 0)
    assert (await reserve(run, "1.1", input_tokens=100)).json()["state"] == "expired"
    assert (await settle(run, "1.1", input_tokens=80)).json()["state"] == "settled"
    assert await counter("input_tokens") == (0, 80)


async def test_a_run_that_makes_calls_keeps_its_message(app, reserve, counter, age):
    run = uuid4()
    await reserve(run)
    await age(expires_at=PAST)
    await reserve(run, "1.1", input_tokens=100)
    await expiry.expire(app.state.resources.database)
    assert await counter("messages") == (0, 1)


async def test_what_is_settled_stays_until_the_run_is_forgotten(app, tenant, reserve, settle, counter, age):
    run = uuid4()
    await reserve(run, "1.1", input_tokens=100)
    await settle(run, "1.1", input_tokens=80)
    await age(expires_at=PAST, created_at=PAST - timedelta(days=34))
    await expiry.expire(app.state.resources.database)
    assert await counter("input_tokens") == (0, 80)
    await age(created_at=PAST - timedelta(days=35))
    await expiry.expire(app.state.resources.database)
    assert await counter("input_tokens") == (0, 0)
    async with app.state.resources.database.begin() as db:
        left = await db.scalar(select(func.count()).select_from(Reservation).filter_by(tenant_id=tenant))
    assert left == 0


async def test_soft_budgets_warn_and_let_through(budget, reserve):
    await budget(unit="messages", limit=1, kind="soft")
    assert (await reserve()).json()["warnings"] == []
    run = uuid4()
    answer = await reserve(run)
    [warning] = answer.json()["warnings"]
    assert (warning["feature"], warning["scope"], warning["used"], warning["limit"]) == (
        "messages",
        "tenant",
        "2",
        "1",
    )
    assert (await reserve(run)).json() == answer.json()


async def test_a_run_that_has_started_may_exceed_the_plan_a_little_but_no_budget(reserve, budget):
    """50,000 output tokens in the free plan, and 10 % more for calls of a run."""
    run = uuid4()
    await reserve(run)
    assert (await reserve(run, "1.1", output_tokens=54_000)).status_code == 200
    assert (await reserve(run, "1.2", output_tokens=2_000)).json()["feature"] == "output_tokens"
    refused = await reserve()
    assert (refused.json()["feature"], refused.json()["requested"]) == ("output_tokens", "0")


async def test_limits_say_whether_runs_need_reservations(chat_agent, tenant, budget):
    path = f"/internal/v1/tenants/{tenant}/limits"
    before = (await chat_agent.get(path)).json()
    assert before == {
        "has_limits": True,
        "version": 0,
        "features": ["cost", "input_tokens", "messages", "output_tokens"],
        "budgets": 0,
        "requests": {"message_characters": 1_000_000, "attachment_bytes": 32 * 1024 * 1024},
    }
    await budget(unit="messages", limit=1)
    after = (await chat_agent.get(path)).json()
    assert (after["version"], after["budgets"]) == (1, 1)


async def test_only_services_with_the_scope_may_reserve(app, issuer, tenant):
    path = f"/internal/v1/tenants/{tenant}/reservations/{uuid4()}/calls/start"
    for token, status in (
        (issuer.token(tenant_id=tenant), 403),
        (issuer.service_token("chat-agent", audience="billing-webhook", scope="billing:read"), 403),
        (issuer.service_token("chat-agent", audience="conversation", scope="billing:reserve"), 401),
    ):
        async with client(app.state.internal, token) as http:
            assert (await http.put(path, json=START)).status_code == status
    async with client(app, issuer.token(tenant_id=tenant)) as outside:
        assert (await outside.put(path, json=START)).status_code == 404


async def test_refuses_amounts_that_are_none(reserve):
    for wrong in ({"messages": -1}, {"input_tokens": 1.5}, {"output_tokens": 2**53}, {"model": ""}, {"x": 1}):
        assert (await reserve(**wrong)).status_code == 422, wrong
    assert (await reserve(call="a%20b")).status_code == 422
