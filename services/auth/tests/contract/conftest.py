import pytest
from auth.settings import Settings
from auth.signing.key_file import locked, save
from auth.signing.key_ring import KeyRing, SigningKey

from .states import MACHINE_SECRET


@pytest.fixture
def settings(variables, issuer, tmp_path, operator):
    """An auth that signs with the key of the tests' issuer, and so believes its tokens."""
    path = tmp_path / "keys.json"
    with locked(path):
        save(path, KeyRing((SigningKey(0, issuer.key.private),)))
    own = {
        "auth_issuer": issuer.issuer,
        "auth_key_storage_path": path,
        "auth_service_secrets": {"chat-agent": MACHINE_SECRET},
        **operator.settings,
    }
    return Settings(**{**variables, **own})
