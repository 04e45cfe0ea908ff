"""Calls are counted by person and by tenant, by all replicas together, and alone while Redis is away."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest
from fastapi import APIRouter
from pydantic import SecretStr
from servicekit.app import create_service
from servicekit.auth import call_limits
from servicekit.auth.call_limits import CallLimits, CallRates, LocalRates
from servicekit.auth.dependencies import Caller
from servicekit.rate_limits import Limits, Rate, RateLimited
from servicekit.settings import ServiceSettings
from testkit.app import client, running

TENANT = uuid4()
PERIOD = 86_400
router = APIRouter()


@router.get("/till")
async def look(caller: Caller) -> None: ...


@router.post("/till")
async def pay(caller: Caller) -> None: ...


@pytest.fixture(autouse=True)
def _long_period(monkeypatch):
    """No call more is allowed while a test lasts."""
    monkeypatch.setattr(call_limits, "PER_SECONDS", PERIOD)


class Settings(ServiceSettings):
    shop_limits: CallLimits = CallLimits()

    @property
    def limits(self) -> CallLimits:
        return self.shop_limits


@pytest.fixture
def settings(databases, common_settings):
    return Settings(
        **common_settings,
        run_workers=False,
        database_url=databases.fresh("shop"),
        shop_limits=CallLimits(
            reads_per_person=5, writes_per_person=2, reads_per_tenant=8, writes_per_tenant=100
        ),
    )


def shop(settings):
    """Make a replica that waits for Redis for as long as a busy machine takes."""
    app = create_service("shop", settings, routers=[router])
    resources = app.state.resources
    app.state.resources = replace(
        resources, rates=CallRates("shop", Limits(resources.redis, timeout=30), settings.limits)
    )
    return app


async def statuses(app, token, method, calls):
    async with client(app, token) as http:
        answers = await asyncio.gather(*(http.request(method, "/till") for _ in range(calls)))
    return sorted(answer.status_code for answer in answers), answers


async def test_a_person_and_a_tenant_have_limits_of_their_own(settings, issuer):
    ann, bob, eve = (issuer.token(tenant_id=TENANT, subject=f"user:{uuid4()}") for _ in range(3))
    one, two = (shop(settings) for _ in range(2))
    async with running(one), running(two):
        codes, answers = await statuses(one, ann, "GET", 20)
        assert codes == [200] * 5 + [429] * 15
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert refused.json()["code"] == "rate_limited"
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.headers["ratelimit-policy"] == f'"default";q=5;w={PERIOD}'
        assert refused.headers["ratelimit"].startswith('"default";r=0;t=')
        # Another replica counts the same; what one may not read one may still write.
        assert (await statuses(two, ann, "GET", 1))[0] == [429]
        assert (await statuses(two, ann, "POST", 3))[0] == [200, 200, 429]
        assert (await statuses(two, bob, "GET", 5))[0] == [200] * 3 + [429] * 2
        assert (await statuses(two, eve, "GET", 1))[0] == [429]


async def test_without_redis_each_process_counts_by_itself(settings, issuer):
    nowhere = settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:9/0")})
    app = create_service("shop", nowhere, routers=[router])
    async with running(app):
        codes, _ = await statuses(app, issuer.token(), "GET", 20)
    assert codes == [200] * 5 + [429] * 15


def test_a_local_bucket_fills_again_evenly():
    now = 0.0
    rates = LocalRates(lambda: now)
    for _ in range(3):
        rates.take(Rate("one", 3, 60))
    with pytest.raises(RateLimited) as refused:
        rates.take(Rate("other", 10, 60), Rate("one", 3, 60))
    assert refused.value.quota.reset_after == pytest.approx(20)
    now = 20.0
    rates.take(Rate("one", 3, 60))
    # Of the refused call nothing was taken.
    for _ in range(10):
        rates.take(Rate("other", 10, 60))
