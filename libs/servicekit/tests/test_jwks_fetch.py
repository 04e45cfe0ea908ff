"""Key sources that are broken, careless or hostile."""

import json
import socket
import threading
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from prometheus_client import REGISTRY
from servicekit.auth import jose
from servicekit.auth.tokens import InvalidToken, KeySourceUnavailable
from servicekit.jwks.cache import JwksCache
from servicekit.jwks.fetch import FetchLimits
from servicekit.jwks.refresher import JwksPolicy
from testkit.issuer import Issuer, JwksResponse, SigningKey

QUICK = JwksPolicy(limits=FetchLimits(connect_timeout=0.2, read_timeout=0.2, total_timeout=0.3))
P256 = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key(), as_dict=True)


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer() as running:
        yield running


@pytest.fixture
def cache(issuer: Issuer) -> JwksCache:
    return JwksCache(issuer.jwks_url)


def failures(url: str, result: str) -> float:
    labels = {"issuer": url, "reason": "stale", "result": result}
    return REGISTRY.get_sample_value("jwks_refresh_total", labels) or 0


def body(*keys: object) -> JwksResponse:
    return JwksResponse(body=json.dumps({"keys": keys}).encode())


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (JwksResponse(status=500), "error_status"),
        (JwksResponse(status=404), "error_status"),
        (JwksResponse(status=204, body=b""), "error_status"),
        (JwksResponse(status=304, etag=False), "error_status"),
        (JwksResponse(status=401), "error_status"),
        (JwksResponse(body=b""), "error_malformed"),
        (JwksResponse(body=b"<html>"), "error_malformed"),
        (JwksResponse(body=b"[]"), "error_malformed"),
        (JwksResponse(body=b"{}"), "error_malformed"),
        (JwksResponse(body=b'{"keys": {}}'), "error_malformed"),
        (JwksResponse(body=b'{"keys": [], "keys": []}'), "error_malformed"),
        (JwksResponse(body=b'{"keys": "\xff"}'), "error_malformed"),
        (JwksResponse(body=b"[" * 60_000), "error_malformed"),
        (body(), "error_no_keys"),
        (body(1, None, "key", [], {}), "error_no_keys"),
        (body(*(SigningKey().jwk for _ in range(33))), "error_malformed"),
        (JwksResponse(body=b" " * 65_537), "error_oversize"),
        (JwksResponse(body=b"x" * 10_000_000), "error_oversize"),
    ],
)
async def test_takes_no_bad_answer_for_a_key_set(cache, issuer, answer, result):
    before = failures(issuer.jwks_url, result)
    issuer.answer = answer
    with pytest.raises(KeySourceUnavailable):
        await cache.get(issuer.key.kid)
    assert failures(issuer.jwks_url, result) == before + 1


@pytest.mark.parametrize("answer", [JwksResponse(drip=0.05), JwksResponse(gate=threading.Event())])
async def test_does_not_wait_for_a_source_that_dawdles(issuer, answer):
    before = failures(issuer.jwks_url, "error_timeout")
    issuer.answer = answer
    with pytest.raises(KeySourceUnavailable):
        await JwksCache(issuer.jwks_url, QUICK).get(issuer.key.kid)
    assert failures(issuer.jwks_url, "error_timeout") == before + 1


@pytest.mark.parametrize(
    "answer", [JwksResponse(status=500), JwksResponse(body=b"{"), body(), body({"kty": "RSA"})]
)
async def test_keeps_the_keys_it_has_when_a_bad_answer_follows(cache, issuer, answer):
    await cache.get(issuer.key.kid)
    issuer.answer = answer
    assert not await cache.refresh_now()
    assert (await cache.get(issuer.key.kid)).kid == issuer.key.kid


async def test_says_503_when_nobody_listens():
    with socket.socket() as silent:
        # Bound, so that nobody else is given the port; it does not listen.
        silent.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/.well-known/jwks.json"
        before = failures(url, "error_network")
        with pytest.raises(KeySourceUnavailable):
            await JwksCache(url).get("any")
        assert failures(url, "error_network") == before + 1


async def test_follows_no_redirect(cache, issuer):
    with Issuer() as elsewhere:
        issuer.answer = JwksResponse(status=302, headers={"Location": elsewhere.jwks_url})
        with pytest.raises(KeySourceUnavailable):
            await cache.get(issuer.key.kid)
        assert elsewhere.requests == []
    assert failures(issuer.jwks_url, "error_redirect")


