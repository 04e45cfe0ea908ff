"""Tokens of every kind that must be refused, and the few that must not; keys come over real HTTP."""

import base64
import hashlib
import hmac
import json
import logging
import time
from collections.abc import Iterator
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from prometheus_client import REGISTRY
from servicekit.auth import jose
from servicekit.auth.permissions import Role
from servicekit.auth.tokens import InvalidToken, KeySourceUnavailable, Principal, TokenVerifier
from servicekit.jwks.cache import JwksCache
from testkit.issuer import Issuer, JwksResponse, SigningKey, compact

TENANT = UUID("7e4a0000-0000-4000-8000-000000000001")
OTHER = UUID("7e4a0000-0000-4000-8000-0000000000ff")
PERSON = "user:05e70000-0000-4000-8000-000000000002"


class Clock:
    def __init__(self) -> None:
        self.now = float(int(time.time()))

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with Issuer() as running:
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def cache(issuer: Issuer) -> JwksCache:
    return JwksCache(issuer.jwks_url)


@pytest.fixture
def verifier(issuer: Issuer, cache: JwksCache, clock: Clock) -> TokenVerifier:
    audiences = ["acme-api", "conversation"]
    return TokenVerifier(cache, issuer=issuer.issuer, audiences=audiences, clock=clock)


async def refusal(verifier: TokenVerifier, token: str) -> InvalidToken:
    with pytest.raises(InvalidToken) as caught:
        await verifier.verify(token)
    assert caught.value.status == 401
    assert caught.value.code() == "invalid_token"
    assert caught.value.headers == {"WWW-Authenticate": 'Bearer error="invalid_token"'}
    message = repr(caught.value.extensions) + caught.value.detail
    assert not [part for part in token.split(".") if len(part) > 10 and part in message]
    return caught.value


async def test_believes_a_person(verifier, issuer):
    token = issuer.token(
        tenant_id=TENANT, subject=PERSON, role="member", sid="s1", jti="j1", auth_time=7, scope="tools:read"
    )
    principal = await verifier.verify(token)
    assert principal == Principal(
        subject=PERSON,
        tenant_id=TENANT,
        role=Role.MEMBER,
        scopes=frozenset({"tools:read"}),
        client_id="acme-web",
        session_id="s1",
        token_id="j1",
        email_verified=True,
        amr=("pwd",),
        auth_time=7,
        audience=("acme-api",),
        expires_at=principal.expires_at,
        issued_at=principal.expires_at - 600,
    )
    assert principal.user_id == PERSON
    assert not principal.is_service


async def test_believes_a_machine_without_a_tenant(verifier, issuer):
    token = issuer.service_token("chat-agent", audience="conversation", scope="conversations:write")
    principal = await verifier.verify(token)
    assert principal.is_service
    assert (principal.subject, principal.tenant_id, principal.role) == ("service:chat-agent", None, None)
    assert principal.audience == ("conversation",)


async def test_believes_a_machine_of_a_tenant(verifier, issuer):
    token = issuer.service_token(
        "robot", audience="acme-api", scope="*:*", tenant_id=str(TENANT), role="viewer"
    )
    principal = await verifier.verify(token)
    assert (principal.tenant_id, principal.role) == (TENANT, Role.VIEWER)


async def test_a_principal_cannot_be_changed(verifier, issuer):
    principal = await verifier.verify(issuer.token())
    with pytest.raises(AttributeError):
        principal.role = Role.OWNER


@pytest.mark.parametrize("without", ["nbf", "sid", "scope", "email_verified", "amr", "auth_time"])
async def test_does_without_what_is_optional(verifier, issuer, without):
    principal = await verifier.verify(issuer.token(without=[without]))
    assert isinstance(principal.tenant_id, UUID)


async def test_takes_an_unproven_address_for_unverified(verifier, issuer):
    assert not (await verifier.verify(issuer.token(without=["email_verified"]))).email_verified


@pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"])
async def test_takes_every_spelling_of_the_type(verifier, issuer, typ):
    assert await verifier.verify(issuer.token(header={"typ": typ}))


@pytest.mark.parametrize(
    "alg",
    [
        "none",
        "None",
        "noNe",
        "NONE",
        "",
        "HS256",
        "RS256",
        "ES256",
        "eddsa",
        "EDDSA",
        "Ed25519",
        "Ed448",
        None,
        1,
        ["EdDSA"],
    ],
)
async def test_refuses_every_other_algorithm(verifier, issuer, alg):
    assert (await refusal(verifier, issuer.token(header={"alg": alg}))).reason == "wrong_algorithm"


