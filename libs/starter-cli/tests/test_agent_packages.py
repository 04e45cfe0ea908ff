"""A package of one's own: written by a command, found by its entry points, and reloaded when it changes."""

import os
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from threading import Event, Thread

import pytest
from starter_cli import code_reload
from starter_cli.agent_packages import create
from starter_cli.errors import Failure
from starter_cli.paths import CHECKOUT
from testkit.eventually import until

# What `GET /api/v1/agents` and `/tools` list.
LIST = """
from chat_agent.agents import AGENTS
from chat_agent.agents.packages import load_packages
from chat_agent.agents.tools import TOOLS
load_packages()
load_packages()
print(AGENTS["corner_shop"].name, [tool.name for tool in TOOLS["corner_shop"]])
"""


def install(root: Path) -> dict[str, str]:
    """Make a package known to Python as an installer does, and return the environment of a process."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    info = root / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.4\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines: list[str] = []
    for group, entries in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines))
    return {**os.environ, "PYTHONPATH": str(root)}


def run(root: Path, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package that the command has written."""
    command = ("agents", "new", "corner_shop", "--folder", str(tmp_path))
    run(CHECKOUT, "-m", "starter_cli.app", *command, **os.environ)
    return tmp_path / "corner_shop"


def test_the_command_prints_one_that_installs_it_from_any_folder(tmp_path: Path) -> None:
    command = ("agents", "new", "kiosk", "--folder", str(tmp_path))
    printed = run(CHECKOUT, "-m", "starter_cli.app", *command, **os.environ).splitlines()[-1]
    run(
        tmp_path,
        "-c",
        "import os, sys; os.execv(sys.argv[1], sys.argv[1:])",
        *shlex.split(f"{printed} --dry-run"),
    )


def test_the_package_passes_its_own_test(package: Path) -> None:
    assert "3 passed" in run(package, "-m", "pytest", "-q", "-p", "no:cacheprovider", **install(package))


def test_the_service_finds_its_agent_and_its_tools(package: Path) -> None:
    listed = run(package, "-c", LIST, **install(package))
    assert listed.strip() == "corner_shop ['corner_shop_hours']"


def test_the_package_is_as_clean_as_our_code(package: Path) -> None:
    options = ("--isolated", "--line-length", "110", ".")
    run(package, "-m", "ruff", "check", "--select", "E,F,I,UP,B", *options, **os.environ)
    run(package, "-m", "ruff", "format", "--check", *options, **os.environ)


def test_a_name_that_is_in_use_is_refused(package: Path) -> None:
    agent = package / "acme_agents_corner_shop/agent.py"
    agent.write_text(agent.read_text().replace('name="corner_shop"', 'name="triage"'))
    done = subprocess.run(
        [sys.executable, "-c", LIST], env=install(package), capture_output=True, text=True, check=False
    )
    last = done.stderr.splitlines()[-1]
    assert "(acme-agents-corner-shop 0.1.0): there is another agent called 'triage'" in last


@pytest.mark.parametrize("name", ["Shop", "7up", "a-b", "a__b", "", "../x"])
def test_refuses_a_name_that_is_no_identifier(tmp_path: Path, name: str) -> None:
    with pytest.raises(Failure, match="small letters"):
        create(name, tmp_path)


def test_overwrites_nothing(package: Path) -> None:
    with pytest.raises(Failure, match="exists"):
        create(package.name, package.parent)


def test_changed_code_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_reload, "POLL_SECONDS", 0.01)
    (tmp_path / "agent.py").write_text("x = 1")
    ended, changes = Event(), list[int]()
    thread = Thread(target=code_reload.watch, args=([tmp_path], lambda: changes.append(1), ended))
    thread.start()
    try:
        # The first look may come after a first change.
        number = iter(range(10_000))
        until(lambda: (tmp_path / f"new_{next(number)}.py").write_text("y = 2") and bool(changes))
    finally:
        ended.set()
        thread.join()


def test_the_code_of_the_service_is_watched() -> None:
    assert CHECKOUT / "services/chat-agent/chat_agent/agents" in code_reload.folders()
