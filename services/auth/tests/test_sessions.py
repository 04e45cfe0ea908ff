import asyncio
from datetime import datetime, timedelta
from uuid import uuid4

import pytest
from auth.security.geoip import GeoIp
from auth.sessions import metadata
from auth.sessions.metadata import SessionMetadata, device_name, mask_ip
from maxminddb import InvalidDatabaseError

FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:127.0) Gecko/20100101 Firefox/127.0"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
    " Version/17.5 Mobile/15E148 Safari/604.1"
)
HOME, AWAY = "203.0.113.7", "198.51.100.9"
OTHER_KEY = "b3RoZXIta2V5LW9mLXRoaXJ0eS10d28tYnl0ZXMtISE="


async def sign_in(auth, *, at=HOME, agent=FIREFOX, email="ann@example.com", **more):
    body = {"email": email, "password": auth.password, **more}
    headers = {"X-Forwarded-For": at, "User-Agent": agent}
    answer = await auth.public.post("/api/v1/auth/token", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def signed_up(auth, email="ann@example.com"):
    await auth.register(email)
    await auth.confirm()
    return await sign_in(auth, email=email)


def bearer(bundle):
    return {"Authorization": f"Bearer {bundle['access_token']}"}


async def listed(auth, bundle):
    answer = await auth.public.get("/api/v1/auth/sessions", headers=bearer(bundle))
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


async def end(auth, bundle, session_id):
    return await auth.public.delete(f"/api/v1/auth/sessions/{session_id}", headers=bearer(bundle))


async def test_lists_ones_own_sessions_with_what_one_knows_them_by(auth):
    first = await signed_up(auth)
    await signed_up(auth, "bob@example.com")
    second = await sign_in(auth, at="2001:db8:1:2::3", agent=IPHONE)
    phone, desktop = await listed(auth, second)
    assert (phone["id"], phone["is_current"]) == (second["session_id"], True)
    assert (phone["device"], phone["address"], phone["place"]) == (
        "Mobile Safari on iOS",
        "2001:db8:1::/48",
        None,
    )
    assert (desktop["id"], desktop["is_current"]) == (first["session_id"], False)
    assert (desktop["device"], desktop["address"]) == ("Firefox on Windows", "203.0.113.x")
    assert desktop["created_at"] == desktop["last_seen_at"]


async def test_is_seen_when_it_refreshes(auth):
    bundle = await signed_up(auth)
    await auth.database.execute("update sessions set last_seen_at = last_seen_at - interval '1 hour'")
    [before] = await listed(auth, bundle)
    await auth.refresh(bundle)
    [after] = await listed(auth, bundle)
    seen = datetime.fromisoformat(after["last_seen_at"])
    assert seen - datetime.fromisoformat(before["last_seen_at"]) > timedelta(minutes=59)
    assert after["created_at"] == before["created_at"]


@pytest.mark.parametrize(
    "change",
    [
        "update sessions set ended_at = now()",
        "update sessions set expires_at = now() - interval '1 second'",
        "update sessions set last_seen_at = now() - interval '8 days'",
    ],
)
async def test_leaves_out_what_cannot_go_on(auth, change):
    over = await signed_up(auth)
    live = await sign_in(auth)
    await auth.database.execute(f"{change} where id = $1", over["session_id"])
    assert [session["id"] for session in await listed(auth, live)] == [live["session_id"]]


async def test_ends_one_session_from_another(auth):
    lost, here = await signed_up(auth), await sign_in(auth)
    assert (await end(auth, here, lost["session_id"])).status_code == 204
    assert (await auth.refresh(lost)).json()["code"] == "invalid_refresh_token"
    assert (await auth.refresh(here)).status_code == 200
    assert (await end(auth, here, lost["session_id"])).json()["code"] == "session_not_found"
    [event] = await auth.audited("session_ended")
    assert str(event["session_id"]) == lost["session_id"]


async def test_hides_the_sessions_of_others(auth):
    anns, bobs = await signed_up(auth), await signed_up(auth, "bob@example.com")
    unknown = await end(auth, bobs, uuid4())
    foreign = await end(auth, bobs, anns["session_id"])
    assert (foreign.status_code, foreign.json()["code"]) == (404, "session_not_found")
    assert {**foreign.json(), "request_id": ""} == {**unknown.json(), "request_id": ""}
    assert (await auth.refresh(anns)).status_code == 200
    assert (await end(auth, bobs, "x")).status_code == 422


async def test_ends_all_others_and_not_this_one(auth):
    first, second, here = await signed_up(auth), await sign_in(auth), await sign_in(auth)
    bobs = await signed_up(auth, "bob@example.com")
    assert (await auth.post("logout/others", bearer=here["access_token"])).status_code == 204
    assert [(await auth.refresh(one)).status_code for one in (first, second, here, bobs)] == [
        *(401, 401, 200, 200),
    ]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "sessions"),
        ("DELETE", "sessions/11111111-1111-4111-8111-111111111111"),
        ("POST", "logout/others"),
    ],
)
async def test_is_for_people_who_are_in(auth, method, path):
    answer = await auth.public.request(method, f"/api/v1/auth/{path}")
    assert (answer.status_code, answer.json()["code"]) == (401, "token_missing")


