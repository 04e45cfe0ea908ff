"""The stand-in for Vault, asked by Vault's own client for Python."""

import base64
from collections.abc import Iterator

import httpx
import hvac
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hvac import exceptions
from sandbox.vault import create_vault
from testkit.live_server import serving

TEXT = base64.b64encode(b"what is signed").decode()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(create_vault()) as url:
        yield url


@pytest.fixture
def vault(url: str) -> Iterator[hvac.Client]:
    client = hvac.Client(url, token="hvs.sandbox", timeout=60)
    with client.session:
        yield client


@pytest.fixture
def key(vault: hvac.Client, request: pytest.FixtureRequest) -> str:
    name = request.node.name[:60].replace("[", "-").replace("]", "")
    vault.secrets.transit.create_key(name, key_type="ed25519")
    return str(name)


def sign(vault: hvac.Client, key: str, **more: object) -> str:
    return str(vault.secrets.transit.sign_data(key, hash_input=TEXT, **more)["data"]["signature"])


def is_valid(vault: hvac.Client, key: str, signature: str, text: str = TEXT) -> bool:
    answer = vault.secrets.transit.verify_signed_data(key, hash_input=text, signature=signature)
    return bool(answer["data"]["valid"])


def refusal(kind: type[Exception], call: object) -> str:
    with pytest.raises(kind) as refused:
        call()  # type: ignore[operator]
    return str(refused.value)


def test_knows_its_tokens(vault: hvac.Client, url: str) -> None:
    assert vault.is_authenticated()
    assert vault.auth.token.lookup_self()["data"]["ttl"] > 0
    assert vault.auth.token.renew_self()["auth"]["client_token"] == "hvs.sandbox"
    for token in (None, "hvs.invalid"):
        with hvac.Client(url, token=token, timeout=60).session as session:
            stranger = hvac.Client(url, token=token, timeout=60, session=session)
            assert "permission denied" in refusal(
                exceptions.Forbidden,
                lambda: stranger.secrets.transit.read_key("x"),  # noqa: B023
            )


def test_keeps_secrets_in_versions(vault: hvac.Client) -> None:
    kv = vault.secrets.kv.v2
    for value in ("one", "two"):
        kv.create_or_update_secret("acme/auth", secret={"pepper": value})
    assert kv.read_secret_version("acme/auth", raise_on_deleted_version=True)["data"]["data"] == {
        "pepper": "two"
    }
    first = kv.read_secret_version("acme/auth", version=1, raise_on_deleted_version=True)["data"]
    assert (first["data"], first["metadata"]["version"]) == ({"pepper": "one"}, 1)
    refusal(exceptions.InvalidPath, lambda: kv.read_secret_version("nothing", raise_on_deleted_version=True))


def test_signs_what_the_public_key_verifies(vault: hvac.Client, key: str) -> None:
    key_data = vault.secrets.transit.read_key(key)["data"]
    assert (key_data["type"], key_data["latest_version"], key_data["supports_signing"]) == (
        "ed25519",
        1,
        True,
    )
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key_data["keys"]["1"]["public_key"]))
    prefix, _, signature = sign(vault, key).rpartition(":")
    assert prefix == "vault:v1"
    public.verify(base64.b64decode(signature, validate=True), b"what is signed")
    with pytest.raises(InvalidSignature):
        public.verify(base64.b64decode(signature), b"something else")


def test_writes_signatures_as_jws_does_on_request(vault: hvac.Client, key: str) -> None:
    signature = sign(vault, key, marshaling_algorithm="jws").rpartition(":")[2]
    assert len(signature) == 86
    plain = sign(vault, key).rpartition(":")[2]
    assert base64.urlsafe_b64decode(signature + "==") == base64.b64decode(plain)


def test_says_of_an_existing_key_only_that_it_existed(vault: hvac.Client, key: str) -> None:
    before = vault.secrets.transit.read_key(key)["data"]
    again = vault.secrets.transit.create_key(key, key_type="ed25519")
    assert again["warnings"] == [f"key {key} already existed"]
    assert vault.secrets.transit.read_key(key)["data"] == before


