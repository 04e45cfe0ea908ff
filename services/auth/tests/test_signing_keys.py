import asyncio
import base64
import json
import os
import subprocess
import sys
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from secrets import token_urlsafe

import pytest
from auth import cli
from auth.configuration.signing import Overlap
from auth.errors import SigningKeysUnavailable
from auth.main import create_app
from auth.models import SigningKeyRing
from auth.settings import Settings
from auth.signing import key_table
from auth.signing.key_document import InvalidKeyDocument, dumps
from auth.signing.key_file import KeyFile
from auth.signing.key_ring import KeyNotFound, KeyRing, RotationPending, SigningKey
from auth.signing.key_table import KeyTable
from auth.signing.signing_keys import KeyFactory, SigningKeys
from auth.signing.vault_keys import TransitKeys
from fastapi import APIRouter
from joserfc.jwk import KeySet
from pydantic import SecretStr
from servicekit.app import create_service
from servicekit.auth import jose
from servicekit.auth.dependencies import Caller
from servicekit.auth.tokens import InvalidToken
from servicekit.database import Database
from servicekit.jwks.fetch import PRIVATE_MEMBERS
from servicekit.settings import ServiceSettings
from sqlalchemy import delete, event, select, update
from sqlalchemy.engine import make_url
from testkit.app import client, running
from testkit.eventually import time_limit
from testkit.live_server import serving
from testkit.production import production_settings
from testkit.proxy import Proxy

from .conftest import SEALING_KEY

HOUR = 3600
OVERLAP = Overlap(publish_lead=timedelta(hours=24), retire_lag=timedelta(hours=12))


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys" / "keys.json"


@pytest.fixture(params=["file", "vault"])
def signer(request):
    """What auth and its command are told of where signing keys are, as two sets of settings."""
    if request.param == "file":
        return {}, {}
    vault = request.getfixturevalue("signing_vault")
    return vault.settings(), vault.operator


@pytest.fixture
def making(signer):
    """How an operator makes keys."""
    operator = signer[1]
    if not operator:
        return KeyFactory()
    transit = TransitKeys(operator["vault_addr"], lambda: operator["vault_token"], "auth-access-tokens")
    return KeyFactory(first=transit.create_version, another=transit.create_version)


@pytest.fixture
async def ring(path, clock, making):
    keys = SigningKeys(KeyFile(path), OVERLAP, clock, making=making)
    await keys.start()
    return keys


@pytest.fixture
async def database(variables):
    """The database of auth, in which no keys were ever stored."""
    database = Database(variables["database_url"], name="test", pool_size=8)
    async with database.begin() as session:
        await session.execute(delete(SigningKeyRing))
    yield database
    await database.close()


@pytest.fixture(params=["file", "table"])
def store(request, path):
    """Make a store, as each replica has its own, of the same keys."""
    if request.param == "file":
        return lambda: KeyFile(path, [SEALING_KEY])
    database = request.getfixturevalue("database")
    return lambda: KeyTable(database, [SEALING_KEY])


@pytest.fixture
async def stored_ring(store, clock, making):
    """The keys in each kind of store."""
    keys = SigningKeys(store(), OVERLAP, clock, making=making)
    await keys.start()
    return keys


async def published(store, clock):
    keys = SigningKeys(store, OVERLAP, clock)
    return [jwk["kid"] for jwk in json.loads(await keys.key_set())["keys"]]


async def signing(store, clock):
    return (await SigningKeys(store, OVERLAP, clock).current()).kid


async def test_keeps_the_keys_where_only_we_can_read_them(ring, path):
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    await ring.rotate()
    assert path.stat().st_mode & 0o777 == 0o600
    assert sorted(entry.name for entry in path.parent.iterdir()) == [".keys.json.lock", "keys.json"]


async def test_seals_the_keys_so_that_a_copy_of_the_file_is_of_no_use(path, clock):
    key, next_key = (SecretStr(base64.urlsafe_b64encode(bytes([one]) * 32).decode()) for one in (1, 2))
    keys = SigningKeys(KeyFile(path, [key]), OVERLAP, clock)
    await keys.start()
    kid = (await keys.current()).kid
    private = jose.encode((await keys.current()).private.private_bytes_raw())
    assert private not in path.read_text()
    for without in ([], [next_key]):
        with pytest.raises(InvalidKeyDocument):
            await SigningKeys(KeyFile(path, without), OVERLAP, clock).start()
    # The sealing key is changed: both for a while, and the next rotation seals all with the new one.
    both = SigningKeys(KeyFile(path, [next_key, key]), OVERLAP, clock)
    assert (await both.current()).kid == kid
    await both.rotate()
    assert (await SigningKeys(KeyFile(path, [next_key]), OVERLAP, clock).current()).kid == kid


