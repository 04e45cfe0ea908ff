"""The clock tells nobody whether an address has an account, or what is the matter with it."""

import asyncio
import time

import pytest
from auth.security.constant_time import minimum_duration, minimum_error_duration
from servicekit.errors import Unauthenticated
from testkit.eventually import time_limit

from .conftest import PASSWORD
from .factor_helpers import enrol

FLOOR_MS = 300
# Timers go by whole milliseconds.
TIMERS = 0.005
WRONG = "words that are not the password"
# What each route takes that anybody may send an address to.
BODIES = {
    "register": {"password": PASSWORD, "tenant_name": "Some Bakery"},
    "token": {"password": WRONG},
    "email/send": {},
    "password/forgot": {},
    "magic-link": {},
    "signup-requests": {"name": "Ann", "company": "Ann & Sons"},
}


async def seconds(request):
    begun = time.perf_counter()
    answer = await request
    return time.perf_counter() - begun, answer


def open_to_all(document):
    """The routes that take an address of somebody and no token."""
    for path, methods in document["paths"].items():
        for operation in methods.values():
            content = operation.get("requestBody", {}).get("content", {}).values()
            names = [one["schema"]["$ref"].rpartition("/")[2] for one in content]
            schemas = [document["components"]["schemas"][name]["properties"] for name in names]
            if not operation.get("security") and any("email" in schema for schema in schemas):
                yield path.removeprefix("/api/v1/auth/")


async def test_no_route_that_anybody_may_send_an_address_to_answers_sooner(auth, start, variables):
    owner = await auth.somebody()
    await auth.register("pending@example.com")
    slow = {
        "auth_answer_floor_ms": FLOOR_MS,
        "auth_magic_link_enabled": True,
        # Also where a mailbox has had enough: that would tell that others write to it.
        "email_verification_email_rate_limit_per_hour": 1,
        "password_reset_email_rate_limit_per_hour": 1,
        "auth_rate_limits": {
            **variables["auth_rate_limits"],
            "subject:magic-link": 1,
            "subject:signup-requests": 1,
        },
    }
    service = await start(**slow)
    approving = {"auth_signup_policy": "approval", "auth_operator_tenant_id": owner["tenant_id"]}
    deciding = await start(**slow, **approving)
    assert set(open_to_all(service.app.openapi())) == BODIES.keys()
    for path, body in BODIES.items():
        which = deciding if path == "signup-requests" else service
        emails = ("ann@example.com", "pending@example.com", f"new.{path[:3]}@example.com")
        for _ in range(2):
            answers = await asyncio.gather(
                *(seconds(which.post(path, email=email, **body)) for email in emails)
            )
            for email, (took, answer) in zip(emails, answers, strict=True):
                assert answer.status_code in {202, 401}, (path, email, answer.text)
                assert took >= FLOOR_MS / 1000 - TIMERS, (path, email)


@pytest.fixture
async def people(auth):
    """Somebody for each reason to be refused, and the password that they would send."""
    await auth.somebody("ann@example.com")
    await auth.register("pending@example.com")
    factored = await auth.somebody("factored@example.com")
    await enrol(auth, factored)
    for email in ("disabled@example.com", "closing@example.com", "suspended@example.com"):
        await auth.somebody(email, tenant_name=email)
    await auth.database.execute("update users set status = 'disabled' where email_key like 'disabled%'")
    await auth.database.execute("update users set status = 'closing' where email_key like 'closing%'")
    await auth.database.execute(
        "update memberships set role = 'member' where user_id in"
        " (select id from users where email_key like 'suspended%')"
    )
    await auth.database.execute("update tenants set status = 'suspended' where name like 'suspended%'")
    await auth.somebody("locked@example.com")
    for _ in range(auth.settings.auth_lockout_threshold):
        await auth.sign_in("locked@example.com", WRONG)
    return {
        "unknown@example.com": PASSWORD,
        "ann@example.com": WRONG,
        "factored@example.com": WRONG,
        "pending@example.com": PASSWORD,
        "disabled@example.com": PASSWORD,
        "closing@example.com": PASSWORD,
        "suspended@example.com": PASSWORD,
        "locked@example.com": PASSWORD,
    }


async def test_every_refusal_of_a_sign_in_leaves_at_the_end_of_a_period(people, start):
    service = await start(auth_answer_floor_ms=FLOOR_MS)
    answers = await asyncio.gather(
        *(seconds(service.sign_in(email, password)) for email, password in people.items())
    )
    for email, (took, answer) in zip(people, answers, strict=True):
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_credentials"), email
        assert took >= FLOOR_MS / 1000 - TIMERS, email


async def test_a_success_or_a_challenge_does_not_wait_for_refusals(people, start):
    """Refusals that wait hold no connection: there are fewer than they are."""
    service = await start(auth_answer_floor_ms=60_000, database_pool_size=2)
    refusals = [asyncio.create_task(service.sign_in(email, word)) for email, word in people.items()]
    assert (await service.sign_in()).status_code == 200
    challenged = await service.sign_in("factored@example.com")
    assert challenged.json()["code"] == "second_factor_required"
    assert not any(refusal.done() for refusal in refusals)
    for refusal in refusals:
        refusal.cancel()
    await asyncio.gather(*refusals, return_exceptions=True)


@pytest.mark.parametrize(("work", "at_the_end_of"), [(0.0, 1), (0.25, 2)])
@pytest.mark.parametrize("pace", [minimum_duration, minimum_error_duration])
async def test_leaves_at_the_end_of_a_period_however_long_the_work_takes(pace, work, at_the_end_of):
    async def refused():
        async with pace(0.2):
            await asyncio.sleep(work)
            raise Unauthenticated

    begun = time.perf_counter()
    with pytest.raises(Unauthenticated):
        await refused()
    assert time.perf_counter() - begun >= at_the_end_of * 0.2 - TIMERS


async def test_waits_only_for_refusals_where_others_tell_nothing():
    async with time_limit(), minimum_error_duration(3600):
        pass
    async with time_limit(), minimum_duration(0):
        pass
