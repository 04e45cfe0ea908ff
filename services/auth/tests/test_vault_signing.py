"""Signing with Vault: no private key is here, outages cost nobody a session, nothing is asked needlessly."""

import asyncio
import json
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import jwt
import pytest
from auth import cli
from auth.settings import Settings
from auth.signing import vault_keys
from auth.signing.key_document import InvalidKeyDocument
from auth.signing.key_file import load
from auth.signing.key_ring import KeyCreationFailed, VaultKey
from auth.signing.signing_keys import SigningKeys
from auth.signing.vault import (
    FAILURES,
    PAUSE_SECONDS,
    SIGNING,
    Vault,
    VaultTokenRenewal,
    VaultUnavailable,
    raw_signature,
)
from auth.signing.vault_keys import ATTEMPT_SECONDS, MAX_SECONDS, TransitKeys
from servicekit.http.client import HttpPool
from testkit.eventually import time_limit
from testkit.stopwatch import Stopwatch

from .conftest import SEALING_KEY
from .factor_helpers import answered, challenged, enrol
from .vault_fixtures import SIGNING_KEY


@contextmanager
def waiting(service, **seconds):
    """Have a service wait for Vault for so long; without any, for as long as in production."""
    vault = service.app.state.services.access_tokens.vault
    limits = seconds or {name: getattr(SIGNING, name) for name in ("attempt", "total", "queue")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vault, "_timeouts", replace(vault._timeouts, **limits))
        yield


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys" / "keys.json"


@pytest.fixture
def rotate(signing_vault, variables, path):
    """What an operator does to make a key."""
    keys = SigningKeys.from_settings(
        Settings(**{**variables, **signing_vault.operator, "auth_key_storage_path": path})
    )
    return keys.rotate


@pytest.fixture
async def vault_settings(signing_vault, path, rotate):
    """The settings of auth once an operator has made a key."""
    await rotate()
    return signing_vault.settings(auth_key_storage_path=path)


@pytest.fixture
async def service(start, vault_settings):
    return await start(**vault_settings)


async def refused(answer):
    assert "retry-after" in answer.headers
    return answer.status_code, answer.json()["code"]


UNAVAILABLE = (503, "vault_unavailable")


async def test_has_vault_sign_what_everybody_can_verify(service, signing_vault, path):
    session = await service.somebody()
    machine = (await service.machine()).json()
    published = jwt.PyJWKSet.from_dict((await service.public.get("/.well-known/jwks.json")).json())
    for token, audience in ((session["access_token"], "acme-api"), (machine["access_token"], "conversation")):
        decoded = jwt.decode_complete(token, published[session["kid"]], audience=audience)
        assert decoded["header"] == {"typ": "at+jwt", "alg": "EdDSA", "kid": session["kid"]}
    assert (await service.me(session["access_token"])).status_code == 200
    signed = [call for call in signing_vault.calls() if call == f"POST /transit/sign/{SIGNING_KEY}"]
    assert len(signed) == 2


async def test_keeps_no_private_key_but_where_it_is(service, path):
    (entry,) = json.loads(path.read_text())["keys"]
    assert entry["d"].startswith("s1.")
    (key,) = load(path, [SEALING_KEY]).keys
    assert isinstance(key.private, VaultKey)
    assert (key.private.name, key.private.version, key.location) == (SIGNING_KEY, 1, f"{SIGNING_KEY} v1")


async def test_believes_no_entry_whose_public_part_was_exchanged(service, path, rotate):
    await rotate()
    document = json.loads(path.read_text())
    first, second = document["keys"]
    first["x"], second["x"] = second["x"], first["x"]
    path.write_text(json.dumps(document))
    with pytest.raises(InvalidKeyDocument):
        load(path, [SEALING_KEY])