async def test_ends_the_oldest_when_there_are_too_many(start):
    auth = await start(auth_sessions_per_person=2)
    bundles = [await signed_up(auth), await sign_in(auth), await sign_in(auth)]
    bobs = await signed_up(auth, "bob@example.com")
    assert [(await auth.refresh(one)).status_code for one in (*bundles, bobs)] == [401, 200, 200, 200]
    assert await auth.database.fetchval("select end_reason from sessions where ended_at is not null") == (
        "evicted"
    )


async def test_many_sign_ins_at_once_are_no_more_than_allowed(start):
    auth = await start(auth_sessions_per_person=3, auth_lockout_threshold=10)
    bundle = await signed_up(auth)
    await asyncio.gather(*(sign_in(auth, device=bundle["device"]) for _ in range(9)))
    assert await auth.database.fetchval("select count(*) from sessions where ended_at is null") == 3


async def test_keeps_where_sessions_come_from_sealed_and_addresses_as_digests(auth):
    await signed_up(auth)
    [row] = await auth.database.fetch("select * from sessions")
    stored = str(dict(row))
    assert HOME not in stored
    assert "203.0.113" not in stored
    assert "Firefox" not in stored
    assert len(row["address_digest"]) == 32


async def test_keeps_one_digest_for_a_customer_of_ipv6(auth):
    await signed_up(auth)
    for address in ("2001:db8:1:2::3", "2001:db8:1:2:ffff::4", "2001:db8:1:3::3"):
        await sign_in(auth, at=address)
    rows = await auth.database.fetch("select address_digest from sessions order by created_at")
    one, same, other = [row["address_digest"] for row in rows[1:]]
    assert one == same != other


async def test_a_description_opens_for_its_own_session_alone(auth):
    first, second = await signed_up(auth), await sign_in(auth, at=AWAY, agent=IPHONE)
    await auth.database.execute(
        "update sessions set origin = (select origin from sessions where id = $1) where id = $2",
        first["session_id"],
        second["session_id"],
    )
    swapped, own = await listed(auth, second)
    assert (swapped["device"], swapped["address"]) == ("Unknown device", None)
    assert own["device"] == "Firefox on Windows"


async def test_opens_what_the_key_before_has_sealed(auth, start, tmp_path):
    await signed_up(auth)
    before = auth.settings.auth_session_encryption_key
    new = {"auth_session_encryption_key": OTHER_KEY, "auth_key_storage_path": tmp_path / "keys" / "keys.json"}
    both = {**new, "auth_session_encryption_key": f"{OTHER_KEY},{before.get_secret_value()}"}
    careful = await start(**both)
    bundle = await sign_in(careful, agent=IPHONE)
    devices = [session["device"] for session in await listed(careful, bundle)]
    assert devices == ["Mobile Safari on iOS", "Firefox on Windows"]
    forgetful = await start(**new)
    devices = [session["device"] for session in await listed(forgetful, bundle)]
    assert devices == ["Mobile Safari on iOS", "Unknown device"]