async def test_does_not_take_one_keys_seal_for_anothers(path, clock):
    key = SecretStr(base64.urlsafe_b64encode(bytes(32)).decode())
    keys = SigningKeys(KeyFile(path, [key]), OVERLAP, clock)
    await keys.start()
    await keys.rotate()
    document = json.loads(path.read_text())
    first, second = document["keys"]
    first["d"], second["d"] = second["d"], first["d"]
    path.write_text(json.dumps(document))
    with pytest.raises(InvalidKeyDocument):
        await SigningKeys(KeyFile(path, [key]), OVERLAP, clock).start()


async def test_still_reads_a_file_that_was_not_sealed_and_seals_it_at_the_next_change(ring, path, clock):
    kid = await signing(KeyFile(path), clock)
    key = SecretStr(base64.urlsafe_b64encode(bytes(32)).decode())
    sealed = SigningKeys(KeyFile(path, [key]), OVERLAP, clock)
    assert (await sealed.current()).kid == kid
    await sealed.rotate()
    assert all(entry["d"].startswith("s1.") for entry in json.loads(path.read_text())["keys"])


async def test_publishes_a_key_a_day_before_it_signs_and_half_a_day_after(stored_ring, store, clock):
    old = await signing(store(), clock)
    new = (await stored_ring.rotate()).kid
    assert (await published(store(), clock), await signing(store(), clock)) == ([old, new], old)
    clock.now += 24 * HOUR - 1
    assert await signing(store(), clock) == old
    clock.now += 1
    assert (await published(store(), clock), await signing(store(), clock)) == ([old, new], new)
    clock.now += 12 * HOUR - 1
    assert await published(store(), clock) == [old, new]
    clock.now += 1
    assert (await published(store(), clock), await signing(store(), clock)) == ([new], new)


async def test_verifies_with_every_published_key_and_with_no_other(stored_ring, store, clock):
    old, new = await signing(store(), clock), (await stored_ring.rotate()).kid
    reader = SigningKeys(store(), OVERLAP, clock)
    assert [(await reader.get(kid)).kid for kid in (old, new)] == [old, new]
    clock.now += 36 * HOUR
    assert (await reader.get(new)).kid == new
    for gone in (old, "unknown"):
        with pytest.raises(InvalidToken):
            await reader.get(gone)


async def test_has_one_key_on_its_way_at_a_time(stored_ring):
    await stored_ring.rotate()
    with pytest.raises(RotationPending):
        await stored_ring.rotate()


async def test_forgets_retired_keys_at_the_next_rotation(stored_ring, store, clock):
    for _ in range(4):
        await stored_ring.rotate()
        clock.now += 48 * HOUR
    assert len((await stored_ring.read()).keys) == 2


async def test_takes_a_leaked_key_out_at_once_and_signs_with_another(stored_ring, store, clock):
    leaked = await signing(store(), clock)
    await stored_ring.revoke(leaked)
    assert leaked not in await published(store(), clock)
    assert await signing(store(), clock) != leaked
    with pytest.raises(KeyNotFound):
        await stored_ring.revoke(leaked)


async def test_notices_a_change_by_another_process(stored_ring, store, clock):
    other = SigningKeys(store(), OVERLAP, clock)
    before = (await other.current()).kid
    new = (await stored_ring.rotate(at_once=True)).kid
    # An unknown key is worth a look at once; else there is one twice a second.
    assert (await other.get(new)).kid == new
    assert (await other.current()).kid == new != before


async def test_goes_on_with_the_keys_it_has_while_the_file_is_away(ring, path):
    kid = (await ring.current()).kid
    path.unlink()
    assert (await ring.get(kid)).kid == kid
    with pytest.raises(InvalidToken):
        await ring.get("unknown")
    assert (await ring.current()).kid == kid