async def test_goes_through_no_proxy_and_keeps_no_cookie(issuer, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    cache = JwksCache(issuer.jwks_url)
    issuer.answer = JwksResponse(headers={"Set-Cookie": "id=1"})
    await cache.get(issuer.key.kid)
    await cache.refresh_now()
    sent = {name.lower() for request in issuer.requests for name in request}
    assert not sent & {"cookie", "authorization"}
    assert issuer.requests[0]["Accept"] == "application/jwk-set+json, application/json"


async def test_never_uses_a_key_that_is_published_with_its_private_half(cache, issuer, caplog):
    burnt = SigningKey()
    secret = jose.encode(burnt.private.private_bytes_raw())
    issuer.published = [{**burnt.jwk, "d": secret}, issuer.key.jwk]
    await cache.get(issuer.key.kid)
    with pytest.raises(InvalidToken):
        await cache.get(burnt.kid)
    assert [record.kid for record in caplog.records if "private key" in record.message][:1] == [burnt.kid]
    assert secret not in caplog.text


async def test_uses_neither_of_two_keys_with_one_id(cache, issuer, caplog):
    twin = {**SigningKey().jwk, "kid": "twin"}
    issuer.published = [issuer.key.jwk, twin, {**SigningKey().jwk, "kid": "twin"}, twin]
    await cache.get(issuer.key.kid)
    with pytest.raises(InvalidToken):
        await cache.get("twin")
    assert [record.kid for record in caplog.records if "two keys" in record.message][:1] == ["twin"]


async def test_takes_a_key_that_is_listed_twice(cache, issuer):
    issuer.published = [issuer.key.jwk, issuer.key.jwk]
    await cache.get(issuer.key.kid)


@pytest.mark.parametrize(
    "change",
    [
        {"kty": "RSA"},
        {"kty": "EC"},
        {"crv": "Ed448"},
        {"crv": "X25519"},
        {"alg": "ES256"},
        {"alg": "Ed25519"},
        {"alg": "none"},
        {"alg": None},
        {"alg": ["EdDSA"]},
        {"use": "enc"},
        {"use": None},
        {"key_ops": ["sign"]},
        {"key_ops": "verify"},
        {"kid": "../../etc/passwd"},
        {"kid": ""},
        {"kid": "k" * 129},
        {"kid": 7},
        {"kid": None},
        {"x": "AAAA"},
        {"x": "not base64url!"},
        {"x": 7},
        {"k": "AAAA"},
        {"d": ""},
    ],
)
async def test_leaves_out_what_is_not_a_public_ed25519_verification_key(cache, issuer, change):
    other = {**SigningKey().jwk, "kid": "other"}
    issuer.published = [issuer.key.jwk, {**other, **change}, P256, {"kty": "new"}]
    await cache.get(issuer.key.kid)
    kid = change.get("kid", "other")
    if not jose.is_kid(kid):
        assert await count_keys(issuer) == 1
        return
    with pytest.raises(InvalidToken):
        await cache.get(kid)


async def count_keys(issuer: Issuer) -> float | None:
    return REGISTRY.get_sample_value("jwks_keys", {"issuer": issuer.jwks_url})


@pytest.mark.parametrize("without", ["use", "alg"])
async def test_takes_a_key_that_leaves_its_use_or_algorithm_open(cache, issuer, without):
    issuer.published = [{name: value for name, value in issuer.key.jwk.items() if name != without}]
    await cache.get(issuer.key.kid)


@pytest.mark.parametrize("change", [{"key_ops": ["verify"]}, {"x5c": ["ignored"]}])
async def test_takes_a_key_that_says_more(cache, issuer, change):
    issuer.published = [{**issuer.key.jwk, **change}]
    await cache.get(issuer.key.kid)


@pytest.mark.parametrize(
    "url",
    [
        "https://auth.example.com/jwks",
        "http://localhost:8000/jwks",
        "http://127.0.0.1/jwks",
        "http://[::1]/jwks",
        "http://auth:9000/jwks",
        "http://auth.acme.svc.cluster.local/jwks",
        "http://10.0.0.7/jwks",
    ],
)
def test_takes_https_and_http_where_traffic_stays_inside(url):
    assert JwksCache(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://auth.example.com/jwks",
        "http://8.8.8.8/jwks",
        "file:///etc/passwd",
        "ftp://localhost/",
        "/jwks",
        "",
    ],
)
def test_refuses_any_other_address(url):
    with pytest.raises(ValueError, match="https"):
        JwksCache(url)
