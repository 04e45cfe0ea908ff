"""The cache against a real source on a real socket; time is a clock in the test's hand."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from prometheus_client import REGISTRY
from servicekit.auth.tokens import InvalidToken, KeySourceUnavailable, TokenVerifier
from servicekit.jwks import cache as jwks_cache
from servicekit.jwks.cache import JwksCache
from servicekit.jwks.refresher import JwksPolicy
from testkit.eventually import time_limit
from testkit.issuer import Issuer, JwksResponse, SigningKey

FAILING = JwksResponse(status=500, headers={})


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Counts:
    """What the counters have counted since the test began; a port may have served an earlier test."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._before = self._read()

    def _read(self) -> dict[tuple[str, ...], float]:
        return {
            (
                sample.name,
                *(value for name, value in sorted(sample.labels.items()) if name != "issuer"),
            ): sample.value
            for family in REGISTRY.collect()
            for sample in family.samples
            if sample.labels.get("issuer") == self._url
        }

    def __call__(self, *name: str) -> float:
        return self._read().get(name, 0) - self._before.get(name, 0)


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer() as running:
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(issuer: Issuer, clock: Clock) -> JwksCache:
    return JwksCache(issuer.jwks_url, clock=clock)


@pytest.fixture
def counts(issuer: Issuer) -> Counts:
    return Counts(issuer.jwks_url)


async def landed() -> None:
    """Wait for the fetches that nobody waits for."""
    fetches = [task for task in asyncio.all_tasks() if task.get_name().startswith("jwks refresh")]
    await asyncio.gather(*fetches)


async def until(holds: Callable[[], object]) -> None:
    async with time_limit():
        while not holds():  # noqa: ASYNC110  # what it waits for happens in another thread
            await asyncio.sleep(0.002)


async def refusal(cache: JwksCache, kid: str) -> Exception:
    with pytest.raises((InvalidToken, KeySourceUnavailable)) as caught:
        await cache.get(kid)
    return caught.value


def policy(**changes: float) -> JwksPolicy:
    """Make a policy that waits for the source as long as a busy machine takes, unless it says otherwise."""
    return replace(jwks_cache.DEFAULT_POLICY, **changes)


def make_verifier(cache: JwksCache, issuer: Issuer) -> TokenVerifier:
    return TokenVerifier(cache, issuer=issuer.issuer, audiences=["acme-api"])


async def test_asks_once_for_a_thousand_verifications_on_a_cold_cache(cache, issuer):
    gate = threading.Event()
    issuer.answer = JwksResponse(gate=gate)
    verifier, token = make_verifier(cache, issuer), issuer.token()
    waiting = [asyncio.create_task(verifier.verify(token)) for _ in range(1000)]
    await until(lambda: issuer.requests)
    gate.set()
    assert len(await asyncio.gather(*waiting)) == 1000
    assert len(issuer.requests) == 1


async def test_serves_a_fresh_key_without_asking(cache, issuer, clock, counts):
    await cache.get(issuer.key.kid)
    clock.now += 299
    key = await cache.get(issuer.key.kid)
    assert key.kid == issuer.key.kid
    assert len(issuer.requests) == 1
    assert counts("jwks_serve_total", "fresh") == 2


async def test_never_waits_when_keys_expire_under_load(cache, issuer, clock, counts):
    await cache.get(issuer.key.kid)
    gate = threading.Event()
    issuer.answer = JwksResponse(gate=gate)
    clock.now += 301
    # The source does not answer yet; whoever waited for it would hang here.
    async with time_limit():
        await asyncio.gather(*(cache.get(issuer.key.kid) for _ in range(1000)))
    assert counts("jwks_serve_total", "stale") == 1000
    gate.set()
    await landed()
    assert len(issuer.requests) == 2
    await cache.get(issuer.key.kid)
    assert counts("jwks_serve_total", "fresh") == 2


async def test_outlives_half_an_hour_of_errors_asking_less_than_once_a_minute(cache, issuer, clock, counts):
    verifier = make_verifier(cache, issuer)
    await verifier.verify(issuer.token())
    issuer.answer = FAILING
    clock.now += 300
    token = issuer.token()
    for _ in range(1800):
        clock.now += 1
        await verifier.verify(token)
        await landed()
    assert len(issuer.requests) - 1 <= 30
    assert counts("jwks_serve_total", "stale_error") >= 1790


