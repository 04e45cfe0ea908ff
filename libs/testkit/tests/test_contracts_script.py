"""scripts/contracts.py on a workspace of two tiny services, in a repository of their own."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from testkit.contract_documents import documents
from testkit.pacts import ROOT

MAIN = """
from typing import Annotated
from fastapi import APIRouter
from servicekit.app import create_service
from servicekit.auth.dependencies import on_behalf_of, require
from servicekit.auth.tokens import Principal

public, inside = APIRouter(), APIRouter(prefix="/internal/v1")

@public.get("/api/v1/books")
async def books(caller: Annotated[Principal, require("tools:read")], shelf: int = 1) -> list[str]:
    return []

@inside.get("/shelves")
async def shelves(caller: Annotated[Principal, on_behalf_of("tools:read")]) -> int:
    return 1

def create_app(settings):
    return create_service("library", settings, routers=[public], internal=[inside])
"""
SETTINGS = """
from pydantic import SecretStr
from servicekit.settings import ServiceSettings

class Settings(ServiceSettings):
    library_key: SecretStr
    library_url: str
"""
EVENTS = """
from typing import ClassVar
from servicekit.events.outbox import Event

class Borrowed(Event):
    \"\"\"A book has been borrowed.\"\"\"

    type: ClassVar[str] = "tiny_library.book.borrowed.v1"

    title: str
"""
READER = """
from servicekit.app import create_service

def create_app(settings):
    return create_service("reader", settings)
