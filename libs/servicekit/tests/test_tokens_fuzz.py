"""Whatever arrives, the verifier says yes or no, and never yes where an independent library says no."""

import json
import time
import warnings
from collections.abc import Iterator
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from servicekit.auth import jose
from servicekit.auth.tokens import InvalidToken, Principal, TokenVerifier
from servicekit.jwks.cache import JwksCache
from testkit.issuer import Issuer, compact

NOW = int(time.time())
FUZZ = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
times = st.integers(NOW - 2000, NOW + 2000) | json_values
other_claims = ["iss", "aud", "sub", "jti", "client_id", "tenant_id", "role", "scope", "sid", "x"]
claims = st.tuples(st.sampled_from(["exp", "nbf", "iat"]), times) | st.tuples(
    st.sampled_from(other_claims), json_values
)
header_names = ["alg", "typ", "kid", "crit", "b64", "jwk", "jku", "cty", "x"]


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with Issuer() as running:
        yield running


@pytest.fixture(scope="module")
def verifier(issuer: Issuer) -> TokenVerifier:
    cache = JwksCache(issuer.jwks_url)
    return TokenVerifier(cache, issuer=issuer.issuer, audiences=["acme-api"], clock=lambda: NOW)


@pytest.fixture(scope="module")
def proper(issuer: Issuer) -> tuple[dict, dict]:
    header, payload, _ = issuer.token(iat=NOW, nbf=NOW, exp=NOW + 600, subject=f"user:{uuid4()}").split(".")
    return json.loads(jose.decode(header)), json.loads(jose.decode(payload))


async def believed(verifier: TokenVerifier, token: str) -> Principal | None:
    """Return the principal, or None for a refusal; anything else that is raised fails the test."""
    try:
        return await verifier.verify(token)
    except InvalidToken:
        return None


def oracle(issuer: Issuer, token: str) -> dict | None:
    """Return what the other library reads in the token, None if it refuses."""
    essential = {"essential": True}
    registry = jwt.JWTClaimsRegistry(
        now=NOW,
        leeway=30,
        iss={"essential": True, "value": issuer.issuer},
        aud={"essential": True, "value": "acme-api"},
        exp=essential,
        iat=essential,
        sub=essential,
        jti=essential,
    )
    with warnings.catch_warnings():
        # It speaks up for the newer name of the algorithm.
        warnings.simplefilter("ignore")
        try:
            decoded = jwt.decode(token, OKPKey.import_key(issuer.key.jwk), algorithms=["EdDSA"])
            registry.validate(decoded.claims)
        except (JoseError, ValueError, TypeError):
            return None
    return decoded.claims


async def test_both_believe_a_proper_token(verifier, issuer, proper):
    header, payload = proper
    token = issuer.key.sign(compact(header), compact(payload))
    principal = await believed(verifier, token)
    read = oracle(issuer, token)
    assert principal
    assert read
    assert (principal.subject, principal.token_id) == (read["sub"], read["jti"])


@FUZZ
@given(token=st.text(max_size=200) | st.text('eyJ09-_.{}"= ', max_size=200))
async def test_refuses_any_text(verifier, token):
    assert await believed(verifier, token) is None


@FUZZ
@given(edit=st.tuples(st.floats(0, 1), st.integers(0, 3), st.text(max_size=3)))
async def test_refuses_every_edit_of_a_token(verifier, issuer, proper, edit):
    (header, payload), (at, cut, inserted) = proper, edit
    token = issuer.key.sign(compact(header), compact(payload))
    place = int(at * len(token))
    edited = token[:place] + inserted + token[place + cut :]
    if edited != token:
        assert await believed(verifier, edited) is None


@FUZZ
@given(claim=claims)
async def test_believes_no_signed_claims_that_the_oracle_refuses(verifier, issuer, proper, claim):
    header, payload = proper
    name, value = claim
    token = issuer.key.sign(compact(header), compact({**payload, name: value}))
    if principal := await believed(verifier, token):
        read = oracle(issuer, token)
        assert read
        assert (principal.subject, principal.expires_at) == (read["sub"], read["exp"])


@FUZZ
@given(name=st.sampled_from(header_names), value=json_values)
async def test_believes_no_signed_header_that_the_oracle_refuses(verifier, issuer, proper, name, value):
    header, payload = proper
    token = issuer.key.sign(compact({**header, name: value}), compact(payload))
    if await believed(verifier, token):
        # What a token does not need we ignore, whatever it says (RFC 7515 section 4); the oracle does not.
        assert name in {"x", "cty"} or oracle(issuer, token)


@FUZZ
@given(header=st.binary(max_size=300), payload=st.binary(max_size=300))
async def test_refuses_any_bytes_however_well_signed(verifier, issuer, header, payload):
    assert await believed(verifier, issuer.key.sign(header, payload)) is None
