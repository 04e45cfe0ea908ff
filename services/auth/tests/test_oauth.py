"""Access tokens for machines: a credential of a service account for a token that works at every service."""

import base64
import json
import time
from urllib.parse import quote
from uuid import UUID, uuid4

import jwt
import pytest
import yaml
from auth.main import create_app
from auth.settings import Settings
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm
from servicekit.app import create_service
from servicekit.auth import jose
from servicekit.settings import ServiceSettings
from testkit.app import client, running
from testkit.live_server import serving

from .route_table import router

ISSUER = "http://acme.test"
ENDPOINT = "http://acme.test/api/v1/auth/oauth/token"

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@pytest.fixture
async def owner(auth):
    return await auth.somebody()


@pytest.fixture
def path(tmp_path, owner):
    path = tmp_path / "accounts.yaml"
    export = {
        "role": "member",
        "scopes": ["conversations:read", "conversations:write", "billing:read"],
        "tenants": [owner["tenant_id"]],
        "audiences": ["acme-api", "conversation"],
    }
    support = {"role": "viewer", "scopes": ["tenant:read", "conversations:read"], "global": True}
    path.write_text(yaml.safe_dump({"accounts": {"nightly-export": export, "support": support}}))
    return path


@pytest.fixture
async def service(start, operator, path):
    return await start(**operator.settings, auth_service_accounts_file=path)


async def issued(service, operator, **wanted):
    answer = await service.post("service-accounts/issue", **operator.request(**wanted))
    assert answer.status_code == 201, answer.text
    return answer.json()


@pytest.fixture
async def credential(service, operator, owner):
    scopes = ["conversations:read", "conversations:write"]
    return await issued(service, operator, tenant_id=owner["tenant_id"], scopes=scopes)


async def token(service, credential=None, headers=None, **form):
    secret = {name: credential[name] for name in ("client_id", "client_secret")} if credential else {}
    wanted = {"grant_type": "client_credentials", **secret, **form}
    sent = {name: value for name, value in wanted.items() if value is not None}
    return await service.public.post("/api/v1/auth/oauth/token", data=sent, headers=headers)


def basic(client_id, secret):
    pair = f"{quote(client_id, safe='')}:{quote(secret, safe='')}".encode()
    return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}


async def test_gives_a_machine_of_a_tenant_a_token_that_says_what_it_is(service, credential, owner):
    answer = await token(service, credential)
    assert answer.headers["cache-control"] == "no-store"
    issued_token = answer.json()
    assert (issued_token["token_type"], issued_token["expires_in"]) == ("bearer", 600)
    claims = service.claims(issued_token)
    assert claims["sub"] == f"service:{credential['client_id']}"
    assert (claims["client_id"], claims["aud"]) == (credential["client_id"], "acme-api")
    assert (claims["tenant_id"], claims["role"]) == (owner["tenant_id"], "member")
    assert claims["scope"] == issued_token["scope"] == "conversations:read conversations:write"
    assert "sid" not in claims


async def test_takes_the_secret_in_the_form_or_in_the_header_and_not_in_both(service, credential):
    header = basic(credential["client_id"], credential["client_secret"])
    assert (await token(service, headers=header)).status_code == 200
    assert (await token(service, headers=header, client_id=credential["client_id"])).status_code == 200
    for twice in ({"credential": credential}, {"client_secret": "x"}, {"client_id": "another"}):
        answer = await token(service, headers=header, **twice)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request"), twice
    assert (await token(service)).json()["error"] == "invalid_request"
    for bad in ("Basic x", "Basic", "Basic eA==", "Digest eDp5", f"Bearer {credential['client_secret']}"):
        answer = await token(service, headers={"Authorization": bad})
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client"), bad
        assert answer.headers["www-authenticate"].startswith("Basic")


async def test_does_not_tell_why_it_believes_a_client_not(service, credential, operator, owner):
    spoilt = [
        {"client_secret": "wrong"},
        {"client_id": f"sa.nightly-export.{uuid4().hex}"},
        {"client_id": credential["client_id"].replace("nightly-export", "support")},
        {"client_id": "sa.unknown.x"},
        {"client_id": "chat-agent"},
    ]
    answers = [await token(service, {**credential, **one}) for one in spoilt]
    await service.database.execute("update service_credentials set expires_at = now()")
    answers.append(await token(service, credential))
    problems = [{**answer.json(), "request_id": ""} for answer in answers]
    assert all(one == problems[0] for one in problems)
    assert (answers[0].status_code, problems[0]["code"]) == (401, "invalid_client")


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({"scope": "conversations:read billing:read"}, "invalid_scope"),
        ({"scope": "conversations:*"}, "invalid_scope"),
        ({"scope": "*"}, "invalid_scope"),
        ({"audience": "billing-webhook"}, "invalid_target"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"tenant_id": str(uuid4())}, "invalid_request"),
    ],
)
async def test_gives_no_more_than_was_issued(service, credential, form, code):
    answer = await token(service, credential, **form)
    assert (answer.status_code, answer.json()["code"], answer.json()["error"]) == (400, code, code)


