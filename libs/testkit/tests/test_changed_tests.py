"""`make test CHANGED=1` runs the tests that a change touches, and no fewer."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
MEMBERS = sorted(
    project.parent.relative_to(ROOT).as_posix()
    for project in [*ROOT.glob("libs/*/pyproject.toml"), *ROOT.glob("services/*/pyproject.toml")]
)
AUTH_TEST = "services/auth/tests/test_sessions.py"


@pytest.fixture
def affected(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from changed_tests import affected  # noqa: PLC0415  # it is a script beside the packages

    return affected


@pytest.mark.parametrize(
    ("files", "tests"),
    [
        ([], []),
        ([AUTH_TEST], [AUTH_TEST]),
        (["services/auth/auth/sessions/password.py"], ["services/auth"]),
        (["services/auth/README.md", AUTH_TEST], ["services/auth"]),
        (["services/auth/tests/conftest.py"], ["services/auth"]),
        (["libs/servicekit/servicekit/database.py"], MEMBERS),
        (["libs/testkit/testkit/plugin.py"], MEMBERS),
        (["libs/starter-cli/starter_cli/app.py"], ["libs/starter-cli"]),
        (
            ["libs/client-python/acme_client/client.py"],
            ["libs/client-python", "libs/evals", "libs/starter-cli", "services/auth"],
        ),
        (["libs/client-ts/src/client.ts"], ["libs/starter-cli", "libs/testkit"]),
        (["Makefile", AUTH_TEST], ["libs/starter-cli", "libs/testkit", AUTH_TEST]),
        (["k8s/base/auth.yaml"], ["libs/starter-cli", "libs/testkit"]),
        (["services/auth/tests/test_that_was_deleted.py"], []),
    ],
    ids=lambda value: ",".join(value)[:60] or "none",
)
def test_a_change_brings_the_affected_all_that_depends_on_it(affected, files, tests):
    assert affected(files) == tests


def test_sees_what_is_committed_what_is_not_and_what_is_new(tmp_path):
    def git(*arguments):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True, capture_output=True)

    for name in ("scripts", "libs/one/tests", "libs/two/tests"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "scripts/changed_tests.py").write_text((ROOT / "scripts/changed_tests.py").read_text())
    (tmp_path / "libs/one/pyproject.toml").write_text('[project]\nname = "one"\n')
    (tmp_path / "libs/two/pyproject.toml").write_text(
        '[project]\nname = "two"\ndependencies = ["one[x]>=1"]\n'
    )
    git("init", "-qb", "main")
    git("config", "user.email", "ann@example.com")
    git("config", "user.name", "Ann")
    git("add", ".")
    git("commit", "-qm", "Begin")
    git("checkout", "-qb", "work")

    def run(*since):
        command = [sys.executable, "scripts/changed_tests.py", *since]
        return subprocess.run(
            command, cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.split()

    assert run() == []
    (tmp_path / "libs/two/tests/test_new.py").write_text("")
    assert run() == ["libs/two/tests/test_new.py"]
    (tmp_path / "libs/one/code.py").write_text("")
    git("add", ".")
    git("commit", "-qm", "Go on")
    assert run() == ["libs/one", "libs/two"]
    assert run("HEAD") == []
