"""openid-client, which frameworks use for OAuth, against the discovery document and the token endpoint."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from anyio import to_thread
from auth.main import create_app
from auth.settings import Settings
from sandbox.embedded import free_port
from testkit.client_environments import installed, run
from testkit.live_server import serving

SCOPES = ["conversations:read", "conversations:write"]


@pytest.fixture
async def owner(auth):
    return await auth.somebody()


@pytest.fixture
def changes(operator, owner, tmp_path):
    """What a replica is told that issues credentials of one service account."""
    accounts = {"nightly-export": {"role": "member", "scopes": SCOPES, "tenants": [owner["tenant_id"]]}}
    path = tmp_path / "accounts.yaml"
    path.write_text(yaml.safe_dump({"accounts": accounts}))
    return {**operator.settings, "auth_service_accounts_file": path}


@pytest.fixture
async def service(start, changes):
    return await start(**changes)


@pytest.fixture
def issuer(variables, changes):
    """Another replica on a real socket, which is its issuer."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    own = {"auth_issuer": url, "auth_jwks_url": f"{url}/.well-known/jwks.json"}
    with serving(create_app(Settings(**{**variables, **changes, **own})), port):
        yield url


async def test_gets_tokens_by_secret(service, operator, owner, issuer, tmp_path):
    wanted = operator.request(tenant_id=owner["tenant_id"], scopes=SCOPES)
    answer = await service.post("service-accounts/issue", **wanted)
    assert answer.status_code == 201, answer.text
    request = {"issuer": issuer, "scope": SCOPES[0], "credential": answer.json()}
    received = json.loads(await to_thread.run_sync(execute, request, tmp_path))
    assert received.pop("refusal") == 401
    assert received.keys() == {"client_secret_basic", "client_secret_post"}
    for token in received.values():
        assert (token["token_type"], token["scope"]) == ("bearer", SCOPES[0])
        assert service.claims(token)["iss"] == issuer


def execute(request, folder):
    (folder / "node_modules").symlink_to(installed("auth-node") / "node_modules")
    script = shutil.copy(Path(__file__).parent / "node" / "openid_client.mjs", folder)
    return run(["node", script, json.dumps(request)], folder)