@pytest.mark.parametrize(
    "text", ["", "{}", '{"version": 1, "keys": [{"kid": "x"}]}', '{"version": 2, "keys": []}']
)
async def test_refuses_to_start_on_a_file_that_it_cannot_read(path, clock, text):
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(InvalidKeyDocument):
        await SigningKeys(KeyFile(path), OVERLAP, clock).start()
    with pytest.raises(SigningKeysUnavailable):
        await SigningKeys(KeyFile(path), OVERLAP, clock).current()
    assert path.read_text() == text


async def row(database):
    async with database.begin() as session:
        return await session.scalar(select(SigningKeyRing))


async def test_stores_no_private_key_in_the_database_that_is_not_sealed(database, clock):
    keys = SigningKeys(KeyTable(database, [SEALING_KEY]), OVERLAP, clock)
    await keys.start()
    private = jose.encode((await keys.current()).private.private_bytes_raw())
    document = (await row(database)).document
    assert private not in document
    assert all(entry["d"].startswith("s1.") for entry in json.loads(document)["keys"])


@pytest.mark.parametrize("what", ["unsealed", "sealed by another key", "of another key"])
async def test_takes_no_key_that_somebody_else_wrote_into_the_database(database, clock, what):
    keys = SigningKeys(KeyTable(database, [SEALING_KEY]), OVERLAP, clock)
    await keys.start()
    known = (await keys.current()).kid
    forged = KeyRing((SigningKey(0),))
    other = SecretStr(base64.urlsafe_b64encode(bytes(32)).decode())
    document = dumps(forged, {"unsealed": [], "sealed by another key": [other]}.get(what, [SEALING_KEY]))
    if what == "of another key":
        entries = json.loads(document)
        entries["keys"][0] |= {"d": json.loads((await row(database)).document)["keys"][0]["d"]}
        document = json.dumps(entries)
    async with database.begin() as session:
        await session.execute(update(SigningKeyRing).values(document=document, version=99))
    with pytest.raises(InvalidKeyDocument):
        await SigningKeys(KeyTable(database, [SEALING_KEY]), OVERLAP, clock).start()
    with pytest.raises(InvalidToken):
        await keys.get(forged.keys[0].kid)
    assert (await keys.get(known)).kid == known


@pytest.mark.parametrize("fault", ["cut", "stalled"])
async def test_goes_on_with_the_keys_it_has_while_the_database_is_away(
    database, clock, variables, fault, monkeypatch
):
    direct = make_url(variables["database_url"])
    with Proxy(direct.port) as proxy:
        url = direct.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
        async with aclosing(
            SigningKeys(KeyTable(Database(url, name="test", pool_size=1), [SEALING_KEY]), OVERLAP, clock)
        ) as keys:
            await keys.start()
            kid = (await keys.current()).kid
            with getattr(proxy, fault)(), monkeypatch.context() as patch:
                patch.setattr(key_table, "READ_SECONDS", 0.2)
                assert (await keys.get(kid)).kid == kid
                assert kid in (await keys.key_set()).decode()
                with pytest.raises(InvalidToken):
                    await keys.get("unknown")
            new = await SigningKeys(KeyTable(database, [SEALING_KEY]), OVERLAP, clock).rotate(at_once=True)
            assert (await keys.get(new.kid)).kid == new.kid


@pytest.mark.parametrize("is_file", [True, False])
async def test_warns_outside_development_of_a_file_that_replicas_have_to_share(
    database, variables, path, caplog, is_file
):
    stores = {name: variables[name] for name in ("database_url", "redis_url")}
    values = {name.lower(): value for name, value in production_settings("auth").items()} | stores
    values |= {"auth_service_secrets": {"chat-agent": token_urlsafe()}}
    values |= {"auth_key_storage_path": path if is_file else None}
    async with running(create_app(Settings(**values, debug=False, run_workers=False, logging_sink="none"))):
        assert ("signing keys are stored in a file" in caplog.text) == is_file
    async with database.begin() as session:
        await session.execute(delete(SigningKeyRing))


