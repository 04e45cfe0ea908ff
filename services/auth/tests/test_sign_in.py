import asyncio
import statistics
import time
from datetime import datetime

import pytest
from auth.security.passwords import Passwords, normalize
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from joserfc import jwt
from joserfc.jwk import KeySet
from pydantic import SecretStr
from servicekit.auth.permissions import Role, scopes_for

from .conftest import FULL_COST

ADMIN_SCOPES = sorted(scopes_for(Role.ADMIN))


async def test_gives_a_whole_session(auth):
    await auth.somebody()
    answer = await auth.sign_in()
    bundle = answer.json()
    assert answer.headers["cache-control"] == "no-store"
    assert set(bundle) == {
        *("access_token", "refresh_token", "token_type", "expires_at", "refresh_expires_at", "kid"),
        *("scopes", "tenant_id", "tenant_status", "user_id", "email_verified", "session_id", "device"),
    }
    assert (bundle["token_type"], bundle["email_verified"]) == ("bearer", True)
    assert bundle["user_id"].startswith("user:")


# PyJWT knows the algorithm by no other name; joserfc, which looks over its shoulder, prefers the newer one.
@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
async def test_says_in_the_access_token_what_the_contract_says_and_no_more(auth):
    await auth.somebody()
    await auth.role("ann@example.com", "admin")
    before = int(time.time())
    bundle = await auth.session()
    keys = KeySet.import_key_set((await auth.public.get("/.well-known/jwks.json")).json())
    token = jwt.decode(bundle["access_token"], keys, algorithms=["EdDSA"])
    claims = dict(token.claims)
    assert token.header == {"typ": "at+jwt", "alg": "EdDSA", "kid": bundle["kid"]}
    issued_at = claims.pop("iat")
    assert before <= claims.pop("auth_time") <= issued_at == claims.pop("nbf") <= int(time.time())
    assert claims.pop("exp") == datetime.fromisoformat(bundle["expires_at"]).timestamp() <= time.time() + 600
    assert claims.pop("jti")
    assert claims == {
        "iss": auth.settings.auth_issuer,
        "aud": "acme-api",
        "sub": bundle["user_id"],
        "client_id": "acme-web",
        "sid": bundle["session_id"],
        "tenant_id": bundle["tenant_id"],
        "role": "admin",
        "scope": " ".join(ADMIN_SCOPES),
        "email_verified": True,
        "amr": ["pwd"],
    }
    assert bundle["scopes"] == ADMIN_SCOPES


async def test_begins_a_new_session_each_time(auth):
    first, second = await auth.somebody(), await auth.session()
    assert first["session_id"] != second["session_id"]
    assert first["refresh_token"] != second["refresh_token"]
    assert auth.claims(first)["jti"] != auth.claims(second)["jti"]


async def test_refuses_in_one_way_whatever_the_reason(auth):
    bundle = await auth.somebody()
    await auth.somebody("disabled@example.com")
    await auth.database.execute("update users set status = 'disabled' where email_key like 'disabled%'")
    await auth.somebody("suspended@example.com", tenant_name="Suspended")
    await auth.database.execute("update tenants set status = 'suspended' where name = 'Suspended'")
    # Its owner would come in, to reactivate it.
    await auth.role("suspended@example.com", "admin")
    await auth.register("unconfirmed@example.com")
    answers = [
        await auth.sign_in("unknown@example.com"),
        await auth.sign_in(password="some other words again"),
        await auth.sign_in("disabled@example.com"),
        await auth.sign_in("suspended@example.com"),
        await auth.sign_in("unconfirmed@example.com"),
        await auth.sign_in(tenant_id="00000000-0000-4000-8000-000000000000"),
        await auth.sign_in(tenant_id=(await auth.somebody("bob@example.com"))["tenant_id"]),
    ]
    bodies = [{**answer.json(), "request_id": ""} for answer in answers]
    assert bodies == [bodies[0]] * len(bodies)
    assert (bodies[0]["status"], bodies[0]["code"]) == (401, "invalid_credentials")
    heads = [{**answer.headers, "x-request-id": ""} for answer in answers]
    assert heads == [heads[0]] * len(heads)
    assert (await auth.sign_in(tenant_id=bundle["tenant_id"])).status_code == 200