async def test_answers_503_once_keys_are_too_old_to_be_trusted(cache, issuer, clock):
    await cache.get(issuer.key.kid)
    issuer.answer = FAILING
    clock.now += 3600
    await cache.get(issuer.key.kid)
    await landed()
    clock.now += 121
    error = await refusal(cache, issuer.key.kid)
    assert isinstance(error, KeySourceUnavailable)
    assert error.status == 503
    assert error.retry_after >= 1
    request_count = len(issuer.requests)
    assert isinstance(await refusal(cache, issuer.key.kid), KeySourceUnavailable)
    assert len(issuer.requests) == request_count


async def test_goes_on_by_itself_once_the_source_is_back(cache, issuer, clock, caplog):
    caplog.set_level("INFO")
    issuer.answer = FAILING
    assert isinstance(await refusal(cache, issuer.key.kid), KeySourceUnavailable)
    assert isinstance(await refusal(cache, issuer.key.kid), KeySourceUnavailable)
    clock.now += 2
    assert isinstance(await refusal(cache, issuer.key.kid), KeySourceUnavailable)
    issuer.answer = JwksResponse()
    clock.now += 4
    await cache.get(issuer.key.kid)
    lines = [record.message for record in caplog.records if record.name.startswith("servicekit")]
    assert lines == ["key set source fails", "key set source is back", "key set changed"]


async def test_logs_which_keys_came_and_went(cache, issuer, caplog):
    caplog.set_level("INFO")
    old = issuer.key
    await cache.get(old.kid)
    new = issuer.rotate()
    issuer.withdraw(old)
    await cache.refresh_now()
    change = [record for record in caplog.records if record.message == "key set changed"][-1]
    assert (change.added, change.removed) == ([new.kid], [old.kid])


async def test_lets_a_waiter_go_without_losing_the_answer_for_the_others(cache, issuer):
    gate = threading.Event()
    issuer.answer = JwksResponse(gate=gate)
    first = asyncio.create_task(cache.get(issuer.key.kid))
    await until(lambda: issuer.requests)
    second = asyncio.create_task(cache.get(issuer.key.kid))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    gate.set()
    assert (await second).kid == issuer.key.kid
    assert first.cancelled()
    assert len(issuer.requests) == 1


async def test_stops_waiting_for_a_slow_source_but_takes_its_answer_later(issuer, clock):
    gate = threading.Event()
    issuer.answer = JwksResponse(gate=gate)
    cache = JwksCache(issuer.jwks_url, policy(wait_timeout=0.05), clock=clock)
    assert isinstance(await refusal(cache, issuer.key.kid), KeySourceUnavailable)
    gate.set()
    await landed()
    await cache.get(issuer.key.kid)
    assert len(issuer.requests) == 1


async def test_asks_at_most_twice_for_ten_thousand_invented_keys(cache, issuer, counts):
    await cache.get(issuer.key.kid)
    before = len(issuer.requests)
    for round_ in range(100):
        errors = await asyncio.gather(*(refusal(cache, f"invented-{round_}-{n}") for n in range(100)))
        assert all(isinstance(error, InvalidToken) for error in errors)
    assert len(issuer.requests) - before <= 2
    assert counts("jwks_kid_miss_total", "cooldown") >= 9_000


async def test_asks_no_oftener_on_a_cold_cache(cache, issuer):
    await asyncio.gather(*(refusal(cache, f"invented-{n}") for n in range(1000)))
    await asyncio.gather(*(refusal(cache, f"invented-too-{n}") for n in range(1000)))
    await asyncio.gather(*(refusal(cache, f"invented-again-{n}") for n in range(1000)))
    assert len(issuer.requests) <= 3


async def test_may_look_for_another_unknown_key_every_thirty_seconds(cache, issuer, clock):
    await cache.get(issuer.key.kid)
    for request_count in (2, 3, 3):
        await refusal(cache, f"unknown-{clock.now}-{request_count}-{len(issuer.requests)}")
        assert len(issuer.requests) == request_count
    clock.now += 30
    await refusal(cache, "another")
    assert len(issuer.requests) == 4