async def test_reads_the_database_once_for_many_unknown_keys_at_once(database, clock):
    store = KeyTable(database, [SEALING_KEY])
    keys = SigningKeys(store, OVERLAP, clock)
    await keys.start()
    queries = []
    event.listen(
        database.engine.sync_engine, "before_cursor_execute", lambda *arguments: queries.append(arguments[2])
    )
    refused = await asyncio.gather(*(keys.get(f"unknown{n}") for n in range(100)), return_exceptions=True)
    assert {type(one) for one in refused} == {InvalidToken}
    assert len([query for query in queries if "signing_key_rings" in query]) <= 2


async def test_makes_one_first_key_however_many_replicas_start(store, clock, making):
    replicas = [SigningKeys(store(), OVERLAP, clock, making=making) for _ in range(8)]
    await asyncio.gather(*(replica.start() for replica in replicas))
    assert len({(await replica.current()).kid for replica in replicas}) == 1


async def test_shows_public_members_only(start, path):
    keys = SigningKeys(KeyFile(path), OVERLAP)
    await keys.start()
    await keys.rotate()
    auth = await start(auth_key_storage_path=path)
    answer = await auth.public.get("/.well-known/jwks.json")
    assert answer.headers["content-type"] == "application/jwk-set+json"
    keys = answer.json()["keys"]
    assert len({jwk["kid"] for jwk in keys}) == len(keys) == 2
    for jwk in keys:
        assert set(jwk) == {"kty", "crv", "x", "kid", "use", "alg"}
        assert not PRIVATE_MEMBERS & set(jwk)
        assert (jwk["kty"], jwk["crv"], jwk["use"], jwk["alg"]) == ("OKP", "Ed25519", "sig", "EdDSA")
    assert [key.thumbprint() for key in KeySet.import_key_set(answer.json())] == [jwk["kid"] for jwk in keys]


async def test_spares_caches_the_body_they_have(start, tmp_path):
    auth = await start(auth_jwks_max_age_seconds=120, auth_key_storage_path=tmp_path / "own" / "keys.json")
    whole = await auth.public.get("/.well-known/jwks.json")
    tag = whole.headers["etag"]
    assert whole.headers["cache-control"] == "public, max-age=120"
    for known in (tag, f"W/{tag}", f'"other", W/{tag}, "another"', "*", f'"a,b",{tag}'):
        answer = await auth.public.get("/.well-known/jwks.json", headers={"If-None-Match": known})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
        assert answer.headers["cache-control"] == "public, max-age=120"
    for unknown in ('"other"', tag.strip('"'), f'"{tag}"'[:-2], ""):
        answer = await auth.public.get("/.well-known/jwks.json", headers={"If-None-Match": unknown})
        assert answer.status_code == 200
    lines = [("If-None-Match", '"other"'), ("If-None-Match", tag)]
    assert (await auth.public.get("/.well-known/jwks.json", headers=lines)).status_code == 304


async def test_tags_the_same_keys_alike_in_every_replica_and_not_to_be_guessed(start, tmp_path):
    storage = tmp_path / "own" / "keys.json"
    first = await start(auth_key_storage_path=storage)
    second = await start(auth_key_storage_path=storage)
    salted = await start(auth_key_storage_path=storage, auth_jwks_etag_salt="another salt of entity tags")

    async def tag(one):
        return (await one.public.get("/.well-known/jwks.json")).headers["etag"]

    assert await tag(first) == await tag(second) != await tag(salted)
    before = await tag(first)
    await first.app.state.services.keys.rotate()
    assert await tag(await start(auth_key_storage_path=storage)) != before


async def test_tells_libraries_where_the_keys_are(auth):
    metadata = (await auth.public.get("/.well-known/openid-configuration")).json()
    assert metadata["issuer"] == auth.settings.auth_issuer
    assert metadata["jwks_uri"] == f"{auth.settings.auth_issuer}/.well-known/jwks.json"
    assert metadata["id_token_signing_alg_values_supported"] == ["EdDSA"]


async def test_refuses_no_token_while_keys_change(start, variables, path, signer):
    service, operator = ({**values, "auth_key_storage_path": path} for values in signer)
    keys = SigningKeys.from_settings(Settings(**{**variables, **operator}))
    await keys.rotate()
    auth = await start(**service)
    held = [await auth.somebody()]
    for _ in range(3):
        # As when the publish lead is over: the running service finds out by itself.
        await keys.rotate(at_once=True)
        newest = held[-1]
        async with time_limit():
            while newest["kid"] == held[-1]["kid"]:
                await asyncio.sleep(0.05)
                newest = (await auth.refresh(newest)).json()
                assert (await auth.me(newest["access_token"])).status_code == 200
        held.append(newest)
    assert len({bundle["kid"] for bundle in held}) == 4
    assert {(await auth.me(bundle["access_token"])).status_code for bundle in held} == {200}