FAULTS = {
    "down": lambda vault: vault.fault(status=502, count=100),
    "limited": lambda vault: vault.fault(status=429, count=100),
    "sealed": lambda vault: vault.seal(),
    "slow": lambda vault: vault.fault(delay=600, count=100),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_lets_nobody_in_without_a_signature_and_loses_nobody_by_it(service, signing_vault, fault):
    held = await service.somebody()
    sessions = "select count(*) from sessions where user_id = (select id from users where email_key = $1)"
    before = await service.database.fetchval(sessions, "ann@example.com")
    FAULTS[fault](signing_vault)
    with waiting(service):
        assert await refused(await service.sign_in()) == UNAVAILABLE
        assert await refused(await service.refresh(held)) == UNAVAILABLE
    # Tokens that are out are believed, keys are published, and the replica stays in service.
    assert (await service.me(held["access_token"])).status_code == 200
    assert (await service.public.get("/.well-known/jwks.json")).status_code == 200
    assert (await service.internal.get("/readyz")).json()["checks"]["keys"] == "ok"
    assert await service.database.fetchval(sessions, "ann@example.com") == before
    signing_vault.recover()
    # The token of before is as good as ever: what was not answered has not happened.
    assert (await service.refresh(held)).status_code == 200
    assert (await service.sign_in()).status_code == 200


async def test_blocks_nobody_whose_right_answers_got_no_signature(
    service, start, vault_settings, signing_vault
):
    held = await service.somebody()
    app = await enrol(service, held)
    challenge = (await challenged(service))["challenge"]
    signing_vault.seal()
    for _ in range(6):
        assert await refused(await answered(service, challenge, code=app.code)) == UNAVAILABLE
        assert (
            await refused(await service.post("step-up", held["access_token"], code=app.code)) == UNAVAILABLE
        )
    signing_vault.recover()
    other = await start(**vault_settings)
    assert (await answered(other, challenge, code=app.code)).status_code == 200


@pytest.mark.parametrize("written", ["vault:v2:-_8", "vault:v2:+/8="])
def test_reads_signatures_in_either_alphabet_and_of_no_other_version(written):
    assert raw_signature(written, 2) == b"\xfb\xff"
    for odd in (written.replace("v2", "v1"), written.replace("vault", "bao"), "vault:v2:*", "None"):
        with pytest.raises(ValueError, match="not"):
            raw_signature(odd, 2)


async def test_tries_again_when_vault_falters(service, signing_vault):
    await service.somebody()
    signing_vault.fault(status=500, count=2)
    assert (await service.sign_in()).status_code == 200


async def test_takes_the_new_token_that_an_agent_has_written(start, vault_settings, signing_vault, tmp_path):
    file = tmp_path / "token"
    first, second = (signing_vault.token("auth-signing") for _ in range(2))
    file.write_text(f"{first}\n")
    service = await start(**vault_settings | {"vault_token": None, "vault_token_file": file})
    await service.somebody()
    signing_vault.revoke(first)
    assert await refused(await service.sign_in()) == UNAVAILABLE
    file.write_text(f"{second}\n")
    answers = await asyncio.gather(*(service.machine() for _ in range(4)))
    assert {answer.status_code for answer in answers} == {200}
    assert (await service.sign_in()).status_code == 200


async def test_waits_for_a_token_that_is_not_there_yet(start, vault_settings, signing_vault, tmp_path):
    file = tmp_path / "token"
    service = await start(**vault_settings | {"vault_token": None, "vault_token_file": file})
    assert await refused(await service.machine()) == UNAVAILABLE
    file.write_text(signing_vault.token("auth-signing"))
    assert (await service.machine()).status_code == 200


async def test_keeps_its_token_alive(start, vault_settings, signing_vault):
    renewed = await start(**vault_settings)
    ending = await start(**vault_settings | {"vault_token": signing_vault.token("auth-signing")})
    renewal = VaultTokenRenewal(Vault.from_settings(renewed.settings, renewed.app.state.resources.http))
    for _ in range(3):
        signing_vault.later(3000)
        assert await renewal.step() == 2400
    assert (await renewed.machine()).status_code == 200
    assert await refused(await ending.machine()) == UNAVAILABLE


async def test_is_not_let_do_what_its_policy_does_not_say(start, vault_settings, signing_vault):
    stranger = await start(**vault_settings | {"vault_token": signing_vault.token("auth-service")})
    assert await refused(await stranger.machine()) == UNAVAILABLE
    operator = await start(**vault_settings | {"vault_token": signing_vault.operator["vault_token"]})
    assert await refused(await operator.machine()) == UNAVAILABLE
    keys = SigningKeys.from_settings(stranger.settings)
    with pytest.raises(KeyCreationFailed, match="forbids"):
        await keys.rotate()


async def test_asks_for_all_that_the_policies_allow_and_for_nothing_else(
    start, vault_settings, signing_vault, rotate, path
):
    """The policies are enforced in all these tests; here they are found to be no wider than they need be."""
    needed = {"create": "POST", "update": "POST", "read": "GET"}
    signing_vault.root.post("/v1/transit/keys/auth-service", json={"type": "ed25519"})
    signing_vault.forget_calls()
    # The first start of all, which takes up the key that the operator has made.
    vault_settings |= {
        "auth_key_storage_path": path.with_name("other.json"),
        "vault_transit_key": "auth-service",
    }
    service = await start(**vault_settings, vault_verify_enabled=True)
    vault = service.app.state.services.vault
    assert not await vault.verify(b"x", "vault:v1:AAAA")
    assert await vault.renew() == 3600
    assert (await service.machine()).status_code == 200
    allowed = signing_vault.rules("auth-service") | signing_vault.rules("auth-signing")
    assert set(signing_vault.calls()) == {
        f"{needed[word]} /{place}" for place, words in allowed.items() for word in words
    }
    signing_vault.forget_calls()
    await rotate(at_once=True)
    signing_vault.app.state.vault.keys.clear()
    await rotate()
    assert set(signing_vault.calls()) == {
        f"{needed[word]} /{place}"
        for place, words in signing_vault.rules("auth-signing-operator").items()
        for word in words
    }


def test_gives_nobody_more_than_requirement_127_lets_have(signing_vault):
    service = signing_vault.rules("auth-service") | signing_vault.rules("auth-signing")
    assert service == {
        "transit/verify/auth-service": {"update"},
        "transit/sign/auth-access-tokens": {"update"},
        "transit/keys/auth-access-tokens": {"read"},
        "auth/token/renew-self": {"update"},
    }
    paths = [*service, *signing_vault.rules("auth-signing-operator")]
    assert not [path for path in paths for word in ("export", "backup", "config", "*", "+") if word in path]


async def test_starts_while_vault_is_away_for_what_needs_no_signature(
    start, service, vault_settings, signing_vault
):
    held = await service.somebody()
    signing_vault.seal()
    late = await start(**vault_settings)
    assert (await late.me(held["access_token"])).status_code == 200
    assert len((await late.public.get("/.well-known/jwks.json")).json()["keys"]) == 1
    assert await refused(await late.refresh(held)) == UNAVAILABLE
    signing_vault.recover()
    assert (await late.refresh(held)).status_code == 200


async def test_does_not_start_without_any_key_and_says_who_makes_one(signing_vault, variables, path):
    vault_settings = {**variables, **signing_vault.settings(auth_key_storage_path=path)}
    with pytest.raises(KeyCreationFailed, match="no Transit key auth-access-tokens: `rotate` makes it"):
        await SigningKeys.from_settings(Settings(**vault_settings)).start()
    assert not path.exists()
    signing_vault.seal()
    with pytest.raises(KeyCreationFailed, match="does not answer"):
        await SigningKeys.from_settings(Settings(**vault_settings)).start()


@pytest.mark.parametrize("wish", ["exportable", "allow_plaintext_backup"])
async def test_takes_no_key_that_could_leave_vault(signing_vault, variables, path, wish):
    wished = {"type": "ed25519", wish: True}
    signing_vault.root.post(f"/v1/transit/keys/{SIGNING_KEY}", json=wished)
    vault_settings = {**variables, **signing_vault.settings(auth_key_storage_path=path)}
    with pytest.raises(KeyCreationFailed, match="never leave Vault"):
        await SigningKeys.from_settings(Settings(**vault_settings)).start()


async def test_hands_out_nothing_that_its_own_keys_would_not_verify(service, signing_vault):
    await service.somebody()
    kept = signing_vault.app.state.vault.keys
    kept.clear()
    signing_vault.root.post(f"/v1/transit/keys/{SIGNING_KEY}", json={"type": "ed25519"})
    assert await refused(await service.sign_in()) == UNAVAILABLE
    kept.clear()
    assert await refused(await service.sign_in()) == UNAVAILABLE


async def test_makes_nobody_wait_who_needs_no_signature(start, vault_settings, signing_vault):
    """Of sixteen connections to the database, eight wait for Vault."""
    service = await start(**vault_settings, database_pool_size=8)
    held = [await service.somebody(), *[await service.session() for _ in range(18)]]
    signing_vault.fault(delay=600, count=10_000)
    with waiting(service, queue=SIGNING.queue):
        refreshes = [asyncio.create_task(service.refresh(bundle)) for bundle in held]
        async with time_limit():
            while sum(one.done() for one in refreshes) < len(held) - 8:  # noqa: ASYNC110  # refused at once
                await asyncio.sleep(0.01)
    for _ in range(3):
        assert (await service.me(held[0]["access_token"])).status_code == 200
    waiting_still = [one for one in refreshes if not one.done()]
    assert len(waiting_still) == 8
    assert {await refused(one.result()) for one in refreshes if one.done()} == {UNAVAILABLE}
    for one in waiting_still:
        one.cancel()
    await asyncio.gather(*waiting_still, return_exceptions=True)
    signing_vault.recover()
    other = await start(**vault_settings)
    # Nothing of it has happened: all go on with the tokens they had.
    assert {(await other.refresh(bundle)).status_code for bundle in held} == {200}


async def test_leaves_vault_alone_when_it_keeps_failing_and_then_asks_once(signing_vault, rotate):
    await rotate()
    now = 100.0
    http = HttpPool()
    vault_settings = signing_vault.settings()
    vault = Vault(
        http,
        vault_settings["vault_addr"],
        lambda: vault_settings["vault_token"],
        clock=lambda: now,
        timeouts=replace(SIGNING, attempt=60, total=60, queue=60),
    )

    async def outcomes(number):
        signatures = [vault.sign(SIGNING_KEY, 1, b"x") for _ in range(number)]
        return {type(one) for one in await asyncio.gather(*signatures, return_exceptions=True)}

    signing_vault.seal()
    for _ in range(FAILURES):
        assert await outcomes(1) == {VaultUnavailable}
    signing_vault.recover()
    signing_vault.forget_calls()
    assert await outcomes(8) == {VaultUnavailable}
    assert signing_vault.calls() == []
    now += PAUSE_SECONDS
    assert await outcomes(8) == {bytes, VaultUnavailable}
    assert signing_vault.calls() == [f"POST /transit/sign/{SIGNING_KEY}"]
    assert await outcomes(8) == {bytes}
    await http.aclose()


async def test_moves_to_vault_and_back_and_nobody_notices(start, variables, signing_vault, path):
    """Two replicas, vault_settings one after the other; the key of each kind is published before it signs."""
    access = signing_vault.settings(auth_key_storage_path=path)
    by_file = {**access, "auth_signer": "file"}
    first, second = await start(**by_file), await start(**by_file)
    held = [await first.somebody()]

    async def everybody_is_in():
        for bundle in held:
            for replica in (first, second):
                assert (await replica.me(bundle["access_token"])).status_code == 200

    for signer in ("vault", "file"):
        vault_settings = {**signing_vault.operator, "auth_signer": signer, "auth_key_storage_path": path}
        keys = SigningKeys.from_settings(Settings(**{**variables, **vault_settings}))
        new = await keys.rotate(at_once=True)
        second = await start(**{**access, "auth_signer": signer})
        newest = held[-1]
        async with time_limit():
            while newest["kid"] != new.kid:
                newest = (await second.refresh(newest)).json()
                await everybody_is_in()
        held.append(newest)
        await everybody_is_in()
        first = await start(**{**access, "auth_signer": signer})
        await everybody_is_in()
    assert [isinstance(key.private, VaultKey) for key in (await keys.read()).keys] == [False, True, False]


def variables_of_the_command(monkeypatch, variables, vault_settings):
    for name, value in {**variables, **vault_settings}.items():
        text = value.get_secret_value() if hasattr(value, "get_secret_value") else value
        if isinstance(text, str | bool | int | Path):
            monkeypatch.setenv(name.upper(), str(text))


@pytest.mark.parametrize("fault", ["sealed", "slow"])
async def test_takes_a_key_away_while_vault_is_down_and_does_not_bring_it_back(
    start, service, vault_settings, variables, signing_vault, monkeypatch, capsys, path, fault
):
    held = await service.somebody()
    variables_of_the_command(monkeypatch, variables, signing_vault.operator | {"auth_key_storage_path": path})
    FAULTS[fault](signing_vault)
    with Stopwatch() as stopwatch, monkeypatch.context() as patch:
        patch.setattr(vault_keys, "ATTEMPT_SECONDS", ATTEMPT_SECONDS)
        patch.setattr(vault_keys, "MAX_SECONDS", MAX_SECONDS)
        assert await asyncio.to_thread(cli.main, ["keys", "revoke", held["kid"]]) == 1
    assert stopwatch.seconds < 10
    error = capsys.readouterr().err
    assert "The key is revoked, but no other signs in its place: Vault does not answer" in error
    signing_vault.recover()
    for replica in (service, await start(**vault_settings)):
        assert (await replica.public.get("/.well-known/jwks.json")).json() == {"keys": []}
        async with time_limit():
            while (await replica.me(held["access_token"])).status_code != 401:  # noqa: ASYNC110  # it asks
                await asyncio.sleep(0.02)
        assert await refused(await replica.sign_in()) == (503, "signing_keys_unavailable")
    assert await asyncio.to_thread(cli.main, ["keys", "rotate"]) == 0
    assert " active " in capsys.readouterr().out
    late = await start(**vault_settings)
    assert (await late.refresh(held)).json()["kid"] != held["kid"]


def test_tells_the_operator_what_vault_would_not_do(variables, signing_vault, monkeypatch, capsys, path):
    service = signing_vault.settings(auth_key_storage_path=path)
    variables_of_the_command(monkeypatch, variables, service)
    assert cli.main(["keys", "rotate"]) == 1
    vault_settings = capsys.readouterr()
    assert vault_settings.err == "Vault forbids it: its token has run out, or has no policy for it.\n"
    assert service["vault_token"] not in vault_settings.out + vault_settings.err


def test_makes_versions_of_one_key_each_with_its_own_id(signing_vault):
    vault_settings = signing_vault.operator
    transit = TransitKeys(vault_settings["vault_addr"], lambda: vault_settings["vault_token"], SIGNING_KEY)
    made = [transit.create_version() for _ in range(3)]
    assert [one.version for one in made] == [1, 2, 3]
    assert len({one.public.public_bytes_raw() for one in made}) == 3
    assert transit.latest_version() == made[-1]