"""
WORKER = 'HANDLERS = {"tiny_library.book.borrowed.v1": print}'
PLAIN = "from servicekit.settings import ServiceSettings as Settings"


def load_script():
    spec = importlib.util.spec_from_file_location("contracts_script", ROOT / "scripts" / "contracts.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def git(root, *arguments):
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.test", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", root, *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """The workspace; its packages are forgotten between two readings, as between two runs."""
    change(tmp_path, "tiny-library", main=MAIN, settings=SETTINGS, events=EVENTS)
    change(tmp_path, "tiny-reader", main=READER, settings=PLAIN, worker=WORKER)
    for service in ("tiny-library", "tiny-reader"):
        folder = tmp_path / "services" / service
        (folder / "pyproject.toml").write_text('[project]\nversion = "0.1.0"\n')
        monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    git(tmp_path, "init", "-q")
    return tmp_path


def change(root, service, **modules):
    package = root / "services" / service / service.replace("-", "_")
    package.mkdir(parents=True, exist_ok=True)
    for name, source in modules.items():
        (package / f"{name}.py").write_text(source)


def run(root, *words):
    for name in [name for name in sys.modules if name.startswith("tiny_")]:
        del sys.modules[name]
    importlib.invalidate_caches()
    load_script().main(words, root)


def complaint(root, *words):
    with pytest.raises(SystemExit) as stopped:
        run(root, "--check", *words)
    return str(stopped.value)


@pytest.fixture
def committed(root):
    run(root)
    git(root, "add", ".")
    git(root, "commit", "-qm", "one")
    return root


def read(root, name):
    return json.loads((root / name).read_text())


def test_writes_what_services_answer_and_tell(committed):
    contract = "services/tiny-library/contract"
    public, inside = (
        read(committed, f"{contract}/openapi.json"),
        read(committed, f"{contract}/internal.openapi.json"),
    )
    assert list(public["paths"]) == ["/api/v1/books"]
    assert public["info"]["version"] == "0.1.0"
    assert list(inside["paths"]) == ["/internal/v1/shelves"]
    schema = read(committed, f"{contract}/events/tiny_library.book.borrowed.v1.json")
    assert schema["properties"].keys() == {"title"}
    assert schema["required"] == ["title"]
    events = read(committed, "docs/asyncapi.json")
    assert events["channels"]["tiny-library"]["address"] == "events:tiny-library"
    assert events["operations"].keys() == {"tiny-library.publishes", "tiny-reader.consumes.tiny-library"}
    assert not (committed / "services/tiny-reader/contract/internal.openapi.json").exists()


def test_is_content_with_what_it_has_written(committed):
    before = {path: path.read_bytes() for path in documents(committed)}
    run(committed, "--check")
    run(committed)

    assert {path: path.read_bytes() for path in before} == before


def test_needs_nothing_from_the_environment(committed, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "nonsense")
    monkeypatch.setenv("ENVIRONMENT", "production")

    run(committed, "--check")


def test_shows_what_is_stale(committed):
    change(committed, "tiny-library", main=MAIN.replace("shelf: int = 1", "shelf: int = 1, author: str = ''"))

    output = complaint(committed)

    assert "services/tiny-library/contract/openapi.json does not match the code" in output
    assert '+            "name": "author",' in output
    assert "BREAKS" not in output


def test_shows_what_nothing_stands_behind(committed):
    old = committed / "services/tiny-reader/contract/events/tiny_reader.gone.v1.json"
    old.parent.mkdir(parents=True)
    old.write_text("{}")

    assert "nothing stands behind it" in complaint(committed)
    run(committed)
    assert not old.exists()


def test_a_breaking_change_is_refused_also_when_it_is_written_down(committed):
    change(committed, "tiny-library", main=MAIN.replace("shelf: int = 1", "shelf: int"))
    run(committed)

    where = "services/tiny-library/contract/openapi.json: GET /api/v1/books"
    broken = f"{where}: the query parameter shelf is now required"
    assert complaint(committed) == f"BREAKS {broken}"

    git(committed, "add", ".")
    git(committed, "commit", "-qm", "two")
    run(committed, "--check")
    assert complaint(committed, "--against", "HEAD~1") == f"BREAKS {broken}"

    reasons = committed / "reasons"
    reasons.write_text(f"# nobody has asked without a shelf\n{broken}\n")
    run(committed, "--check", "--against", "HEAD~1", "--allow-breaking", str(reasons))


def test_a_breaking_change_passes_under_a_version_that_says_so(committed):
    change(committed, "tiny-library", main=MAIN.replace("shelf: int = 1", "shelf: int"))
    (committed / "services/tiny-library/pyproject.toml").write_text('[project]\nversion = "0.2.0"\n')
    run(committed)

    run(committed, "--check")


def test_an_event_that_loses_a_field_or_vanishes_breaks_its_readers(committed):
    change(committed, "tiny-library", events=EVENTS.replace("title: str", "name: str"))
    run(committed)
    assert "tiny_library.book.borrowed.v1.json: the event.title is gone" in complaint(committed)

    change(committed, "tiny-library", events=EVENTS.replace(".v1", ".v2"))
    change(committed, "tiny-reader", worker=WORKER.replace(".v1", ".v2"))
    run(committed)
    assert "tiny_library.book.borrowed.v1.json is gone" in complaint(committed)


def test_an_event_wants_a_reader_and_a_reader_an_event(committed):
    change(committed, "tiny-reader", worker='HANDLERS = {"tiny_library.book.lost.v1": print}')
    run(committed)

    output = complaint(committed)

    assert "tiny-library publishes tiny_library.book.borrowed.v1, and no service consumes it" in output
    assert "tiny-reader consumes tiny_library.book.lost.v1, and no service publishes it" in output


def test_an_event_that_clients_read_from_its_publisher_needs_no_other_reader(committed):
    change(committed, "tiny-reader", worker="HANDLERS = {}")
    change(committed, "tiny-library", events=f"{EVENTS}    has_stream: ClassVar[bool] = True\n")
    run(committed)

    run(committed, "--check")


def test_a_need_wants_a_test(committed):
    pacts = committed / "services/tiny-reader/contract/pacts"
    pacts.mkdir(parents=True)
    pact = {
        "consumer": {"name": "tiny-reader"},
        "provider": {"name": "tiny-library"},
        "interactions": [{"description": "a request for books"}, {"description": "a request for more"}],
    }
    (pacts / "tiny-reader-tiny-library.json").write_text(json.dumps(pact))
    tests = committed / "services/tiny-reader/tests"
    tests.mkdir()
    (tests / "test_needs.py").write_text('pact.upon_receiving("a request for books")')

    assert complaint(committed).endswith("no test needs 'a request for more' any more")


def test_says_when_there_is_no_such_commit(committed):
    assert "nowhere" in complaint(committed, "--against", "nowhere")


def test_explains_itself(capsys):
    script = Path(ROOT / "scripts" / "contracts.py")
    answer = subprocess.run([sys.executable, script, "--help"], check=True, capture_output=True, text=True)

    assert "--allow-breaking FILE" in answer.stdout