async def test_saves_no_searches_up(cache, issuer, clock):
    await cache.get(issuer.key.kid)
    clock.now += 290
    for n in range(5):
        await refusal(cache, f"unknown-{n}")
    assert len(issuer.requests) == 3


async def test_takes_a_stranger_for_a_stranger_while_the_source_is_well(issuer, clock):
    cache = JwksCache(issuer.jwks_url, policy(miss_burst=0), clock=clock)
    await cache.get(issuer.key.kid)
    clock.now += 301
    assert isinstance(await refusal(cache, "unknown"), InvalidToken)


async def test_remembers_for_a_minute_that_a_key_is_not_there(cache, issuer, clock, counts):
    await cache.get(issuer.key.kid)
    await refusal(cache, "absent")
    clock.now += 59
    await refusal(cache, "absent")
    assert len(issuer.requests) == 2
    assert counts("jwks_kid_miss_total", "negative") == 1
    clock.now += 2
    await refusal(cache, "absent")
    assert len(issuer.requests) == 3


async def test_remembers_only_so_many_absent_keys(issuer, clock, counts):
    cache = JwksCache(issuer.jwks_url, policy(max_absent=2), clock=clock)
    await cache.get(issuer.key.kid)
    await asyncio.gather(*(refusal(cache, kid) for kid in ("one", "two", "three")))
    for kid in ("two", "three"):
        await refusal(cache, kid)
    assert counts("jwks_kid_miss_total", "negative") == 2
    await refusal(cache, "one")
    assert counts("jwks_kid_miss_total", "negative") == 2


async def test_forgets_what_was_absent_when_the_set_changes(cache, issuer, counts):
    await cache.get(issuer.key.kid)
    late = issuer.rotate(publish=False)
    await refusal(cache, late.kid)
    await refusal(cache, late.kid)
    assert counts("jwks_kid_miss_total", "negative") == 1
    issuer.rotate()
    await cache.refresh_now()
    issuer.publish(late)
    assert (await cache.get(late.kid)).kid == late.kid


async def test_finds_a_new_key_that_nobody_announced(cache, issuer, counts):
    await cache.get(issuer.key.kid)
    new = issuer.rotate()
    assert (await cache.get(new.kid)).kid == new.kid
    assert len(issuer.requests) == 2
    assert counts("jwks_kid_miss_total", "refreshed_found") == 1


async def test_needs_no_search_for_a_new_key_that_was_published_ahead(cache, issuer, clock, counts):
    old = issuer.key
    await cache.get(old.kid)
    new = SigningKey()
    issuer.publish(new)
    clock.now += 300
    await cache.get(old.kid)
    await landed()
    await cache.get(new.kid)
    assert counts("jwks_refresh_total", "miss", "200") == 0
    assert len(issuer.requests) == 2


async def test_verifies_every_token_while_keys_rotate_three_times(cache, issuer, clock):
    verifier = make_verifier(cache, issuer)
    for _ in range(3):
        tokens = [issuer.token() for _ in range(20)]
        issuer.rotate()
        await asyncio.gather(*(verifier.verify(token) for token in [*tokens, issuer.token()]))
        clock.now += 60


async def test_renews_an_unchanged_set_by_its_etag(cache, issuer, clock, counts):
    await cache.get(issuer.key.kid)
    assert "If-None-Match" not in issuer.requests[0]
    clock.now += 301
    await cache.get(issuer.key.kid)
    await landed()
    assert issuer.requests[1]["If-None-Match"].startswith('"')
    assert counts("jwks_refresh_total", "stale", "304") == 1
    clock.now += 299
    await cache.get(issuer.key.kid)
    assert len(issuer.requests) == 2


async def test_forgets_its_troubles_after_an_unchanged_answer(cache, issuer, clock, counts, caplog):
    await cache.get(issuer.key.kid)
    for _ in range(2):
        issuer.answer = FAILING
        for _ in range(8):
            await cache.refresh_now()
        issuer.answer = JwksResponse()
        await cache.refresh_now()
    assert [record.message for record in caplog.records].count("key set source fails") == 2
    request_count = len(issuer.requests)
    clock.now += 301
    await cache.get(issuer.key.kid)
    await landed()
    assert len(issuer.requests) == request_count + 1
    assert counts("jwks_serve_total", "stale") == 1
    assert counts("jwks_serve_total", "stale_error") == 0