def test_verifies_its_own_signatures_and_no_others(vault: hvac.Client, key: str) -> None:
    signature = sign(vault, key)
    assert is_valid(vault, key, signature)
    assert not is_valid(vault, key, signature, base64.b64encode(b"altered").decode())
    vault.secrets.transit.create_key(f"{key}-other", key_type="ed25519")
    assert not is_valid(vault, key, sign(vault, f"{key}-other"))


@pytest.mark.parametrize(
    ("signature", "error"),
    [
        ("AAAA", "no prefix"),
        ("vault:v1", "wrong number of fields"),
        ("vault:vx:AAAA", "version number could not be decoded"),
        ("vault:v9:AAAA", "version is too new"),
        ("vault:v1:*", "invalid base64 signature value"),
    ],
)
def test_calls_a_malformed_signature_an_error(
    vault: hvac.Client, key: str, signature: str, error: str
) -> None:
    assert error in refusal(exceptions.InvalidRequest, lambda: is_valid(vault, key, signature))


def test_refuses_what_is_not_base64_and_keys_that_are_not_there(vault: hvac.Client, key: str) -> None:
    transit = vault.secrets.transit
    assert "unable to decode input" in refusal(
        exceptions.InvalidRequest, lambda: transit.sign_data(key, hash_input="*")
    )
    assert "signing key not found" in refusal(exceptions.InvalidRequest, lambda: sign(vault, "none"))
    assert "key not found" in refusal(
        exceptions.InvalidRequest, lambda: is_valid(vault, "none", "vault:v1:AA==")
    )
    refusal(exceptions.InvalidPath, lambda: transit.read_key("none"))
    refusal(exceptions.InvalidRequest, lambda: transit.create_key("rsa", key_type="rsa-2048"))


def test_signs_with_the_version_that_is_named_and_else_with_the_latest(vault: hvac.Client, key: str) -> None:
    old = sign(vault, key)
    vault.secrets.transit.rotate_key(key)
    assert sign(vault, key, key_version=1) == old
    assert sign(vault, key).startswith("vault:v2:")
    assert is_valid(vault, key, old)
    assert "higher than the latest" in refusal(
        exceptions.InvalidRequest, lambda: sign(vault, key, key_version=3)
    )


def test_retires_versions_step_by_step(vault: hvac.Client, key: str) -> None:
    transit = vault.secrets.transit
    old = sign(vault, key)
    transit.rotate_key(key)
    transit.update_key_configuration(key, min_encryption_version=2)
    # Who chose version 1 a moment ago meets this, and chooses again.
    assert "less than the minimum encryption key version" in refusal(
        exceptions.InvalidRequest, lambda: sign(vault, key, key_version=1)
    )
    assert is_valid(vault, key, old)
    refusal(exceptions.InvalidRequest, lambda: transit.trim_key(key, 2))
    transit.update_key_configuration(key, min_decryption_version=2)
    assert list(transit.read_key(key)["data"]["keys"]) == ["2"]
    assert "too old" in refusal(exceptions.InvalidRequest, lambda: is_valid(vault, key, old))
    transit.trim_key(key, 2)
    assert transit.read_key(key)["data"]["min_available_version"] == 2
    refusal(
        exceptions.InvalidRequest,
        lambda: transit.update_key_configuration(key, min_decryption_version=9),
    )


def test_answers_a_batch_in_its_order_with_each_items_own_error(vault: hvac.Client, key: str) -> None:
    batch = [{"input": TEXT, "reference": "a"}, {"input": "*", "reference": "b"}, {"input": TEXT}]
    results = vault.secrets.transit.sign_data(key, batch_input=batch)["data"]["batch_results"]
    assert [result.get("reference") for result in results] == ["a", "b", None]
    assert "unable to decode" in results[1]["error"]
    assert results[0]["signature"] == results[2]["signature"] == sign(vault, key)


