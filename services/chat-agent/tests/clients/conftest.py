"""Clients in environments of their own: tried where these can be installed; `make test` says so otherwise."""

import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from chat_agent.direct_models import DirectModel
from chat_agent.settings import IMAGES_AND_FILES, Settings
from testkit.client_environments import available, installed

NODE = "chat-agent-node"
# Of all scripts of a file.
SECONDS = 600
collect_ignore = [] if NODE in available() else ["test_stopped_clients.py", "test_ui_clients.py"]


@pytest.fixture(scope="module")
def settings(settings: Settings) -> Settings:
    """Return settings with a model for embeddings beside the agents, whose model takes images."""
    model = DirectModel(tenants=frozenset({"*"}), endpoints=frozenset({"embeddings"}))
    inputs = {"sandbox-large": IMAGES_AND_FILES}
    return settings.model_copy(update={"direct_models": {"acme/embeddings": model}, "model_inputs": inputs})


@pytest.fixture
def node_folder(tmp_path: Path) -> Path:
    """Return a folder with the scripts for node, which find their packages."""
    return copy_scripts(tmp_path)


def copy_scripts(folder: Path) -> Path:
    """Copy the scripts for node to a folder where they find their packages."""
    (folder / "node_modules").symlink_to(installed(NODE) / "node_modules")
    for script in Path(__file__).parent.glob("node/*.mjs"):
        shutil.copy(script, folder)
    return folder


@pytest.fixture(scope="module")
def node_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    """Return a process of node that runs scripts one after the other, with the packages loaded once."""
    folder = copy_scripts(tmp_path_factory.mktemp("node"))
    with subprocess.Popen(
        ["node", "serve.mjs"], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        deadline = threading.Timer(SECONDS, process.kill)
        deadline.start()
        try:
            yield process
        finally:
            deadline.cancel()
            process.kill()


@pytest.fixture
def node(node_process: subprocess.Popen[str]) -> Callable[..., Any]:
    """Return a function that runs one of node's scripts as somebody, and returns its result."""

    def script(name: str, person: httpx.Client, path: str, **received: object) -> Any:
        token = person.headers["authorization"].removeprefix("Bearer ")
        request = {"url": f"{str(person.base_url).rstrip('/')}{path}", "token": token, **received}
        assert node_process.stdin
        assert node_process.stdout
        print(json.dumps({"script": name, "request": request}), file=node_process.stdin, flush=True)
        answer = json.loads(node_process.stdout.readline())
        assert "failure" not in answer, answer["failure"]
        return answer["result"]

    return script
