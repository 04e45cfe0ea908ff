"""Service accounts: issued for what Vault's key has signed, once, and for not a bit more."""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from uuid import uuid4

import pytest
import yaml
from auth.main import create_app
from auth.security.service_account_catalogue import Catalogue, InvalidCatalogue
from auth.settings import Settings
from auth.signing.vault import Vault
from redis.asyncio import Redis
from testkit.eventually import time_limit
from testkit.plugin import service_folder

from .vault_fixtures import KEY

ACCOUNT = {"role": "member", "scopes": ["conversations:read", "conversations:write"]}


@pytest.fixture
def catalogue(tmp_path):
    def write(**accounts):
        path = tmp_path / "accounts.yaml"
        path.write_text(yaml.safe_dump({"accounts": {**accounts}}))
        return path

    return write


@pytest.fixture
async def owner(auth):
    return await auth.somebody()


@pytest.fixture
async def service(start, operator, catalogue, owner):
    """A replica with a Vault and two accounts: one of Ann's tenant, one of all tenants."""
    path = catalogue(
        **{
            "nightly-export": {**ACCOUNT, "tenants": [owner["tenant_id"]], "max_lifetime_minutes": 60},
            "support": {"role": "viewer", "scopes": ["tenant:read"], "global": True},
        }
    )
    return await start(**operator.settings, auth_service_accounts_file=path)


async def issue(service, request):
    return await service.post("service-accounts/issue", **request)


async def refused(service, request):
    answer = await issue(service, request)
    return answer.status_code, answer.json()["code"]


async def exchanged(service, credential, **more):
    form = {
        "grant_type": "client_credentials",
        "client_id": credential["client_id"],
        "client_secret": credential["client_secret"],
        **more,
    }
    return await service.public.post("/api/v1/auth/oauth/token", data=form)


async def test_issues_exactly_what_was_signed(service, operator, owner):
    answer = await issue(service, operator.request(tenant_id=owner["tenant_id"]))
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    issued = answer.json()
    assert issued["client_id"].startswith("sa.nightly-export.")
    assert (issued["account"], issued["tenant_id"]) == ("nightly-export", owner["tenant_id"])
    assert (issued["scopes"], issued["method"]) == (["conversations:read"], "client_secret")
    assert issued["token_endpoint"] == "http://acme.test/api/v1/auth/oauth/token"
    lasting = await service.database.fetchval(
        "select extract(epoch from expires_at - created_at) from service_credentials"
    )
    assert round(lasting) == 3600
    (row,) = await service.database.fetch("select * from service_credentials")
    secret = issued["client_secret"]
    assert secret not in str(dict(row))
    assert bytes.fromhex(secret.removeprefix("acme_sa_")) not in row["digest"]
    (audited,) = await service.audited("authn_token_created")
    assert (audited["actor"], str(audited["tenant_id"])) == (
        f"service:{issued['client_id']}",
        owner["tenant_id"],
    )
    detail = json.loads(audited["detail"])
    assert (detail["key_version"], detail["account"]) == (row["key_version"], "nightly-export")
    assert secret not in str(dict(audited))


async def test_believes_only_the_bytes_that_were_signed(service, operator, owner):
    request = operator.request(tenant_id=owner["tenant_id"])
    other = operator.request(tenant_id=owner["tenant_id"], scopes=["conversations:write"])
    unsigned = (401, "invalid_issuance_signature")
    assert await refused(service, {**request, "payload_b64": other["payload_b64"]}) == unsigned
    for garbage in ("*", "é", "="):
        spoilt = {**request, "payload_b64": request["payload_b64"] + garbage}
        assert await refused(service, spoilt) == unsigned
    assert await refused(service, {**request, "signature": "vault:v1:AAAA"}) == unsigned
    assert await refused(service, {**request, "signature": "vault:v99:AAAA"}) == unsigned
    # Nothing of this has used the payload up.
    assert (await issue(service, request)).status_code == 201


async def test_believes_no_other_key(service, operator, owner):
    operator.call("POST", "transit/keys/another", type="ed25519")
    payload = json.dumps(operator.payload(tenant_id=owner["tenant_id"])).encode()
    request = {**operator.signed(payload), "signature": operator.sign(payload, "another")}
    assert await refused(service, request) == (401, "invalid_issuance_signature")
    assert await service.database.fetchval("select count(*) from service_credentials") == 0