async def test_does_not_ask_while_backing_off_not_even_for_an_unknown_key(cache, issuer, clock):
    await cache.get(issuer.key.kid)
    issuer.answer = FAILING
    await cache.refresh_now()
    error = await refusal(cache, "unknown")
    assert isinstance(error, InvalidToken)
    clock.now += 0.9
    await refusal(cache, "unknown-too")
    assert len(issuer.requests) == 2


async def test_never_blames_a_token_for_a_lost_source(cache, issuer, clock):
    await cache.get(issuer.key.kid)
    new = issuer.rotate()
    issuer.answer = FAILING
    clock.now += 301
    assert isinstance(await refusal(cache, new.kid), KeySourceUnavailable)
    assert isinstance(await refusal(cache, new.kid), KeySourceUnavailable)
    issuer.answer = JwksResponse()
    clock.now += 2
    assert (await cache.get(new.kid)).kid == new.kid


@pytest.mark.parametrize(("retry_after", "pause"), [("30", 30), ("86400", 60), ("soon", 0)])
async def test_heeds_retry_after_within_reason(cache, issuer, clock, retry_after, pause):
    issuer.answer = JwksResponse(status=503, headers={"Retry-After": retry_after})
    await refusal(cache, issuer.key.kid)
    clock.now += max(0, pause - 1)
    await refusal(cache, issuer.key.kid)
    assert len(issuer.requests) == 1
    clock.now += 3
    await refusal(cache, issuer.key.kid)
    assert len(issuer.requests) == 2


async def test_reads_a_date_in_retry_after_by_the_clock_of_the_source(cache, issuer, clock):
    headers = {"Retry-After": "Fri, 01 Jan 2100 00:00:30 GMT"}
    issuer.answer = JwksResponse(status=429, headers=headers)
    await refusal(cache, issuer.key.kid)
    clock.now += 59
    await refusal(cache, issuer.key.kid)
    assert len(issuer.requests) == 1


@pytest.mark.parametrize(
    ("headers", "ttl"),
    [
        ({}, 300),
        ({"Cache-Control": "public, max-age=120"}, 120),
        ({"Cache-Control": 'max-age="120", must-revalidate'}, 120),
        ({"Cache-Control": "max-age=120", "Age": "50"}, 70),
        ({"Cache-Control": "max-age=120", "Age": "1000"}, 30),
        ({"Cache-Control": "max-age=1"}, 30),
        ({"Cache-Control": "max-age=86400"}, 3600),
        ({"Cache-Control": "no-store"}, 30),
        ({"Cache-Control": "No-Cache, max-age=600"}, 30),
        ({"Cache-Control": "max-age=-5"}, 300),
        ({"Cache-Control": "max-age=x"}, 300),
    ],
)
async def test_keeps_keys_for_as_long_as_the_source_says_within_bounds(issuer, clock, counts, headers, ttl):
    cache = JwksCache(issuer.jwks_url, clock=clock)
    issuer.answer = JwksResponse(headers=headers)
    await cache.get(issuer.key.kid)
    clock.now += ttl - 1
    await cache.get(issuer.key.kid)
    assert counts("jwks_serve_total", "fresh") == 2
    clock.now += 1
    await cache.get(issuer.key.kid)
    await landed()
    assert counts("jwks_serve_total", "stale") == 1


async def test_refreshes_in_time_by_itself_until_it_is_closed(issuer):
    cache = JwksCache(issuer.jwks_url, policy(max_ttl=0.05, min_ttl=0.05, fresh_ttl=0.05))
    await cache.warmup()
    await until(lambda: len(issuer.requests) >= 4)
    await cache.aclose()
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("jwks")]


def test_replicas_refresh_before_keys_are_stale_but_not_together():
    moments = [JwksPolicy().refresh_after(300) for _ in range(200)]
    assert all(216 <= moment <= 264 for moment in moments)
    assert max(moments) - min(moments) > 24