def test_answers_nothing_but_its_health_while_sealed(vault: hvac.Client, key: str, url: str) -> None:
    assert vault.sys.read_health_status(method="GET")["sealed"] is False
    with httpx.Client(base_url=url, timeout=60) as control:
        control.post("/_sandbox/state", json={"sealed": True})
        try:
            assert "Vault is sealed" in refusal(exceptions.VaultDown, lambda: sign(vault, key))
            assert vault.sys.read_health_status(method="HEAD").status_code == 503
        finally:
            control.post("/_sandbox/state", json={"sealed": False})
    assert sign(vault, key)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (403, exceptions.Forbidden),
        (412, exceptions.UnexpectedError),
        (429, exceptions.RateLimitExceeded),
        (500, exceptions.InternalServerError),
        (502, exceptions.BadGateway),
        (501, exceptions.VaultNotInitialized),
        (503, exceptions.VaultDown),
    ],
)
def test_fails_as_configured_and_no_oftener(
    vault: hvac.Client, key: str, url: str, status: int, kind: type[Exception]
) -> None:
    with httpx.Client(base_url=url, timeout=60) as control:
        control.post("/_sandbox/faults", json={"status": status, "errors": ["as told"]})
    assert "as told" in refusal(kind, lambda: sign(vault, key))
    assert sign(vault, key)


POLICY = """
# What a service may do.
path "transit/sign/*" {
  capabilities = ["update"]
}
path "transit/sign/secret" { capabilities = ["deny"] }
path "transit/keys/mine" { capabilities = ["read"] }
path "auth/token/renew-self" { capabilities = ["update"] }
"""


def holder(vault: hvac.Client, url: str, period: str = "1h") -> hvac.Client:
    """Somebody with a token that follows the policy."""
    vault.sys.create_or_update_acl_policy("service", policy=POLICY)
    made = vault.auth.token.create(policies=["service"], period=period)
    return hvac.Client(url, token=made["auth"]["client_token"], timeout=60)


def test_lets_a_token_do_what_its_policy_says_and_nothing_else(vault: hvac.Client, url: str) -> None:
    for name in ("mine", "other", "secret"):
        vault.secrets.transit.create_key(name, key_type="ed25519")
    service = holder(vault, url)
    with service.session:
        assert sign(service, "mine") == sign(vault, "mine")
        assert sign(service, "other")
        assert service.secrets.transit.read_key("mine")["data"]["latest_version"] == 1
        assert service.auth.token.renew_self()["auth"]["lease_duration"] == 3600
        for call in (
            lambda: sign(service, "secret"),
            lambda: service.secrets.transit.read_key("other"),
            lambda: service.secrets.transit.rotate_key("mine"),
            lambda: service.secrets.transit.create_key("new", key_type="ed25519"),
            service.auth.token.lookup_self,
        ):
            assert "permission denied" in refusal(exceptions.Forbidden, call)


def test_ends_tokens_that_nobody_renews_or_that_somebody_revokes(vault: hvac.Client, url: str) -> None:
    vault.secrets.transit.create_key("mine", key_type="ed25519")
    ended = holder(vault, url, period="0s")
    with ended.session:
        assert "permission denied" in refusal(exceptions.Forbidden, lambda: sign(ended, "mine"))
    revoked = holder(vault, url)
    with revoked.session:
        assert sign(revoked, "mine")
        vault.auth.token.revoke(revoked.token)
        assert "permission denied" in refusal(exceptions.Forbidden, lambda: sign(revoked, "mine"))


def test_takes_no_policy_that_it_would_not_follow(vault: hvac.Client) -> None:
    odd = 'path "x" { capabilities = ["read"] min_wrapping_ttl = "1s" }'
    assert "parse policy" in refusal(
        exceptions.InvalidRequest, lambda: vault.sys.create_or_update_acl_policy("odd", policy=odd)
    )


def test_is_only_late_without_a_status(vault: hvac.Client, key: str, url: str) -> None:
    with httpx.Client(base_url=url, timeout=60) as control:
        control.post("/_sandbox/faults", json={"delay": 0.01})
        control.delete("/_sandbox/calls")
        assert sign(vault, key)
        assert control.get("/_sandbox/calls").json() == [f"POST /transit/sign/{key}"]
