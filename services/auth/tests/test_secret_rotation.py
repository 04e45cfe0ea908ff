"""Changing peppers, keys and salts: what the old value has made is good for as long as it would have been.

`before` runs with the old value, `during` with the new one and the old one as the previous, `after` with the
new one alone.
"""

from dataclasses import dataclass
from typing import Any

import pytest

from .factor_helpers import answered, challenged, enrol

OTHER_KEY = "b3RoZXIta2V5LW9mLXRoaXJ0eS10d28tYnl0ZXMhISE"
EVERYWHERE = {"auth_magic_link_enabled": True, "auth_account_deletion_grace_days": 14}
REFRESH, MAIL, RESET = (
    "auth_refresh_token_pepper",
    "auth_email_verification_token_pepper",
    "auth_password_reset_token_pepper",
)
NEW_PASSWORD = "an entirely new phrase"


@dataclass
class Change:
    """The service before, during and after a change."""

    before: Any
    during: Any
    after: Any


@pytest.fixture
def change(start, variables):
    """A function that changes one variable."""

    async def of(name, value="what is set from now on", **more):
        common = {**EVERYWHERE, **more}
        old = variables[name] if isinstance(variables[name], str) else variables[name].get_secret_value()
        both, changed = {**common, name: f"{value},{old}"}, {**common, name: value}
        return Change(await start(**common), await start(**both), await start(**changed))

    return of


async def confirming(auth):
    await auth.register()
    token = (await auth.mail_tokens())[-1]
    return lambda other: other.post("email/verify", token=token)


async def resetting(auth):
    await auth.post("password/forgot", email="ann@example.com")
    token = (await auth.mails("password_reset"))[-1]["token"]
    return lambda other: other.post("password/reset", token=token, password=NEW_PASSWORD)


async def changing_address(auth):
    bundle = await auth.session()
    await auth.post(
        "email/change", bundle["access_token"], new_email="new@example.com", password=auth.password
    )
    token = (await auth.mails("email_change"))[-1]["token"]
    return lambda other: other.post("email/change/confirm", token=token)


async def linking(auth):
    binding = (await auth.post("magic-link", email="ann@example.com")).json()["binding"]
    token = (await auth.mails("magic_link"))[-1]["token"]
    return lambda other: other.post("magic-link/verify", token=token, binding=binding)


async def restoring(auth):
    bundle = await auth.session()
    await auth.post("account/delete", bundle["access_token"], password=auth.password)
    token = (await auth.mails("account_closing"))[-1]["token"]
    return lambda other: other.post("account/restore", token=token)


async def inviting(auth):
    owner = await auth.session()
    fields = {"role": "member", "email": "bob@example.com"}
    answer = await auth.ask("POST", "tenants/current/invites", owner, fields)
    assert answer.status_code == 201, answer.text
    token = (await auth.mails("invitation"))[-1]["token"]
    return lambda other: other.register("bob@example.com", invite=token)


WAYS = [
    (MAIL, confirming),
    (MAIL, changing_address),
    (MAIL, linking),
    (MAIL, inviting),
    (RESET, resetting),
    (RESET, restoring),
]


@pytest.mark.parametrize(("name", "way"), WAYS)
async def test_a_token_that_is_on_its_way_is_good_while_the_old_pepper_is_known(change, name, way):
    services = await change(name)
    if way is not confirming:
        await services.before.somebody()
    use = await way(services.before)
    assert (await use(services.after)).status_code == 400
    assert (await use(services.during)).is_success


@pytest.mark.parametrize(("name", "way"), WAYS)
async def test_a_new_token_is_keyed_with_the_new_pepper(change, name, way):
    services = await change(name)
    if way is not confirming:
        await services.before.somebody()
    use = await way(services.during)
    assert (await use(services.before)).status_code == 400
    assert (await use(services.after)).is_success


