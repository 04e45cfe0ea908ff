import httpx
import pytest
from auth.settings import Settings
from auth.signing.key_file import locked, save
from auth.signing.key_ring import KeyRing, SigningKey
from testkit.live_server import NO_AUTHORITIES

from ..vault_fixtures import KEY, operator_settings
from .states import MACHINE_SECRET


@pytest.fixture(scope="module")
def settings(variables, issuer, tmp_path_factory, vault_url):
    """An auth that signs with the key of the tests' issuer, and so believes its tokens."""
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    with locked(path):
        save(path, KeyRing((SigningKey(0, issuer.key.private),)))
    # Without its key, Vault would tell auth so, whatever is to be verified.
    created = httpx.post(
        f"{vault_url}/v1/transit/keys/{KEY}",
        json={"type": "ed25519"},
        headers={"X-Vault-Token": "hvs.operator"},
        verify=NO_AUTHORITIES,
        timeout=60,
    )
    assert created.is_success, created.text
    own = {
        "auth_issuer": issuer.issuer,
        "auth_key_storage_path": path,
        "auth_service_secrets": {"chat-agent": MACHINE_SECRET},
        **operator_settings(vault_url),
    }
    return Settings(**{**variables, **own})