@pytest.mark.parametrize(
    ("without", "reason"), [("alg", "wrong_algorithm"), ("typ", "wrong_type"), ("kid", "malformed_kid")]
)
async def test_needs_every_part_of_the_header(verifier, issuer, without, reason):
    assert (await refusal(verifier, issuer.token(without=[without]))).reason == reason


async def test_refuses_an_unsigned_token(verifier, issuer):
    header, payload, _ = issuer.token(header={"alg": "none"}).split(".")
    await refusal(verifier, f"{header}.{payload}.")
    header, payload, _ = issuer.token().split(".")
    assert (await refusal(verifier, f"{header}.{payload}.")).reason == "wrong_signature"


def public_spellings(key: SigningKey) -> list[bytes]:
    public = key.private.public_key()
    return [
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        key.public_bytes,
        compact(key.jwk),
        json.dumps(key.jwk).encode(),
    ]


@pytest.mark.parametrize("spelling", range(6))
@pytest.mark.parametrize("alg", ["HS256", "EdDSA"])
async def test_takes_no_public_key_for_a_secret(verifier, issuer, spelling, alg):
    header, payload, _ = issuer.token(header={"alg": alg}).split(".")
    secret = public_spellings(issuer.key)[spelling]
    mac = hmac.digest(secret, f"{header}.{payload}".encode(), hashlib.sha256)
    await refusal(verifier, f"{header}.{payload}.{jose.encode(mac)}")
    await refusal(verifier, f"{header}.{payload}.{jose.encode(mac + mac)}")


@pytest.mark.parametrize("name", ["crit", "jku", "jwk", "x5u", "x5c", "b64", "zip"])
async def test_lets_no_token_bring_its_own_key_or_rules(verifier, issuer, name):
    with Issuer() as attacker:
        values = {
            "jku": attacker.jwks_url,
            "x5u": attacker.jwks_url,
            "jwk": attacker.key.jwk,
            "crit": ["exp"],
        }
        count = len(issuer.requests)
        token = attacker.token(header={name: values.get(name, "DEF"), "kid": issuer.key.kid})
        assert (await refusal(verifier, token)).reason == "forbidden_header"
        assert attacker.requests == []
        assert len(issuer.requests) == count


async def test_refuses_forbidden_headers_even_when_we_signed_them(verifier, issuer):
    assert (await refusal(verifier, issuer.token(header={"crit": []}))).reason == "forbidden_header"


@pytest.mark.parametrize(
    "typ",
    ["JWT", "jwt", "it+jwt", "rt+jwt", "reset+jwt", "", "application/jwt", "at+jwt ", None, 1, ["at+jwt"]],
)
async def test_takes_no_other_kind_of_token_for_an_access_token(verifier, issuer, typ):
    assert (await refusal(verifier, issuer.token(header={"typ": typ}))).reason == "wrong_type"


async def test_takes_no_refresh_token_for_an_access_token(verifier, issuer):
    await refusal(verifier, issuer.token(token_use="refresh"))
    assert await verifier.verify(issuer.token(token_use="access"))


@pytest.mark.parametrize(
    "claim", ["iss", "exp", "aud", "sub", "client_id", "iat", "jti", "tenant_id", "role"]
)
async def test_needs_every_claim(verifier, issuer, claim):
    assert (await refusal(verifier, issuer.token(without=[claim]))).reason == "malformed_claims"


@pytest.mark.parametrize(
    "claim", ["nbf", "sid", "scope", "amr", "auth_time", "email_verified", "aud", "anything"]
)
async def test_takes_null_for_no_value_of_any_claim(verifier, issuer, claim):
    assert (await refusal(verifier, issuer.token(**{claim: None}))).reason == "malformed_claims"


@pytest.mark.parametrize(
    "iss",
    [
        "https://auth.acme.test/",
        "https://auth.acme.tes",
        "https://auth.acme.test.evil.example",
        "HTTPS://auth.acme.test",
        " https://auth.acme.test",
        "",
    ],
)
async def test_compares_the_issuer_exactly(verifier, issuer, iss):
    assert (await refusal(verifier, issuer.token(iss=iss))).reason == "wrong_issuer"


