import json
from datetime import timedelta

import pytest
from auth.security.geoip import GeoIp, Location, distance_km
from auth.sessions.anomaly import is_impossible

from .factor_helpers import enrol

BERLIN, SYDNEY, HAMBURG, FRANCE, NOWHERE = (
    *("203.0.113.7", "203.0.113.200", "192.0.2.200", "192.0.2.5", "10.0.0.1"),
)


async def sign_in(auth, at, **more):
    body = {"email": "ann@example.com", "password": auth.password, **more}
    answer = await auth.public.post("/api/v1/auth/token", json=body, headers={"X-Forwarded-For": at})
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture
async def auth(start, geoip):
    """A service with a map, and somebody whom it knows from Berlin."""
    found = await start(auth_geoip_database=geoip)
    await found.register()
    await found.confirm()
    await sign_in(found, BERLIN)
    return found


async def pass_time(auth, hours):
    await auth.database.execute("update sessions set created_at = created_at - $1::interval", hours)


async def noticed(auth):
    return len(await auth.audited("authn_impossible_travel")), len(await auth.mails("impossible_travel"))


async def test_tells_of_a_sign_in_from_where_nobody_gets_so_fast_and_lets_in(auth):
    bundle = await sign_in(auth, SYDNEY)
    [mail] = await auth.mails("impossible_travel")
    assert (mail["email"], mail["recipient"], mail["token"]) == ("ann@example.com", bundle["user_id"], None)
    assert mail["facts"] == {
        "device": mail["facts"]["device"],
        "address": "203.0.113.x",
        "place": "Sydney, Australia",
        "place_before": "Berlin, Germany",
    }
    [event] = await auth.audited("authn_impossible_travel")
    assert (event["subject"], str(event["session_id"])) == (bundle["user_id"], bundle["session_id"])
    # One letter for one sign-in, however many things are unlike.
    assert await auth.mails("new_device") == []
    assert len(await auth.audited("authn_new_device")) == 1


async def test_a_long_flight_is_no_news_and_a_short_one_is(auth):
    await pass_time(auth, timedelta(hours=10))
    await sign_in(auth, SYDNEY)
    assert await noticed(auth) == (1, 1)
    await pass_time(auth, timedelta(hours=20))
    await sign_in(auth, BERLIN)
    assert await noticed(auth) == (1, 1)


@pytest.mark.parametrize("at", [BERLIN, HAMBURG, FRANCE, NOWHERE, "198.51.100.1"])
async def test_what_is_near_or_unknown_is_not_far(auth, at):
    await sign_in(auth, at)
    assert await noticed(auth) == (0, 0)


async def test_counts_from_the_last_sign_in_also_when_that_session_is_over(auth):
    bundle = await sign_in(auth, BERLIN)
    await auth.post("logout/all", bearer=bundle["access_token"])
    await sign_in(auth, SYDNEY)
    assert await noticed(auth) == (1, 1)


async def test_writes_one_letter_in_a_day(auth):
    for at in (SYDNEY, BERLIN, SYDNEY):
        await sign_in(auth, at)
    assert await noticed(auth) == (3, 1)


async def test_writes_none_for_a_device_that_it_knows(auth):
    device = (await sign_in(auth, BERLIN))["device"]
    await sign_in(auth, SYDNEY, device=device)
    assert await noticed(auth) == (1, 0)
    [event] = await auth.audited("authn_impossible_travel")
    assert json.loads(event["detail"]) == {"told": False}


async def test_a_second_factor_is_required_before_any_notice(auth):
    headers = {"X-Forwarded-For": SYDNEY}
    bundle = await sign_in(auth, BERLIN)
    app = await enrol(auth, bundle)
    response = await auth.public.post(
        "/api/v1/auth/token",
        json={"email": "ann@example.com", "password": auth.password},
        headers=headers,
    )
    assert response.json()["code"] == "second_factor_required"
    assert await noticed(auth) == (0, 0)
    proof = {"challenge": response.json()["challenge"], "code": app.code}
    done = await auth.public.post("/api/v1/auth/token/second-factor", json=proof, headers=headers)
    assert done.status_code == 200
    assert await noticed(auth) == (1, 1)


async def test_without_a_map_nobody_is_anywhere(start):
    plain = await start()
    await plain.register()
    await plain.confirm()
    await sign_in(plain, BERLIN)
    await sign_in(plain, SYDNEY)
    assert await noticed(plain) == (0, 0)


async def test_keeps_no_place_in_the_open(auth):
    await sign_in(auth, SYDNEY)
    bundle = await sign_in(auth, SYDNEY)
    stored = str([dict(row) for row in await auth.database.fetch("select * from sessions")])
    assert "Sydney" not in stored
    assert "151.2" not in (await auth.ask("GET", "sessions", bundle)).text


@pytest.mark.parametrize(
    ("one", "other", "km"),
    [((52.5, 13.4), (-33.9, 151.2), 16090), ((0, 179.9), (0, -179.9), 22.24), ((90, 0), (-90, 0), 20015)],
)
def test_measures_over_the_ground(one, other, km):
    spots = [Location(latitude=at[0], longitude=at[1]) for at in (one, other)]
    assert distance_km(*spots) == pytest.approx(km, rel=0.01)


def test_gives_a_map_the_benefit_of_the_doubt():
    here, sure = Location(latitude=0, longitude=0, radius=0), Location(latitude=0, longitude=9, radius=0)
    vague = Location(latitude=0, longitude=9, radius=900)
    assert is_impossible(here, sure, timedelta(0))
    assert not is_impossible(here, vague, timedelta(0))
    # A clock that was set back does not shorten the way.
    assert not is_impossible(here, here, timedelta(hours=-5))


@pytest.mark.parametrize("at", [FRANCE, NOWHERE, "198.51.100.1", "unknown"])
def test_a_map_without_a_spot(geoip, at):
    assert GeoIp(geoip).location(at) is None
    assert GeoIp(None).location(at) is None