async def test_believes_no_version_that_was_retired(start, operator, catalogue, owner):
    operator.call("POST", "transit/keys/rotating", type="ed25519")
    payload = json.dumps(operator.payload(tenant_id=owner["tenant_id"])).encode()
    request = {**operator.signed(payload), "signature": operator.sign(payload, "rotating")}
    operator.call("POST", "transit/keys/rotating/rotate")
    operator.call("POST", "transit/keys/rotating/config", min_decryption_version=2)
    path = catalogue(**{"nightly-export": {**ACCOUNT, "tenants": [owner["tenant_id"]]}})
    settings = {**operator.settings, "vault_transit_key": "rotating", "auth_service_accounts_file": path}
    service = await start(**settings)
    assert await refused(service, request) == (401, "invalid_issuance_signature")
    newer = {**request, "signature": operator.sign(payload, "rotating")}
    assert (await issue(service, newer)).status_code == 201


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"iss": "somebody"}, 401, "invalid_issuance_audience"),
        ({"aud": "another-service"}, 401, "invalid_issuance_audience"),
        ({"iat": 1_700_000_000, "exp": 1_700_000_100}, 401, "issuance_expired"),
        ({"iat": lambda now: now - 200, "exp": lambda now: now - 1}, 401, "issuance_expired"),
        ({"exp": lambda now: now + 301}, 401, "issuance_expired"),
        ({"iat": lambda now: now + 100, "exp": lambda now: now + 200}, 401, "issuance_expired"),
        ({"account": "unknown"}, 403, "service_account_not_allowed"),
        ({"tenant_id": None}, 403, "service_account_not_allowed"),
        ({"tenant_id": "7e4a0000-0000-4000-8000-000000000001"}, 403, "service_account_not_allowed"),
        ({"scopes": ["conversations:read", "billing:manage"]}, 403, "scope_not_allowed"),
        ({"scopes": ["*"]}, 403, "scope_not_allowed"),
        ({"lifetime_s": 3601}, 403, "lifetime_not_allowed"),
        ({"lifetime_s": 0}, 400, "invalid_issuance"),
        ({"lifetime_s": "3600"}, 400, "invalid_issuance"),
        ({"scopes": []}, 400, "invalid_issuance"),
        ({"nonce": "short"}, 400, "invalid_issuance"),
        ({"nonce": ...}, 400, "invalid_issuance"),
        ({"tenant_id": ...}, 400, "invalid_issuance"),
        ({"exp": ...}, 400, "invalid_issuance"),
        ({"iat": 1.5}, 400, "invalid_issuance"),
        ({"admin": True}, 400, "invalid_issuance"),
        ({"jwk": {"kty": "OKP", "crv": "Ed25519", "x": "short"}}, 400, "invalid_issuance"),
    ],
)
async def test_issues_nothing_else(service, operator, owner, changes, status, code):
    now = int(time.time())
    changes = {name: value(now) if callable(value) else value for name, value in changes.items()}
    request = operator.request(**{"tenant_id": owner["tenant_id"], **changes})
    assert await refused(service, request) == (status, code)
    assert await service.database.fetchval("select count(*) from service_credentials") == 0
    (audited,) = await service.audited("authz_fail")
    assert json.loads(audited["detail"])["reason"] == code


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"iss": "a", "iss": "b"}', b"\xff", b"{}"])
async def test_reads_only_one_kind_of_payload(service, operator, data):
    request = operator.signed(data or b" ")
    assert await refused(service, request) == (400, "invalid_issuance")


async def test_reads_only_so_much(service, operator):
    request = {**operator.request(), "payload_b64": "A" * 8193}
    assert await refused(service, request) == (422, "invalid_request")
    assert await refused(service, {**request, "payload_b64": "AAAA", "signature": "v1"}) == (
        422,
        "invalid_request",
    )