@pytest.mark.parametrize("aud", ["notification", "acme", "acme-api2", "ACME-API", ["notification", "auth"]])
async def test_refuses_tokens_for_others(verifier, issuer, aud):
    assert (await refusal(verifier, issuer.token(aud=aud))).reason == "wrong_audience"


async def test_takes_tokens_for_several_when_one_is_us(verifier, issuer):
    principal = await verifier.verify(issuer.token(aud=["notification", "conversation"]))
    assert principal.audience == ("notification", "conversation")


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        (claim, value)
        for claim in ("exp", "nbf", "iat", "auth_time")
        for value in ("1700000000", True, 1.5, 1e400, 2**53, 2**64, -1, [], {}, float("nan"), 10.0**20)
    ],
)
async def test_takes_only_whole_numbers_for_times(verifier, issuer, claim, value):
    await refusal(verifier, issuer.token(**{claim: value}))


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        ("iss", 7),
        ("iss", ["https://auth.acme.test"]),
        ("aud", []),
        ("aud", [7]),
        ("aud", {"acme-api": 1}),
        ("aud", ["acme-api", "with space"]),
        ("sub", "alice@example.com"),
        ("sub", str(OTHER)),
        ("sub", f"user:{OTHER}\n"),
        ("sub", f"user:{str(OTHER).upper()}"),
        ("sub", "user:' OR 1=1 --"),
        ("sub", "service:other"),
        ("sub", "user:\ud800"),
        ("client_id", f"user:{OTHER}"),
        ("client_id", ""),
        ("client_id", 7),
        ("jti", ""),
        ("jti", "two words"),
        ("jti", "j" * 256),
        ("jti", "\ud800"),
        ("sid", ""),
        ("sid", "line\nbreak"),
        ("sid", 7),
        ("tenant_id", "*"),
        ("tenant_id", ""),
        ("tenant_id", f"{{{OTHER}}}"),
        ("tenant_id", OTHER.hex),
        ("tenant_id", f"urn:uuid:{OTHER}"),
        ("tenant_id", 7),
        ("scope", ""),
        ("scope", "a  b"),
        ("scope", " a"),
        ("scope", ["tools:read"]),
        ("scope", 'a"b'),
        ("email_verified", "true"),
        ("email_verified", 1),
        ("amr", "pwd"),
        ("amr", [["pwd"]]),
    ],
)
async def test_takes_claims_only_in_their_proper_shape(verifier, issuer, claim, value):
    claims = {"sub": PERSON, "tenant_id": str(TENANT), "role": "owner", "client_id": "acme-web", claim: value}
    assert (await refusal(verifier, issuer.sign(claims))).reason == "malformed_claims"


@pytest.mark.parametrize("role", ["root", "Owner", "OWNER", "owner ", "", "owner,admin", 3, ["owner"], True])
async def test_knows_no_other_roles(verifier, issuer, role):
    claims = {"sub": PERSON, "tenant_id": str(TENANT), "role": role, "client_id": "acme-web"}
    assert (await refusal(verifier, issuer.sign(claims))).reason == "malformed_claims"


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": "service:robot", "client_id": "other"},
        {"sub": "service:robot", "client_id": "robot", "role": "owner"},
        {"sub": "service:robot", "client_id": "robot", "tenant_id": str(TENANT)},
        {"sub": PERSON, "client_id": "acme-web"},
    ],
)
async def test_refuses_who_is_neither_a_whole_person_nor_a_whole_machine(verifier, issuer, claims):
    assert (await refusal(verifier, issuer.sign(claims))).reason == "malformed_claims"


async def test_takes_a_person_without_a_tenant_in_a_session(verifier, issuer):
    principal = await verifier.verify(issuer.token(subject=PERSON, without=["tenant_id", "role", "scope"]))
    assert (principal.subject, principal.tenant_id, principal.role) == (PERSON, None, None)
    assert (await refusal(verifier, issuer.token(without=["tenant_id", "role", "sid"]))).reason == (
        "malformed_claims"
    )


async def test_allows_clocks_to_differ_by_the_leeway_and_no_more(verifier, issuer, clock):
    now = int(clock.now)
    token = issuer.token(iat=now, nbf=now, exp=now + 600)
    for ahead in (-30, 0, 600, 629):
        clock.now = now + ahead
        assert await verifier.verify(token)
    clock.now = now + 630
    assert (await refusal(verifier, token)).reason == "expired"
    clock.now = now - 31
    assert (await refusal(verifier, token)).reason == "not_yet_valid"