def environment(variables, path):
    plain = {
        name.upper(): str(value) for name, value in variables.items() if isinstance(value, str | bool | int)
    }
    sealing = ("auth_session_encryption_key", "event_sealing_key")
    keys = {name.upper(): variables[name].get_secret_value() for name in sealing}
    return {**plain, **keys, "AUTH_KEY_STORAGE_PATH": str(path), "PATH": os.defpath}


def test_is_rotated_from_the_command_line(variables, path, signer):
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "auth", "keys", *arguments],
            env=environment({**variables, **signer[1]}, path),
            capture_output=True,
            text=True,
            check=False,
        )

    first = run("rotate")
    assert (first.returncode, len(first.stdout.splitlines())) == (0, 1), first.stderr
    assert " active " in first.stdout
    private = json.loads(Path(path).read_text())["keys"][0]["d"]
    assert private not in first.stdout


def test_explains_itself_on_the_command_line(variables, path, signer, monkeypatch, capsys):
    for name, value in environment({**variables, **signer[1]}, path).items():
        monkeypatch.setenv(name, value)
    overlap = Settings().overlap
    assert overlap.publish_lead == timedelta(days=1)
    assert [cli.main(["keys", "rotate"]) for _ in range(3)] == [0, 0, 1]
    printed = capsys.readouterr()
    assert "already published" in printed.err
    active, following = printed.out.splitlines()[-2:]
    assert (active.split()[1], following.split()[1]) == ("active", "next")
    assert cli.main(["keys", "revoke", active.split()[0]]) == 0
    assert [cli.main(["keys", "revoke", kid]) for kid in ("unknown", "-unknown")] == [1, 1]
    assert cli.main(["keys", "list"]) == 0
    assert active.split()[0] not in capsys.readouterr().out.splitlines()[-2:][0]


router = APIRouter()


@router.get("/belongs")
async def belongs(caller: Caller) -> str:
    return str(caller.tenant_id)


async def test_has_a_revoked_keys_tokens_refused_by_other_services_within_five_seconds(
    start, variables, path, signer, monkeypatch
):
    """The operator's command, Redis, and another service that gets its keys over real HTTP."""
    for name, value in environment({**variables, **signer[1]}, path).items():
        monkeypatch.setenv(name, value)
    assert await asyncio.to_thread(cli.main, ["keys", "rotate"]) == 0
    values = {**variables, **signer[0], "auth_key_storage_path": path}
    auth = await start(**signer[0], auth_key_storage_path=path)
    held = await auth.somebody()
    common = {name: value for name, value in variables.items() if name in ServiceSettings.model_fields}
    with serving(create_app(Settings(**values))) as url:
        settings = ServiceSettings(**{**common, "auth_jwks_url": f"{url}/.well-known/jwks.json"})
        app = create_service("notification", settings, routers=[router])
        async with running(app), client(app) as other:

            async def status(bundle):
                bearer = {"Authorization": f"Bearer {bundle['access_token']}"}
                return (await other.get("/belongs", headers=bearer)).status_code

            assert await status(held) == 200
            assert await asyncio.to_thread(cli.main, ["keys", "revoke", held["kid"]]) == 0
            async with time_limit():
                while (await status(held), (await auth.me(held["access_token"])).status_code) != (401, 401):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            # Nobody is locked out: the session goes on with the key that signs now.
            renewed = (await auth.refresh(held)).json()
            assert renewed["kid"] != held["kid"]
            assert await status(renewed) == 200


def test_says_when_it_could_not_tell_the_services(variables, path, monkeypatch, capsys):
    for name, value in environment(variables, path).items():
        monkeypatch.setenv(name, value)
    assert cli.main(["keys", "rotate"]) == 0
    kid = capsys.readouterr().out.split()[0]
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    assert cli.main(["keys", "revoke", kid]) == 1
    printed = capsys.readouterr()
    assert "Done, but Redis does not answer" in printed.err
    assert kid not in printed.out
