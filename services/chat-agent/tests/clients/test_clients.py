"""Clients of OpenAI's APIs, unmodified, each in a process of its own; docs/clients.md has a table of them."""

import base64
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from testkit.client_environments import available, installed, run
from testkit.issuer import Issuer
from testkit.pacts import ROOT

HERE = Path(__file__).parent
NODE, COPILOTKIT, PROMPTFOO, AGENTS, AIDER, CURRENT, GPTME, OLDER = (
    f"chat-agent-{name}"
    for name in ("node", "copilotkit", "promptfoo", "agents", "aider", "current", "gptme", "older")
)
START = "start.py"
# Each with the environment that it needs, and the argument that it takes.
SCRIPTS = {
    "ag_ui_agent.mjs": NODE,
    "agents_sdk.mjs": NODE,
    "agents_sdk.py": AGENTS,
    "aider_message.py": AIDER,
    "ai_sdk.mjs 6": NODE,
    "ai_sdk.mjs 7": NODE,
    "ai_sdk_chat.mjs 6": NODE,
    "ai_sdk_chat.mjs 7": NODE,
    "copilotkit.mjs": COPILOTKIT,
    "eventsource.mjs": NODE,
    "gptme_chat.py": GPTME,
    "instructor_client.py": AGENTS,
    "langchain_chat.py": CURRENT,
    "litellm_and_dspy.py": CURRENT,
    "llama_index_llm.py": OLDER,
    "llm_models.py": CURRENT,
    "open_webui.py": CURRENT,
    "openai.mjs": NODE,
    "openai_chat.py": CURRENT,
    "openai_responses.py": CURRENT,
    "promptfoo.mjs": PROMPTFOO,
    "pydantic_ai_agent.py": CURRENT,
    "semantic_kernel_agent.py": OLDER,
    "shell_gpt.py": OLDER,
}
# The smallest: one pixel.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
TASKS = {
    "text": "Two slices of marzipan, please",
    "tools": "How is the weather? city=Vienna [sandbox: call=get_weather]",
    "structured": "Who is it? name=Ada age=36",
    "again": "And one more",
    "image": f"data:image/png;base64,{PNG}",
}
# Nothing but this machine is reached, not even by those that look for news of themselves.
OFFLINE = {
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "NO_PROXY": "127.0.0.1,localhost",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "COPILOTKIT_TELEMETRY_DISABLED": "true",
}
COLUMNS = ("text", "stream", "usage", "tools", "structured", "embeddings", "images", "state")


@pytest.fixture
def execute(url: str, issuer: Issuer, tmp_path: Path) -> Callable[[str], dict[str, dict[str, Any]]]:
    """Return a function that runs a script as somebody, and returns what each of its clients got."""

    def execute(script: str) -> dict[str, dict[str, Any]]:
        environment = installed(SCRIPTS[script])
        name, *arguments = script.split()
        if name.endswith(".mjs"):
            shutil.copytree(HERE / "node", tmp_path, dirs_exist_ok=True)
            (tmp_path / "node_modules").symlink_to(environment / "node_modules")
            command = ["node", name, *arguments]
        else:
            command = [
                str(environment / "bin/python"),
                *(str(HERE / "python" / file) for file in (START, name)),
            ]
        variables = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "OPENAI_BASE_URL": f"{url}/v1",
            "OPENAI_API_KEY": issuer.token(role="member"),
            "TASKS": json.dumps(TASKS),
            **OFFLINE,
        }
        lines = run(command, tmp_path, variables).splitlines()
        reports = [json.loads(line) for line in lines if line.startswith('{"client"')]
        return {report["client"]: report["results"] for report in reports}

    return execute


@pytest.mark.parametrize("script", sorted(name for name, env in SCRIPTS.items() if env in available()))
def test_clients_work_unmodified(execute: Callable[[str], Any], script: str) -> None:
    clients = execute(script)
    for results in clients.values():
        for capability, result in results.items():
            check(capability, result)
    tried = {client: [column_of(capability) for capability in results] for client, results in clients.items()}
    assert {client: columns for client, by, columns in table() if by == script} == {
        client: {column for column in COLUMNS if column in columns} for client, columns in tried.items()
    }


def column_of(capability: str) -> str:
    """Return the column of the table that a capability belongs to."""
    return next(column for column in reversed(COLUMNS) if column in capability)


def check(capability: str, result: Any) -> None:
    """Compare what a client got with what it should get."""
    assert "error" not in result, f"{capability}: {result['error']}"
    match column_of(capability):
        case "text":
            assert TASKS["text"] in result
        case "stream":
            assert TASKS["text"] in "".join(result)
        case "usage":
            assert min(result) > 0
        case "tools":
            assert result["calls"] == ["Vienna"]
            assert "Snow in Vienna" in result["text"]
        case "structured":
            assert result == {"name": "Ada", "age": 36}
        case "images":
            assert f"image/png of {len(base64.b64decode(PNG))} bytes" in result
        case "state":
            assert f'You wrote: "{TASKS["again"]}" Before that you wrote: "{TASKS["text"]}"' in result
        case "embeddings":
            assert len(result) == 2
            assert all(len(vector) > 2 and {type(one) for one in vector} <= {int, float} for vector in result)


def table() -> Iterator[tuple[str, str, set[str]]]:
    """Yield the rows of the table in the documentation: a client, its script, what is tried with it."""
    for line in (ROOT / "docs/clients.md").read_text().splitlines():
        client, *cells = (cell.strip(" `") for cell in line.strip("| ").split("|"))
        if cells and (script := cells.pop()) in SCRIPTS:
            tried = zip(COLUMNS, cells, strict=True)
            yield client, script, {column for column, cell in tried if cell == "yes"}


def test_the_table_names_every_script() -> None:
    assert {script for _, script, _ in table()} == set(SCRIPTS)
    assert {name.split()[0] for name in SCRIPTS} >= {
        path.name for path in HERE.glob("python/*.py") if path.name not in {"report.py", START}
    }
