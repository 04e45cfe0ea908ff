"""API keys and their holders: who was given a key's secret answers for it, and it ends with their rights."""

import asyncio
from uuid import UUID

import pytest

from .test_api_keys import SCOPES, introspected, is_active


def of(bundle):
    return f"tenants/current/members/{bundle['user_id'].removeprefix('user:')}"


async def made(auth, bundle, **changes):
    answer = await auth.ask("POST", "api-keys", bundle, {"name": "Nightly", "scopes": SCOPES, **changes})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def rotated(auth, bundle, key, minutes=60):
    body = {"overlap_minutes": minutes}
    answer = await auth.ask("POST", f"api-keys/{key['id']}/rotate", bundle, body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def listed(auth, bundle, key):
    items = (await auth.ask("GET", "api-keys", bundle)).json()["items"]
    return next(one for one in items if one["id"] == key["id"])


async def keep(auth, owner, value="keep"):
    body = {"orphaned_api_keys": value}
    answer = await auth.ask("PUT", "tenants/current/settings", owner, body, **{"If-Match": "*"})
    assert answer.status_code == 200, answer.text


@pytest.fixture
async def team(auth):
    """An owner and an admin."""
    owner = await auth.somebody()
    return owner, await auth.joined(owner, "adam@example.com", "admin")


async def demoted(auth, owner, admin):
    return await auth.ask("PATCH", of(admin), owner, {"role": "member"})


async def removed(auth, owner, admin):
    return await auth.ask("DELETE", of(admin), owner)


async def left(auth, owner, admin):
    return await auth.ask("POST", "tenants/current/leave", admin)


async def closed(auth, owner, admin):
    return await auth.ask("POST", "account/delete", admin, {"password": auth.password})


LOSSES = [demoted, removed, left, closed]


@pytest.mark.parametrize("lose", LOSSES)
async def test_a_key_stops_with_its_holders_rights_and_the_owners_get_a_list(start, lose):
    auth = await start(auth_account_deletion_grace_days=14)
    owner = await auth.somebody()
    admin = await auth.joined(owner, "adam@example.com", "admin")
    first = await made(auth, admin)
    second = await rotated(auth, admin, first)
    others = await made(auth, owner, name="Another")
    assert [await is_active(auth, key["key"]) for key in (first, second)] == [True, True]
    assert (await lose(auth, owner, admin)).is_success
    assert [await is_active(auth, key["key"]) for key in (first, second, others)] == [False, False, True]
    [mail] = await auth.mails("api_keys_stopped")
    assert (mail["recipient"], mail["tenant_id"]) == (owner["user_id"], owner["tenant_id"])
    assert mail["facts"]["keys"] == f"{first['prefix']} {','.join(SCOPES)} Nightly"
    assert (await listed(auth, owner, first))["creator_is_entitled"] is False
    assert (await listed(auth, owner, others))["creator_is_entitled"] is True
    # What was opened with it, in any service, is closed.
    result = await auth.database.fetch("select key from revocations where key like 'client:%'")
    assert [row["key"] for row in result] == [f"client:ak.{UUID(first['id']).hex}"]
    [row] = await auth.audited("authn_tokens_orphaned")
    assert row["subject"] == admin["user_id"]


async def test_no_event_is_published_where_there_are_no_keys(auth, team):
    owner, admin = team
    await made(auth, owner)
    assert (await removed(auth, owner, admin)).status_code == 204
    assert await auth.mails("api_keys_stopped") == []


@pytest.mark.parametrize("lose", [demoted, removed, left])
async def test_the_tenant_may_keep_such_keys(auth, team, lose):
    owner, admin = team
    await keep(auth, owner)
    first = await made(auth, admin, scopes=["billing:manage", "tools:read"])
    second = await rotated(auth, admin, first)
    assert (await lose(auth, owner, admin)).is_success
    result = (await introspected(auth, second["key"])).json()
    # As far as it was given, and in no higher role than that takes.
    assert (result["role"], sorted(result["scopes"])) == ("admin", ["billing:manage", "tools:read"])
    # The secret that was replaced is nobody's to keep.
    assert not await is_active(auth, first["key"])
    [mail] = await auth.mails("api_keys_kept")
    assert (mail["recipient"], await auth.mails("api_keys_stopped")) == (owner["user_id"], [])
    await keep(auth, owner, "stop")
    assert not await is_active(auth, second["key"])


async def test_who_rotates_a_key_answers_for_it(auth, team):
    owner, admin = team
    of_owner = await made(auth, owner)
    of_admin = await rotated(auth, admin, of_owner, 7 * 24 * 60)
    assert of_admin["created_by"] == admin["user_id"]
    assert (await removed(auth, owner, admin)).status_code == 204
    # What the removed one was given is over; what the owner holds goes on until the overlap is over.
    assert [await is_active(auth, key["key"]) for key in (of_owner, of_admin)] == [True, False]
    # The owner takes the key back.
    back = await rotated(auth, owner, of_owner, 0)
    assert [await is_active(auth, key["key"]) for key in (of_owner, of_admin, back)] == [False, False, True]
    assert (await listed(auth, owner, back))["creator_is_entitled"] is True


async def test_an_overlap_keeps_no_secret_of_somebody_who_has_lost_the_role(auth, team):
    owner, admin = team
    stolen = await made(auth, admin)
    new = await rotated(auth, owner, stolen, 7 * 24 * 60)
    assert [await is_active(auth, key["key"]) for key in (stolen, new)] == [True, True]
    assert (await demoted(auth, owner, admin)).status_code == 200
    assert [await is_active(auth, key["key"]) for key in (stolen, new)] == [False, True]
    # The key itself is the owner's: nothing has stopped that anybody would have to be told of.
    assert await auth.mails("api_keys_stopped") == []


async def test_the_owners_of_keys_are_notified_whoever_acted(auth, team):
    owner, admin = team
    await auth.ask("PATCH", "me", owner, {"display_name": "Ann"})
    key = await made(auth, admin)
    [mail] = await auth.mails("api_key_created")
    assert (mail["recipient"], mail["facts"]["actor"]) == (admin["user_id"], "")
    assert mail["facts"]["key_name"] == "Nightly"
    await rotated(auth, owner, key)
    mails = {mail["recipient"]: mail["facts"]["actor"] for mail in await auth.mails("api_key_rotated")}
    assert mails == {admin["user_id"]: "Ann", owner["user_id"]: ""}
    assert (await auth.ask("DELETE", f"api-keys/{key['id']}", admin)).status_code == 204
    [mail] = await auth.mails("api_key_revoked")
    assert mail["recipient"] == owner["user_id"]


async def test_of_a_demotion_and_a_rotation_at_once_no_working_secret_is_left(auth, team):
    owner, admin = team
    keys = [await made(auth, owner) for _ in range(10)]
    rotations = [
        auth.ask("POST", f"api-keys/{key['id']}/rotate", admin, {"overlap_minutes": 0}) for key in keys
    ]
    half = len(rotations) // 2
    answers = await asyncio.gather(*rotations[:half], demoted(auth, owner, admin), *rotations[half:])
    assert {answer.status_code for answer in answers} <= {200, 403}
    given = [answer.json()["key"] for answer in answers if "key" in answer.json()]
    assert [key for key in given if await is_active(auth, key)] == []