async def test_grants_fewer_scopes_on_request(service, credential):
    answer = await token(service, credential, scope="conversations:read", audience="conversation")
    claims = service.claims(answer.json())
    assert (claims["scope"], claims["aud"]) == ("conversations:read", "conversation")


async def test_gives_only_what_the_catalogue_still_gives(service, start, operator, path, credential):
    catalogue = yaml.safe_load(path.read_text())
    catalogue["accounts"]["nightly-export"]["scopes"] = ["conversations:write"]
    path.write_text(yaml.safe_dump(catalogue))
    narrower = await start(**operator.settings, auth_service_accounts_file=path)
    assert (await token(narrower, credential)).json()["scope"] == "conversations:write"
    del catalogue["accounts"]["nightly-export"]
    path.write_text(yaml.safe_dump(catalogue))
    without = await start(**operator.settings, auth_service_accounts_file=path)
    assert (await token(without, credential)).json()["code"] == "invalid_client"


async def test_knows_the_secret_after_a_change_of_the_pepper(start, operator, path, credential, variables):
    settings = {**operator.settings, "auth_service_accounts_file": path}
    settings["auth_refresh_token_pepper"] = "pepper of the year after"
    both = f"{settings['auth_refresh_token_pepper']},{variables['auth_refresh_token_pepper']}"
    during = await start(**{**settings, "auth_refresh_token_pepper": both})
    assert (await token(during, credential)).status_code == 200
    after = await start(**settings)
    assert (await token(after, credential)).status_code == 200


async def test_gives_no_token_that_outlives_the_credential(service, credential):
    await service.database.execute(
        "update service_credentials set expires_at = now() + interval '90 seconds'"
    )
    assert (await token(service, credential)).json()["expires_in"] <= 90


async def test_lets_a_machine_of_all_tenants_say_for_which_one_it_comes(service, operator, owner):
    support = await issued(service, operator, account="support", scopes=["tenant:read"])
    nowhere = service.claims((await token(service, support)).json())
    assert not {"tenant_id", "role"} & nowhere.keys()
    there = service.claims((await token(service, support, tenant_id=owner["tenant_id"])).json())
    assert (there["tenant_id"], there["role"]) == (owner["tenant_id"], "viewer")
    unknown = await token(service, support, tenant_id=str(uuid4()))
    assert unknown.json()["code"] == "invalid_request"


async def test_counts_by_client_and_by_address(start, operator, path):
    limited = {"auth_rate_limits": {"subject:oauth/token": 2}}
    service = await start(**operator.settings, auth_service_accounts_file=path, **limited)
    wrong = {"client_id": f"sa.x.{uuid4().hex}", "client_secret": "wrong"}
    assert [(await token(service, wrong)).status_code for _ in range(3)] == [401, 401, 429]
    assert (await token(service, {**wrong, "client_id": f"sa.x.{uuid4().hex}"})).status_code == 401


@pytest.fixture
def own_key():
    return Ed25519PrivateKey.generate()


@pytest.fixture
async def keyed(service, operator, owner, own_key):
    x = jose.encode(own_key.public_key().public_bytes_raw())
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": x}
    return await issued(service, operator, tenant_id=owner["tenant_id"], jwk=jwk)


def assertion(key, client_id, headers=None, algorithm="EdDSA", **changes):
    now = int(time.time())
    usual = {
        "iss": client_id,
        "sub": client_id,
        "aud": ENDPOINT,
        "iat": now,
        "exp": now + 60,
        "jti": str(uuid4()),
    }
    claims = {name: value for name, value in (usual | changes).items() if value is not ...}
    library = jwt.PyJWS()
    if algorithm not in library.get_algorithms():
        library.register_algorithm(algorithm, OKPAlgorithm())
    return library.encode(json.dumps(claims).encode(), key, algorithm, {"typ": "JWT", **(headers or {})})


async def by_assertion(service, text, **more):
    return await token(service, client_assertion_type=ASSERTION, client_assertion=text, **more)


async def test_takes_an_assertion_by_the_machines_own_key_once(service, keyed, own_key):
    assert (keyed["client_secret"], keyed["method"]) == (None, "private_key_jwt")
    text = assertion(own_key, keyed["client_id"])
    assert (await by_assertion(service, text)).json()["scope"] == "conversations:read"
    again = await by_assertion(service, text)
    assert (again.status_code, again.json()["code"]) == (401, "invalid_client")
    named = assertion(own_key, keyed["client_id"])
    assert (await by_assertion(service, named, client_id=keyed["client_id"])).status_code == 200


@pytest.mark.parametrize("algorithm", ["EdDSA", "Ed25519"])
@pytest.mark.parametrize("audience", [ENDPOINT, ISSUER, [ENDPOINT], [ISSUER], [ISSUER, ENDPOINT]])
async def test_takes_an_assertion_for_the_issuer_or_the_endpoint(
    service, keyed, own_key, audience, algorithm
):
    text = assertion(own_key, keyed["client_id"], algorithm=algorithm, aud=audience)
    assert (await by_assertion(service, text)).status_code == 200