async def test_heeds_not_before_apart_from_issued_at(verifier, issuer, clock):
    now = int(clock.now)
    token = issuer.token(iat=now, nbf=now + 120, exp=now + 600)
    assert (await refusal(verifier, token)).reason == "not_yet_valid"
    clock.now += 90
    assert await verifier.verify(token)


@pytest.mark.parametrize("lifetime", [901, 86400, 2**40])
async def test_refuses_tokens_that_live_too_long_even_our_own(verifier, issuer, clock, lifetime):
    now = int(clock.now)
    assert (await refusal(verifier, issuer.token(iat=now, exp=now + lifetime))).reason == "wrong_lifetime"


async def test_takes_tokens_that_live_as_long_as_is_allowed(verifier, issuer, clock):
    now = int(clock.now)
    assert await verifier.verify(issuer.token(iat=now, exp=now + 900))


async def test_refuses_tokens_that_expire_before_they_are_issued(verifier, issuer, clock):
    now = int(clock.now)
    assert (await refusal(verifier, issuer.token(iat=now + 10, exp=now + 5))).reason == "wrong_lifetime"


async def test_a_jump_of_the_wall_clock_costs_no_fetch_and_no_outage(verifier, issuer, clock):
    count = len(issuer.requests)
    for jump in (3600, -7200):
        clock.now += jump
        now = int(clock.now)
        assert await verifier.verify(issuer.token(iat=now, nbf=now, exp=now + 600))
        assert (
            await refusal(verifier, issuer.token(iat=now - 900, nbf=0, exp=now - 100))
        ).reason == "expired"
    assert len(issuer.requests) == count


def proper_parts(issuer: Issuer) -> tuple[dict, dict]:
    header, payload, _ = issuer.token().split(".")
    return json.loads(jose.decode(header)), json.loads(jose.decode(payload))


async def test_refuses_repeated_names(verifier, issuer):
    header, payload = proper_parts(issuer)
    twice_header = compact(header)[:-1] + b',"alg":"EdDSA"}'
    twice_payload = compact(payload)[:-1] + b',"role":"owner"}'
    twice_inside = compact(payload)[:-1] + b',"act":{"sub":"a","sub":"b"}}'
    for head, body in [
        (twice_header, compact(payload)),
        (compact(header), twice_payload),
        (compact(header), twice_inside),
    ]:
        assert (await refusal(verifier, issuer.key.sign(head, body))).reason == "malformed"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"null",
        b'"text"',
        b"7",
        b"{",
        b"{}x",
        b"\xef\xbb\xbf{}",
        b"\xff",
        b"{'a': 1}",
        b'{"a": NaN}',
    ],
)
async def test_refuses_what_is_not_a_json_object(verifier, issuer, text):
    header, payload = proper_parts(issuer)
    await refusal(verifier, issuer.key.sign(text, compact(payload)))
    await refusal(verifier, issuer.key.sign(compact(header), text))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
async def test_refuses_json_that_is_not_plain_utf8(verifier, issuer, encoding):
    header, payload = proper_parts(issuer)
    text = json.dumps(payload).encode(encoding)
    assert (await refusal(verifier, issuer.key.sign(compact(header), text))).reason == "malformed"


@pytest.mark.parametrize("depth", [8, 9, 500, 900])
async def test_refuses_deep_nesting(verifier, issuer, depth):
    header, payload = proper_parts(issuer)
    deep = b'{"a":' + b"[" * depth + b"]" * depth + b","
    nested_header = deep + compact(header)[1:]
    nested_payload = deep + compact(payload)[1:]
    assert (await refusal(verifier, issuer.key.sign(nested_header, compact(payload)))).reason == "malformed"
    assert (await refusal(verifier, issuer.key.sign(compact(header), nested_payload))).reason == "malformed"


async def test_takes_moderate_nesting(verifier, issuer):
    assert await verifier.verify(issuer.token(act={"a": [{"b": ["c"]}]}))


def respell(token: str, part: int, change: str) -> str:
    segments = token.split(".")
    segments[part] = {
        "pad": segments[part] + "=",
        "pad twice": segments[part] + "==",
        "space": segments[part] + " ",
        "newline": segments[part] + "\n",
        "middle": segments[part][:4] + "\n" + segments[part][4:],
        "plus": segments[part].replace("A", "+").replace("-", "+") + "+",
        "slash": segments[part] + "/",
        "long": segments[part] + "A",
        "null": segments[part] + "\0",
        "unicode": segments[part] + "\u0660",
    }[change]
    return ".".join(segments)