async def test_takes_as_long_for_nobody_as_for_somebody(start):
    auth = await start(**FULL_COST)
    await auth.somebody()

    async def seconds(email: str) -> float:
        # Of this process's CPU: what else the machine does is not counted.
        before = time.process_time()
        await auth.sign_in(email, "some other words again")
        return time.process_time() - before

    taken = [(await seconds("ann@example.com"), await seconds("unknown@example.com")) for _ in range(8)]
    known, unknown = (min(column) for column in zip(*taken, strict=True))
    assert 0.5 < unknown / known < 2
    assert statistics.median(pair[1] for pair in taken) > 0.01


async def test_chooses_the_requested_tenant_and_else_the_first(auth):
    first = await auth.somebody()
    other = await auth.somebody("bob@example.com")
    await auth.database.execute(
        "insert into memberships (tenant_id, user_id, role)"
        " select $1, id, 'viewer' from users where email_key like 'ann%'",
        other["tenant_id"],
    )
    assert (await auth.session())["tenant_id"] == first["tenant_id"]
    switched = (await auth.sign_in(tenant_id=other["tenant_id"])).json()
    assert switched["tenant_id"] == other["tenant_id"]
    assert auth.claims(switched)["role"] == "viewer"


def weak_hash(password: str, pepper: str) -> str:
    derivation = Argon2id(
        salt=b"0123456789abcdef", length=32, iterations=1, lanes=1, memory_cost=8192, secret=pepper.encode()
    )
    return derivation.derive_phc_encoded(normalize(password))


async def test_hashes_anew_what_was_hashed_more_weakly(start):
    auth = await start(**FULL_COST)
    await auth.somebody()
    strong = await auth.database.fetchval("select password_hash from users")
    pepper = auth.settings.auth_password_pepper.get_secret_value()
    weak = f"{strong.partition(':')[0]}:{weak_hash(auth.password, pepper)}"
    await auth.database.execute("update users set password_hash = $1", weak)
    assert (await auth.sign_in(password="some other words again")).status_code == 401
    assert await auth.database.fetchval("select password_hash from users") == weak
    await auth.session()
    assert "m=19456,t=2,p=1" in await auth.database.fetchval("select password_hash from users")
    await auth.session()


async def test_knows_the_pepper_before_and_hashes_anew_with_the_one_of_now(auth, start):
    await auth.somebody()
    before = await auth.database.fetchval("select password_hash from users")
    changed = {"auth_password_pepper": "the pepper that comes after"}
    forgetful = await start(**changed)
    assert (await forgetful.sign_in()).status_code == 401
    careful = await start(auth_password_pepper="the pepper that comes after,pepper of passwords")
    await careful.session()
    after = await auth.database.fetchval("select password_hash from users")
    assert before.partition(":")[0] != after.partition(":")[0]
    await forgetful.session()
    assert (await auth.sign_in()).status_code == 401


async def test_sends_people_away_rather_than_letting_them_wait_for_long():
    passwords = Passwords([SecretStr("pepper of passwords")], cores=1, waiting_per_core=5)
    outcomes = await asyncio.gather(*(passwords.verify("x", None) for _ in range(8)), return_exceptions=True)
    refused = [one for one in outcomes if one is not False]
    assert {type(one).__name__ for one in refused} == {"TooManySignIns"}
    assert (len(refused), refused[0].status, refused[0].retry_after) == (3, 503, 2)
    assert await passwords.verify("x", None) is False


async def test_leaves_the_loop_to_others_while_it_hashes():
    hashing = asyncio.create_task(Passwords([SecretStr("pepper of passwords")]).verify("x", None))
    turns = 0
    while not hashing.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 20