async def test_takes_a_payload_once_however_many_bring_it_at_once(service, operator, owner):
    request = operator.request(tenant_id=owner["tenant_id"])
    answers = await asyncio.gather(*(issue(service, request) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [201] + [401] * 19
    assert await refused(service, request) == (401, "issuance_replayed")
    assert await service.database.fetchval("select count(*) from service_credentials") == 1


@pytest.mark.parametrize("status", [403, 404, 429, 500, 503])
async def test_issues_nothing_while_vault_cannot_tell_and_recovers(service, operator, owner, status):
    request = operator.request(tenant_id=owner["tenant_id"])
    operator.fault(status=status, count=3 if status not in {403, 404} else 1)
    answer = await issue(service, request)
    assert (answer.status_code, answer.json()["code"]) == (503, "vault_unavailable")
    assert "retry-after" in answer.headers
    assert (await issue(service, request)).status_code == 201


async def test_tries_again_when_vault_falters(service, operator, owner):
    request = operator.request(tenant_id=owner["tenant_id"])
    operator.fault(status=502, count=2)
    assert (await issue(service, request)).status_code == 201


async def test_issues_nothing_while_vault_is_sealed_or_gone_or_off(service, start, operator, owner):
    request = operator.request(tenant_id=owner["tenant_id"])
    operator.vault.post("/_sandbox/state", json={"sealed": True})
    assert await refused(service, request) == (503, "vault_unavailable")
    operator.recover()
    gone = await start(**{**operator.settings, "vault_addr": "http://127.0.0.1:1"})
    assert await refused(gone, request) == (503, "vault_unavailable")
    # What needs no Vault goes on.
    assert (await gone.me((await gone.session())["access_token"])).status_code == 200
    off = await start(**{**operator.settings, "vault_verify_enabled": False})
    assert await refused(off, request) == (503, "vault_unavailable")
    wrong_key = await start(**{**operator.settings, "vault_transit_key": "nobody-made-it"})
    assert await refused(wrong_key, request) == (503, "vault_unavailable")
    assert await service.database.fetchval("select count(*) from service_credentials") == 0


async def test_leaves_vault_alone_for_a_while_when_it_keeps_failing(service, operator, owner):
    now = 0.0
    settings = operator.settings
    resources = service.app.state.resources
    vault = Vault(resources.http, settings["vault_addr"], lambda: "hvs.x", KEY, clock=lambda: now)
    operator.fault(status=500, count=1000)
    for _ in range(7):
        with pytest.raises(Exception, match="does not answer"):
            await vault.verify(b"x", "vault:v1:AAAA")
    verify_calls = [call for call in operator.vault.get("/_sandbox/calls").json() if "verify" in call]
    operator.recover()
    with pytest.raises(Exception, match="does not answer"):
        await vault.verify(b"x", "vault:v1:AAAA")
    assert [call for call in operator.vault.get("/_sandbox/calls").json() if "verify" in call] == verify_calls
    now = 60.0
    assert await vault.verify(b"x", operator.sign(b"x")) is True
    assert await vault.renew() > 0


async def test_issues_nothing_while_nobody_can_tell_a_replay(service, operator, owner, monkeypatch):
    request = operator.request(tenant_id=owner["tenant_id"])
    resources = service.app.state.resources
    gone = Redis(host="127.0.0.1", port=1, retry=None)
    monkeypatch.setitem(resources.__dict__, "redis", gone)
    assert await refused(service, request) == (503, "limits_unavailable")
    await gone.aclose()
    assert await service.database.fetchval("select count(*) from service_credentials") == 0


async def test_limits_who_tries_by_address(start, operator):
    service = await start(**operator.settings, auth_rate_limits={"ip:service-accounts/issue": 2})
    bad = {"payload_b64": "AAAA", "signature": "vault:v1:AAAA"}
    assert [(await issue(service, bad)).status_code for _ in range(3)] == [401, 401, 429]


async def test_lists_and_revokes_for_the_tenants_own_admins_alone(service, operator, owner):
    issued = (await issue(service, operator.request(tenant_id=owner["tenant_id"]))).json()
    everywhere = operator.request(account="support", scopes=["tenant:read"])
    assert (await issue(service, everywhere)).status_code == 201
    bob = await service.somebody("bob@example.com")

    async def call(method, path, bundle):
        headers = {"Authorization": f"Bearer {bundle['access_token']}"}
        return await service.public.request(
            method, f"/api/v1/auth/service-accounts/tokens{path}", headers=headers
        )

    revoke = f"/{issued['id']}/revoke"
    listed = (await call("GET", "", owner)).json()["items"]
    assert [one["client_id"] for one in listed] == [issued["client_id"]]
    assert "client_secret" not in listed[0]
    assert (await call("GET", "", bob)).json()["items"] == []
    stranger = await call("POST", revoke, bob)
    assert (stranger.status_code, stranger.json()["code"]) == (404, "service_credential_not_found")
    token = (await exchanged(service, issued)).json()
    assert (await call("GET", "", token)).status_code == 403
    await service.role("ann@example.com", "member")
    member = await service.session()
    assert (await call("GET", "", member)).status_code == 403
    assert (await call("POST", revoke, member)).status_code == 403
    # The token is of before.
    assert (await call("POST", revoke, owner)).json()["code"] == "role_too_low"
    await service.role("ann@example.com", "admin")
    assert (await call("POST", revoke, owner)).status_code == 204
    assert (await exchanged(service, issued)).json()["code"] == "invalid_client"
    assert (await call("POST", revoke, owner)).status_code == 404
    async with time_limit():
        while (await call("GET", "", token)).status_code != 401:  # noqa: ASYNC110  # it asks
            await asyncio.sleep(0.05)
    (audited,) = await service.audited("authn_token_revoked")
    assert audited["actor"] == owner["user_id"]


@pytest.mark.parametrize(
    ("account", "complaint"),
    [
        ({**ACCOUNT}, "name tenants"),
        ({**ACCOUNT, "global": True, "tenants": [str(uuid4())]}, "name tenants"),
        ({**ACCOUNT, "global": True, "scopes": ["nothing:known"]}, "no such scopes"),
        ({**ACCOUNT, "global": True, "scopes": ["billing:manage"]}, "above the role"),
        ({**ACCOUNT, "global": True, "scopes": []}, "scopes"),
        ({**ACCOUNT, "global": True, "role": "root"}, "role"),
        ({**ACCOUNT, "global": True, "max_lifetime_minutes": 10**7}, "max_lifetime_minutes"),
        ({**ACCOUNT, "global": True, "surprise": 1}, "surprise"),
    ],
)
async def test_does_not_start_on_a_catalogue_that_makes_no_sense(variables, catalogue, account, complaint):
    path = catalogue(**{"nightly-export": account})
    with pytest.raises(InvalidCatalogue, match=complaint):
        create_app(Settings(**{**variables, "auth_service_accounts_file": path}))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "accounts:\n  export: {role: member}\n  export: {role: viewer}\n",
            "'export' is there twice\n.*line 3",
        ),
        ("accounts: {export: {role: owner, role: member}}", "'role' is there twice"),
        ("accounts: {}\naccounts: {}\n", "'accounts' is there twice"),
        ("accounts: {[a]: 1, [a]: 1}", "unhashable key"),
        ("\xff", "unacceptable character"),
    ],
)
def test_does_not_start_on_a_catalogue_that_cannot_be_understood(tmp_path, text, complaint):
    path = tmp_path / "accounts.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidCatalogue, match=complaint):
        Catalogue.load(path)