async def test_tells_the_owner_of_a_sign_in_from_a_new_device(auth):
    first = await signed_up(auth)
    assert await auth.mails("new_device") == []
    second = await sign_in(auth, at=AWAY, agent=IPHONE)
    [mail] = await auth.mails("new_device")
    assert (mail["recipient"], mail["token"]) == (first["user_id"], None)
    assert mail["facts"] == {"device": "Mobile Safari on iOS", "address": "198.51.100.x"}
    [event] = await auth.audited("authn_new_device")
    assert str(event["session_id"]) == second["session_id"]


async def test_tells_nobody_of_what_they_know(auth):
    first = await signed_up(auth)
    await sign_in(auth, agent=IPHONE)
    again = await sign_in(auth, at=AWAY, device=first["device"])
    await sign_in(auth, at=AWAY)
    assert await auth.mails("new_device") == []
    assert again["device"] == first["device"]


async def test_tells_of_a_new_device_also_when_all_sessions_are_long_over(auth):
    await signed_up(auth)
    await auth.database.execute("delete from sessions")
    await sign_in(auth, at=AWAY)
    assert len(await auth.mails("new_device")) == 1


async def test_gives_a_device_its_token_again_with_each_refresh(auth):
    bundle = await signed_up(auth)
    assert (await auth.refresh(bundle)).json()["device"] == bundle["device"]
    assert bundle["device"].startswith("acme_dv_")
    stored = str([dict(row) for row in await auth.database.fetch("select * from sessions")])
    assert bundle["device"].partition(".")[2] not in stored


async def test_tells_the_owner_of_a_stolen_session_once(auth):
    bundle = await signed_up(auth)
    child = (await auth.refresh(bundle)).json()
    await auth.refresh(child)
    for _ in range(2):
        assert (await auth.refresh(bundle)).status_code == 401
    [mail] = await auth.mails("session_stolen")
    assert mail["recipient"] == bundle["user_id"]
    assert mail["facts"]["device"] == "Firefox on Windows"


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        (FIREFOX, "Firefox on Windows"),
        (IPHONE, "Mobile Safari on iOS"),
        ("curl/8.0", "curl"),
        ("", "Unknown device"),
        (None, "Unknown device"),
        ("<script>\x1b[31m", "Unknown device"),
        ("x" * 512, "Unknown device"),
    ],
)
def test_reads_the_name_of_a_device(agent, name):
    assert device_name(agent) == name


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("203.0.113.7", "203.0.113.x"),
        ("2001:db8:1:2::/64", "2001:db8:1::/48"),
        ("unknown", None),
    ],
)
def test_shows_no_whole_address(address, shown):
    assert mask_ip(address) == shown


async def test_tells_about_where_a_session_is_if_it_has_a_map(start, geoip):
    auth = await start(auth_geoip_database=geoip)
    bundle = await signed_up(auth)
    [session] = await listed(auth, bundle)
    assert session["place"] == "Berlin, Germany"
    await sign_in(auth, at="192.0.2.5")
    [mail] = await auth.mails("new_device")
    assert mail["facts"]["place"] == "France"


@pytest.mark.parametrize("address", ["198.51.100.1", "10.0.0.1", "2001:db8::/64", "unknown"])
def test_a_map_does_not_know_every_place(geoip, address):
    assert GeoIp(geoip).place_name(address) is None


def test_a_broken_map_stops_the_start(tmp_path):
    (tmp_path / "city.mmdb").write_bytes(b"not a map")
    with pytest.raises(InvalidDatabaseError):
        GeoIp(tmp_path / "city.mmdb")


def test_what_is_not_sealed_is_an_unknown_device(auth):
    for stored in (None, "", "x", "deadbeef:s1.AAAA"):
        assert metadata.decrypt_for(auth.settings, uuid4(), stored) == SessionMetadata(
            device="Unknown device"
        )