async def test_warms_up_as_soon_as_the_source_answers(issuer):
    issuer.answer = FAILING
    cache = JwksCache(issuer.jwks_url, policy(min_backoff=0.02))
    warming = asyncio.create_task(cache.warmup(within=60))
    await until(lambda: len(issuer.requests) >= 2)
    issuer.answer = JwksResponse()
    await warming
    request_count = len(issuer.requests)
    await cache.warmup()
    assert len(issuer.requests) == request_count
    await cache.aclose()


async def test_is_not_ready_without_keys(issuer):
    issuer.answer = FAILING
    cache = JwksCache(issuer.jwks_url)
    with pytest.raises(KeySourceUnavailable):
        await cache.warmup(within=0.1)
    await cache.aclose()


async def test_is_not_ready_with_keys_that_are_too_old(cache, issuer, clock):
    await cache.warmup()
    issuer.answer = FAILING
    clock.now += 3601
    with pytest.raises(KeySourceUnavailable):
        await cache.warmup(within=0.1)
    await cache.aclose()


async def test_drops_a_revoked_key_at_once_even_from_a_source_that_still_has_it(cache, issuer):
    revoked = issuer.key
    await cache.get(revoked.kid)
    await cache.refresh_now(drop=[revoked.kid])
    assert len(issuer.requests) == 2
    assert isinstance(await refusal(cache, revoked.kid), InvalidToken)
    assert len(issuer.requests) == 2


async def test_refreshes_now_although_it_is_backing_off(cache, issuer):
    issuer.answer = FAILING
    await refusal(cache, issuer.key.kid)
    issuer.answer = JwksResponse()
    assert await cache.refresh_now()
    await cache.get(issuer.key.kid)


async def test_asks_again_when_the_fetch_under_way_began_before_the_alarm(cache, issuer, counts):
    gate = threading.Event()
    issuer.answer = JwksResponse(gate=gate)
    under_way = asyncio.create_task(cache.get(issuer.key.kid))
    await until(lambda: issuer.requests)
    alarm = asyncio.create_task(cache.refresh_now(drop=["burnt"]))
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(under_way, alarm)
    assert len(issuer.requests) == 2
    assert counts("jwks_refresh_total", "push", "304") == 1


def test_serves_two_event_loops_one_after_the_other(cache, issuer, clock):
    for _ in range(2):
        assert asyncio.run(cache.get(issuer.key.kid)).kid == issuer.key.kid
        clock.now += 3601
    assert len(issuer.requests) == 2


def test_serves_two_event_loops_at_the_same_time(cache, issuer):
    gate = threading.Event()
    issuer.answer = JwksResponse(gate=gate)

    async def ask_many() -> int:
        return len(await asyncio.gather(*(cache.get(issuer.key.kid) for _ in range(50))))

    with ThreadPoolExecutor(2) as threads:
        request_count = [threads.submit(asyncio.run, ask_many()) for _ in range(2)]
        asyncio.run(until(lambda: len(issuer.requests) == 2))
        gate.set()
        assert [answer.result(timeout=60) for answer in request_count] == [50, 50]
    assert len(issuer.requests) == 2


async def test_tells_its_state_to_prometheus(cache, issuer, clock):
    def read(name: str) -> float | None:
        return REGISTRY.get_sample_value(name, {"issuer": issuer.jwks_url})

    await cache.get(issuer.key.kid)
    clock.now += 42
    issuer.answer = FAILING
    await cache.refresh_now()
    assert read("jwks_age_seconds") == 42
    assert read("jwks_keys") == 1
    assert 1 <= (read("jwks_backoff_seconds") or 0) <= 2
    assert read("jwks_refresh_seconds_count")


async def test_no_metric_is_labelled_by_what_a_stranger_chooses(cache, issuer):
    await cache.get(issuer.key.kid)
    await refusal(cache, "chosen-by-a-stranger")
    labels = [value for family in REGISTRY.collect() for s in family.samples for value in s.labels.values()]
    assert "chosen-by-a-stranger" not in labels


@pytest.mark.parametrize("bounds", [{"max_stale": 86401}, {"max_stale": 60}])
def test_refuses_a_policy_that_trusts_too_long_or_too_little(bounds):
    with pytest.raises(ValueError, match="max_stale"):
        replace(JwksPolicy(), **bounds)
