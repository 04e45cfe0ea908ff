"""The generators that people use make working clients of the OpenAPI documents of all services."""

import json
import re
import shutil
from pathlib import Path

import pytest
from conversation.main import create_app
from conversation.settings import Settings
from testkit.client_environments import installed, run
from testkit.contract_documents import services
from testkit.live_server import serving
from testkit.pacts import ROOT

HERE = Path(__file__).parent
# What is streamed in lines is left to a client's own reader.
LINES = "application/x-ndjson"


def document(service):
    return str(ROOT / "services" / service / "contract" / "openapi.json")


@pytest.fixture
def url(migrated, common_settings):
    """A service on a real socket."""
    database_url = migrated("conversation")
    settings = Settings(**common_settings, run_workers=False, database_url=database_url)
    with serving(create_app(settings)) as url:
        yield url


def test_openapi_python_client(url, issuer, tmp_path):
    programs = installed("testkit-generators") / "bin"
    names = [service.replace("-", "_") for service in services()]
    for service, name in zip(services(), names, strict=True):
        generate = [str(programs / "openapi-python-client"), "generate", "--path", document(service)]
        options = ["--config", str(HERE / "python" / "config.yml"), "--meta", "none", "--output-path", name]
        printed = run([*generate, *options], tmp_path)
        left_out = re.findall(r"Unsupported content_type (\S+?)\)", printed)
        assert (printed.count("WARNING"), set(left_out) - {LINES}) == (len(left_out), set()), printed
    script = shutil.copy(HERE / "python" / "use_conversation.py", tmp_path)
    listed = run([str(programs / "python"), script, url, issuer.token(role="member"), *names], tmp_path)
    assert json.loads(listed) == ["Generated", "Generated"]


def test_openapi_typescript_and_hey_api(tmp_path):
    (tmp_path / "node_modules").symlink_to(installed("testkit-node") / "node_modules")
    for file in ("tsconfig.json", "use.ts"):
        shutil.copy(HERE / "node" / file, tmp_path)
    programs = tmp_path / "node_modules" / ".bin"
    for service in services():
        types, client = f"types/{service}.ts", f"hey/{service}"
        run([str(programs / "openapi-typescript"), document(service), "--output", types], tmp_path)
        run([str(programs / "openapi-ts"), "--input", document(service), "--output", client], tmp_path)
    run([str(programs / "tsc"), "--project", "."], tmp_path)
