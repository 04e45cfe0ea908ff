"""What the manifests may not say."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
MANIFESTS = [ROOT / "docker-compose.yml", *sorted((ROOT / "k8s").rglob("*.yaml"))]


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_manifest_stores_signing_keys_in_a_file(manifest: Path) -> None:
    """A file of each replica's own makes a roll refuse every token; the database is shared."""
    assert "AUTH_KEY_STORAGE_PATH" not in manifest.read_text()