@pytest.mark.parametrize("part", [0, 1, 2])
@pytest.mark.parametrize(
    "change", ["pad", "pad twice", "space", "newline", "middle", "plus", "slash", "long", "null", "unicode"]
)
async def test_refuses_every_second_spelling(verifier, issuer, part, change):
    await refusal(verifier, respell(issuer.token(), part, change))


async def test_refuses_stray_bits_at_the_end_of_a_signature(verifier, issuer):
    token = issuer.token()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twin = token[:-1] + alphabet[alphabet.index(token[-1]) + 1]
    lenient = base64.urlsafe_b64decode(twin.rpartition(".")[2] + "==")
    assert lenient == jose.decode(token.rpartition(".")[2])
    assert (await refusal(verifier, twin)).reason == "malformed"


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "...",
        "a.b",
        "a.b.c",
        "a.b.c.d",
        "a.b.c.d.e",
        "Bearer a.b.c",
        "{}.{}.{}",
        '{"payload":"e30","signatures":[]}',
        "null",
        "\ud800.e30.AA",
        "é.é.é",
    ],
)
async def test_refuses_what_has_not_the_shape_of_a_token(verifier, token):
    assert (await refusal(verifier, token)).reason == "malformed"


async def test_refuses_the_json_serialisation_of_a_token(verifier, issuer):
    header, payload, signature = issuer.token().split(".")
    flattened = json.dumps({"protected": header, "payload": payload, "signature": signature})
    await refusal(verifier, flattened)


async def test_refuses_more_than_eight_kibibytes(verifier, issuer):
    assert (await refusal(verifier, issuer.token(filler="x" * 8192))).reason == "malformed"
    assert await verifier.verify(issuer.token(filler="x" * 5000))


async def test_refuses_a_header_of_more_than_one_kibibyte(verifier, issuer):
    assert (await refusal(verifier, issuer.token(header={"filler": "x" * 1024}))).reason == "malformed"
    assert await verifier.verify(issuer.token(header={"filler": "x" * 700}))


@pytest.mark.parametrize(
    "token", ["x" * 10_000_000, "." * 10_000_000, "e30." * 1_000_000, "A" * 4000 + "." + "A" * 4000 + ".A"]
)
async def test_refuses_huge_or_shapeless_tokens_within_a_millisecond(verifier, token):
    async def look() -> float:
        began = time.thread_time()
        with pytest.raises(InvalidToken):
            await verifier.verify(token)
        return time.thread_time() - began

    assert min([await look() for _ in range(10)]) < 0.001


@pytest.mark.parametrize(
    "kid",
    [
        "",
        "../../../etc/passwd",
        "' OR '1'='1",
        "http://127.0.0.1/key",
        "a b",
        "a\n",
        "k" * 129,
        "\u0430",
        7,
        True,
        ["k"],
        {"k": "v"},
        None,
    ],
)
async def test_looks_for_no_key_under_an_improper_id(verifier, issuer, kid):
    count = len(issuer.requests)
    assert (await refusal(verifier, issuer.token(header={"kid": kid}))).reason == "malformed_kid"
    assert len(issuer.requests) == count


async def test_refuses_every_flipped_bit_of_a_signature(verifier, issuer):
    signed, _, signature = issuer.token().rpartition(".")
    raw = jose.decode(signature)
    for bit in range(0, 512, 7):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        await refusal(verifier, f"{signed}.{jose.encode(bytes(flipped))}")


async def test_refuses_swapped_headers_payloads_and_signatures(verifier, issuer):
    one, two = issuer.token().split("."), issuer.token(header={"typ": "AT+JWT"}).split(".")
    for part in range(3):
        mixed = [*one]
        mixed[part] = two[part]
        assert (await refusal(verifier, ".".join(mixed))).reason == "wrong_signature"


@pytest.mark.parametrize("signature", [b"", b"\0" * 64, b"\0" * 63, b"\0" * 65, b"\xff" * 64])
async def test_refuses_signatures_of_any_other_shape(verifier, issuer, signature):
    signed = issuer.token().rpartition(".")[0]
    await refusal(verifier, f"{signed}.{jose.encode(signature)}")


