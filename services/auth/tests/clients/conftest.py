"""Clients, and a service that they get tokens from; `make test` says which cannot be installed here."""

import pytest
import yaml
from auth.main import create_app
from auth.settings import Settings
from sandbox.embedded import free_port
from testkit.client_environments import available
from testkit.live_server import serving

NODE = "auth-node"
SCOPES = ["conversations:read", "conversations:write"]
collect_ignore = [] if NODE in available() else ["test_openid_client.py"]


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


@pytest.fixture
def issue(service, operator, owner):
    """A function that issues a credential of the service account."""

    async def issue(**more):
        request = operator.request(tenant_id=owner["tenant_id"], scopes=SCOPES, **more)
        answer = await service.post("service-accounts/issue", **request)
        assert answer.status_code == 201, answer.text
        return answer.json()

    return issue
