"""Clients in environments of their own: tried where these can be installed; `make test` says so otherwise."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from chat_agent.direct_models import DirectModel
from chat_agent.settings import IMAGES_AND_FILES, Settings
from testkit.client_environments import available, installed, run

NODE = "chat-agent-node"
collect_ignore = [] if NODE in available() else ["test_ui_clients.py"]


@pytest.fixture(scope="module")
def settings(settings: Settings) -> Settings:
    """Return settings with a model for embeddings beside the agents, whose model takes images."""
    model = DirectModel(tenants=frozenset({"*"}), endpoints=frozenset({"embeddings"}))
    inputs = {"sandbox-large": IMAGES_AND_FILES}
    return settings.model_copy(update={"direct_models": {"acme/embeddings": model}, "model_inputs": inputs})


@pytest.fixture
def node_folder(tmp_path: Path) -> Path:
    """Return a folder with the scripts for node, which find their packages."""
    (tmp_path / "node_modules").symlink_to(installed(NODE) / "node_modules")
    for script in Path(__file__).parent.glob("node/*.mjs"):
        shutil.copy(script, tmp_path)
    return tmp_path


@pytest.fixture
def node(node_folder: Path) -> Callable[..., Any]:
    """Return a function that runs one of node's scripts as somebody, and returns what it prints."""

    def script(name: str, person: httpx.Client, path: str, **received: object) -> Any:
        token = person.headers["authorization"].removeprefix("Bearer ")
        request = {"url": f"{str(person.base_url).rstrip('/')}{path}", "token": token, **received}
        return json.loads(run(["node", name, json.dumps(request)], node_folder))

    return script