def test_an_account_may_take_over_what_another_has(tmp_path):
    path = tmp_path / "accounts.yaml"
    path.write_text(
        "accounts:\n"
        "  support: &support {role: viewer, scopes: [tenant:read], global: true}\n"
        "  reader: {<<: *support, role: member}\n"
    )
    accounts = Catalogue.load(path).accounts
    assert (accounts["reader"].role.value, accounts["reader"].scopes) == ("member", {"tenant:read"})


def test_the_catalogue_is_utf_8_in_every_locale(tmp_path):
    path = tmp_path / "accounts.yaml"
    path.write_text("accounts: {}  # für alle\n", encoding="utf-8")
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    code = f"from auth.security.service_account_catalogue import *; Catalogue.load(Path({str(path)!r}))"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def test_does_not_start_without_its_configured_catalogue(tmp_path):
    with pytest.raises(InvalidCatalogue):
        Catalogue.load(tmp_path / "nothing.yaml")
    (tmp_path / "list.yaml").write_text("- a\n- b\n")
    with pytest.raises(InvalidCatalogue):
        Catalogue.load(tmp_path / "list.yaml")
    assert Catalogue.load(None).accounts == {}


def test_asks_of_vault_no_more_than_to_verify_with_one_key(pytestconfig):
    policy = service_folder(pytestconfig.rootpath, "auth").parents[1] / "deploy/vault/auth-service.hcl"
    rules = re.findall(r'^path "([^"]+)" \{\n  capabilities = \[([^]]*)\]\n\}$', policy.read_text(), re.M)
    assert dict(rules) == {
        "transit/verify/auth-service": '"update"',
        "auth/token/renew-self": '"update"',
    }
    assert policy.read_text().count("path ") == len(rules)