async def test_refuses_a_strangers_signature_under_our_key_id(verifier, issuer):
    claims = {"sub": PERSON, "tenant_id": str(TENANT), "role": "owner", "client_id": "acme-web"}
    forged = issuer.sign(claims, header={"kid": issuer.key.kid}, key=SigningKey())
    assert (await refusal(verifier, forged)).reason == "wrong_signature"


async def test_refuses_a_strangers_key(verifier, issuer):
    with Issuer(issuer.issuer) as attacker:
        assert (await refusal(verifier, attacker.token())).reason == "unknown_key"


async def test_reads_no_claim_before_the_signature_is_right(verifier, issuer):
    header, _ = proper_parts(issuer)
    unsigned = SigningKey().sign(compact(header), b"not even json")
    assert (await refusal(verifier, unsigned)).reason == "wrong_signature"


async def test_says_503_and_never_401_when_the_keys_cannot_be_had(issuer):
    with Issuer(issuer.issuer) as down:
        down.answer = JwksResponse(status=500)
        verifier = TokenVerifier(JwksCache(down.jwks_url), issuer=issuer.issuer, audiences=["acme-api"])
        before = verified("unavailable", "key_source")
        with pytest.raises(KeySourceUnavailable):
            await verifier.verify(down.token())
        assert verified("unavailable", "key_source") == before + 1
        with pytest.raises(InvalidToken):
            await verifier.verify("garbage")


async def test_tells_of_what_it_believed_whether_it_would_still(issuer, cache, clock):
    gone: set[str | None] = set()

    async def revoked(principal: Principal) -> bool:
        return principal.session_id in gone

    verifier = TokenVerifier(
        cache, issuer=issuer.issuer, audiences=["acme-api"], clock=clock, revoked=revoked, leeway=30
    )
    one, other = [await verifier.verify(issuer.token(sid=sid)) for sid in ("one", "other")]
    assert await verifier.is_still_valid(one)
    gone.add("one")
    assert not await verifier.is_still_valid(one)
    assert await verifier.is_still_valid(other)
    clock.now = other.expires_at + 29
    assert await verifier.is_still_valid(other)
    clock.now = other.expires_at + 30
    assert not await verifier.is_still_valid(other)


async def test_asks_last_whether_the_token_was_revoked(cache, issuer):
    principals: list[Principal] = []

    async def revoked(principal: Principal) -> bool:
        principals.append(principal)
        return principal.session_id == "gone"

    verifier = TokenVerifier(cache, issuer=issuer.issuer, audiences=["acme-api"], revoked=revoked)
    assert await verifier.verify(issuer.token(sid="here"))
    assert (await refusal(verifier, issuer.token(sid="gone"))).reason == "revoked"
    await refusal(verifier, issuer.token(sid="here", aud="other"))
    assert [principal.session_id for principal in principals] == ["here", "gone"]


@pytest.mark.parametrize("leeway", [-1, 61])
def test_keeps_the_leeway_small(leeway):
    with pytest.raises(ValueError, match="leeway"):
        TokenVerifier(JwksCache("https://auth.example/jwks"), issuer="i", audiences=["a"], leeway=leeway)


def verified(result: str, reason: str) -> float:
    return REGISTRY.get_sample_value("jwt_verify_total", {"result": result, "reason": reason}) or 0


async def test_counts_what_it_sees(verifier, issuer):
    accepted, expired = verified("accepted", ""), verified("refused", "expired")
    seen = REGISTRY.get_sample_value("jwt_verify_seconds_count") or 0
    await verifier.verify(issuer.token())
    await refusal(verifier, issuer.token(iat=1, nbf=1, exp=2))
    assert verified("accepted", "") == accepted + 1
    assert verified("refused", "expired") == expired + 1
    assert REGISTRY.get_sample_value("jwt_verify_seconds_count") == seen + 2


async def test_logs_the_reason_of_a_refusal_and_nothing_of_the_token(verifier, issuer, caplog):
    caplog.set_level(logging.DEBUG, logger="servicekit")
    tokens = [issuer.token(exp=1, iat=0, nbf=0), issuer.token(header={"alg": "none"}), issuer.token() + "="]
    for token in tokens:
        await refusal(verifier, token)
    lines = [record for record in caplog.records if record.name == "servicekit.auth.tokens"]
    assert [line.reason for line in lines] == ["expired", "wrong_algorithm", "malformed"]
    everything = repr([line.__dict__ for line in lines])
    assert not [part for token in tokens for part in token.split(".") if part in everything]