async def test_sessions_go_on_and_are_keyed_anew_at_the_next_refresh(change):
    services = await change(REFRESH)
    bundle = await services.before.somebody()
    assert (await services.after.refresh(bundle)).status_code == 401
    renewed = await services.during.refresh(bundle)
    assert renewed.status_code == 200
    assert (await services.before.refresh(renewed.json())).status_code == 401
    assert (await services.after.refresh(renewed.json())).status_code == 200


async def test_whose_answer_was_lost_amid_the_change_gets_the_same_again(change):
    services = await change(REFRESH)
    bundle = await services.before.somebody()
    lost = (await services.before.refresh(bundle)).json()["refresh_token"]
    again = (await services.during.refresh(bundle)).json()["refresh_token"]
    assert again == lost
    assert (await services.during.refresh({"refresh_token": again})).status_code == 200


async def test_a_copy_from_before_the_change_ends_the_session_all_the_same(change):
    services = await change(REFRESH, auth_refresh_grace_seconds=0)
    bundle = await services.before.somebody()
    renewed = (await services.during.refresh(bundle)).json()
    assert (await services.during.refresh(bundle)).json()["code"] == "refresh_token_reused"
    assert (await services.during.refresh(renewed)).status_code == 401


async def test_signs_out_with_a_token_from_before_the_change(change):
    services = await change(REFRESH)
    bundle = await services.before.somebody()
    await services.during.post("logout", refresh_token=bundle["refresh_token"])
    assert (await services.before.refresh(bundle)).status_code == 401


async def test_devices_are_known_across_the_change(change):
    services = await change(REFRESH)
    first = await services.before.somebody()
    device = "select device_id from sessions where id::text = $1"
    again = (await services.during.sign_in(device=first["device"])).json()
    fetch = services.before.database.fetchval
    assert await fetch(device, first["session_id"]) == await fetch(device, again["session_id"])
    # It gets a token of the new pepper, which is good when the old one is gone.
    assert again["device"] != first["device"]
    later = (await services.after.sign_in(device=again["device"])).json()
    assert await fetch(device, first["session_id"]) == await fetch(device, later["session_id"])


async def test_a_challenge_for_a_second_factor_stays_valid_during_the_change(change):
    services = await change(REFRESH)
    app = await enrol(services.before, await services.before.somebody())
    challenge = (await challenged(services.before))["challenge"]
    assert (await answered(services.after, challenge, code=app.code)).status_code == 401
    assert (await answered(services.during, challenge, code=app.code)).status_code == 200


async def test_the_seed_of_an_app_is_sealed_anew_when_it_is_used(start, variables, tmp_path):
    name = "auth_session_encryption_key"
    # With signing keys of their own, whose file the old key has never sealed.
    new = {name: OTHER_KEY, "auth_key_storage_path": tmp_path / "keys" / "keys.json"}
    both = {**new, name: f"{OTHER_KEY},{variables[name].get_secret_value()}"}
    services = Change(await start(), await start(**both), await start(**new))
    app = await enrol(services.before, await services.before.somebody())
    before = await services.before.database.fetchval("select sealed_seed from totp_factors")
    challenge = (await challenged(services.during))["challenge"]
    assert (await answered(services.during, challenge, code=app.code)).status_code == 200
    await app.later()
    assert await services.before.database.fetchval("select sealed_seed from totp_factors") != before
    challenge = (await challenged(services.after))["challenge"]
    assert (await answered(services.after, challenge, code=app.code)).status_code == 200


@pytest.mark.parametrize(("of", "told"), [("during", 0), ("after", 1)])
async def test_addresses_are_known_across_a_change_of_their_salt(change, of, told):
    services = await change("auth_session_ip_hash_salt")
    await services.before.somebody()
    service = getattr(services, of)
    await service.session()
    # From where they have always been: no news, but for a service that has forgotten it.
    assert len(await service.mails("new_device")) == told


async def test_a_challenge_stays_valid_during_a_change_of_the_salt(change):
    services = await change("auth_session_ip_hash_salt")
    app = await enrol(services.before, await services.before.somebody())
    challenge = (await challenged(services.before))["challenge"]
    assert (await answered(services.during, challenge, code=app.code)).status_code == 200