async def test_challenges_a_client_that_tried_the_header_and_no_other(service, keyed, credential, own_key):
    wrong = await token(service, headers=basic(credential["client_id"], "wrong"))
    assert wrong.headers["www-authenticate"] == 'Basic realm="acme", error="invalid_client"'
    secret = await token(service, {**credential, "client_secret": "wrong"})
    signed = await by_assertion(service, assertion(own_key, keyed["client_id"], aud="http://another.test"))
    for answer in (secret, signed):
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
        assert "www-authenticate" not in answer.headers


async def test_describes_itself_as_an_authorization_server(auth):
    document = (await auth.public.get("/.well-known/oauth-authorization-server")).json()
    assert document == (await auth.public.get("/.well-known/openid-configuration")).json()
    assert (document["issuer"], document["token_endpoint"]) == (ISSUER, ENDPOINT)
    assert document["response_types_supported"] == ["none"]
    assert document["token_endpoint_auth_signing_alg_values_supported"] == ["EdDSA", "Ed25519"]


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "another"},
        {"sub": "another"},
        {"aud": "http://another.test"},
        {"aud": f"{ENDPOINT}/"},
        {"aud": []},
        {"aud": [ENDPOINT, "other"]},
        {"aud": {ENDPOINT: 1}},
        {"exp": lambda now: now - 60},
        {"exp": lambda now: now + 400},
        {"iat": lambda now: now + 120},
        {"exp": ...},
        {"iat": ...},
        {"jti": ...},
        {"sub": ...},
        {"headers": {"typ": "at+jwt"}},
    ],
)
async def test_takes_no_assertion_that_is_not_for_here_now_and_from_the_client(
    service, keyed, own_key, changes
):
    now = int(time.time())
    changes = {name: value(now) if callable(value) else value for name, value in changes.items()}
    answer = await by_assertion(service, assertion(own_key, keyed["client_id"], **changes))
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_client")


async def test_takes_no_assertion_by_another_key_and_no_secret_instead(service, keyed, credential, own_key):
    forged = assertion(Ed25519PrivateKey.generate(), keyed["client_id"])
    texts = [forged, "x", "a.b.c", assertion(own_key, credential["client_id"])]
    texts.append(jwt.encode({"sub": keyed["client_id"]}, None, "none"))
    for text in texts:
        assert (await by_assertion(service, text)).json()["code"] == "invalid_client"
    for secret in ("", "None", "\0"):
        answer = await token(service, {**keyed, "client_secret": secret})
        assert answer.json()["code"] in {"invalid_client", "invalid_request"}
    untyped = await token(service, client_assertion=assertion(own_key, keyed["client_id"]))
    assert untyped.json()["code"] == "invalid_request"


@pytest.fixture
async def another_service(variables, auth):
    """A service as any other, that gets its keys from auth over real HTTP."""
    common = {name: value for name, value in variables.items() if name in ServiceSettings.model_fields}
    with serving(create_app(Settings(**variables))) as url:
        settings = {**common, "auth_jwks_url": f"{url}/.well-known/jwks.json"}
        app = create_service("conversation", ServiceSettings(**settings), routers=[router])
        async with running(app), client(app) as other:
            yield other


async def test_opens_every_service_within_its_scopes(service, credential, operator, owner, another_service):
    async def status(path, issued_token, **headers):
        bearer = {"Authorization": f"Bearer {issued_token['access_token']}", **headers}
        answer = await another_service.get(path, headers=bearer)
        return answer.status_code, answer.json() if answer.status_code == 200 else answer.json()["code"]

    issued_token = (await token(service, credential)).json()
    subject = f"service:{credential['client_id']} {UUID(owner['tenant_id'])}"
    assert await status("/reads", issued_token) == (200, subject)
    # Its role would allow it; its scopes do not. And what is above its role no scope could give.
    assert await status("/deletes", issued_token) == (403, "insufficient_scope")
    assert await status("/manages", issued_token) == (403, "forbidden")
    assert await status("/reads", issued_token, **{"X-Tenant-Id": str(uuid4())}) == (403, "tenant_mismatch")
    assert await status("/reads", issued_token, **{"X-Tenant-Role": "owner"}) == (403, "role_escalation")
    support = await issued(service, operator, account="support", scopes=["tenant:read"])
    assert await status("/belongs", (await token(service, support)).json()) == (403, "forbidden")
    there = (await token(service, support, tenant_id=owner["tenant_id"])).json()
    assert await status("/belongs", there) == (200, owner["tenant_id"])


async def test_is_no_person(service, credential, owner):
    issued_token = (await token(service, credential)).json()
    assert service.claims(issued_token)["sub"] != owner["user_id"]
    assert (await service.me(issued_token["access_token"])).json()["code"] == "people_only"
    assert (await service.post("logout/all", bearer=issued_token["access_token"])).json()[
        "code"
    ] == "people_only"
