"""The systems that are compared: each is started alone, with a model of its own, and stopped."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from urllib.parse import urlencode

import httpx
from sandbox.embedded import Postgres, free_port
from starter_cli import environment
from starter_cli.ports import HOST
from starter_cli.processes import Process, Program
from starter_cli.stack import Stack

from scripts.bench import environments
from scripts.bench.client import Request
from scripts.bench.usage import Parts

APPS = Path(__file__).with_name("apps")
# One person talks for all: the limits are on, and out of the way.
LIMITS: Mapping[str, Mapping[str, str]] = {
    "chat-agent": {
        "CHAT_LIMITS": '{"reads_per_person": 1000000, "writes_per_person": 1000000}',
        "CHAT_STREAM_RATE_LIMIT_PER_MINUTE": "1000000",
        "CHAT_STREAM_CONCURRENT_LIMIT": "10000",
        "CHAT_TENANT_STREAM_RATE_LIMIT_PER_MINUTE": "1000000",
        "CHAT_TENANT_STREAM_CONCURRENT_LIMIT": "10000",
    }
}


@dataclass(frozen=True)
class Dialect:
    """How a system says what the model says: the events of a delta and of the end, the field of the text."""

    delta: str
    end: str
    text: str


@dataclass(frozen=True)
class System:
    """A system that runs."""

    name: str
    description: str
    dialect: Dialect
    parts: Parts
    build_request: Callable[[str], Request]


@contextmanager
def floor(folder: Path) -> Iterator[System]:
    """Run a pipe: what the model streams is passed on as it is."""
    dialect = Dialect("response.output_text.delta", "response.completed", "delta")
    with model(folder) as url, server(folder, "floor", {"MODEL_URL": url}) as (own, process):
        parts = {"services": {"floor": process.pid}}
        yield System(
            "floor", "passes bytes on", dialect, parts, lambda text: json_request(f"{own}/chat", text)
        )


@contextmanager
def bare(folder: Path) -> Iterator[System]:
    """Run FastAPI and the Agents SDK, and nothing else."""
    dialect = Dialect("message.delta", "run.completed", "delta")
    with model(folder) as url, server(folder, "bare", {"MODEL_URL": url}) as (own, process):
        parts = {"services": {"bare": process.pid}}
        description = "FastAPI and Agents SDK; no auth, no storage"
        yield System("bare", description, dialect, parts, lambda text: json_request(f"{own}/chat", text))


@contextmanager
def agno(folder: Path) -> Iterator[System]:
    """Run Agno AgentOS with its sessions in Postgres."""
    python = environments.programs("agno") / "python"
    with model(folder) as url, Postgres(folder / "postgres", durable=True) as postgres:
        database = postgres.url.replace("postgresql://", "postgresql+asyncpg://")
        variables = {"MODEL_URL": url, "DATABASE_URL": database, "AGNO_TELEMETRY": "false"}
        with server(folder, "agno_os", variables, python) as (own, process):
            parts = {"services": {"agno": process.pid}, "databases": {"postgres": postgres.pid}}
            dialect = Dialect("RunContent", "RunCompleted", "content")
            description = (
                f"{environments.REQUIREMENTS['agno'][0]}, sessions in Postgres (asyncpg); no auth, no limits"
            )
            yield System(
                "agno",
                description,
                dialect,
                parts,
                lambda text: form_request(f"{own}/agents/bench/runs", text),
            )


@contextmanager
def acme(folder: Path) -> Iterator[System]:
    """Run Acme whole."""
    # With a key in the environment, a stack asks the real model.
    os.environ.pop("OPENAI_API_KEY", None)
    with Stack(folder / "acme", settings=LIMITS) as stack:
        description = "through the gateway; auth, limits, history, run log, metering"
        dialect = Dialect("message.delta", "run.completed", "delta")
        yield System(
            "acme", description, dialect, processes_of(stack), lambda text: chat_request(stack, text)
        )


SYSTEMS = {"floor": floor, "bare": bare, "agno": agno, "acme": acme}


@contextmanager
def model(folder: Path) -> Iterator[str]:
    """Run the sandbox's model, and give its address."""
    port = free_port()
    argv = [sys.executable, "-P", "-m", "sandbox.main", "--port", str(port)]
    program = Program("model", argv, folder, environment.python_variables(), folder / "model.log")
    with running(program, f"http://{HOST}:{port}/healthz"):
        yield f"http://{HOST}:{port}/v1"


@contextmanager
def server(
    folder: Path, app: str, variables: Mapping[str, str], python: Path | str = sys.executable
) -> Iterator[tuple[str, Process]]:
    """Serve one of the apps beside this module, as lean as uvicorn can, and give its address."""
    port = free_port()
    argv = [python, "-P", "-m", "uvicorn", f"{app}:app", "--app-dir", APPS, "--port", str(port)]
    lean = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
    variables_of_app = {**environment.python_variables(), **variables}
    program = Program(app, [*argv, *lean], folder, variables_of_app, folder / f"{app}.log")
    with running(program, f"http://{HOST}:{port}/") as process:
        yield f"http://{HOST}:{port}", process


@contextmanager
def running(program: Program, ready_url: str) -> Iterator[Process]:
    """Run a program until it is not needed any more; it does not outlive us."""
    process = Process(program)
    try:
        process.wait_for(ready_url, Event())
        yield process
    finally:
        process.stop()


def json_request(url: str, text: str, *headers: str) -> Request:
    """Build a request with a JSON body."""
    return Request(url, json.dumps({"message": text}).encode(), headers=headers)


def form_request(url: str, text: str) -> Request:
    """Build a request with a form, which is what AgentOS takes; without a session, it makes a new one."""
    body = urlencode({"message": text, "stream": "true"}).encode()
    return Request(url, body, "application/x-www-form-urlencoded")


def chat_request(stack: Stack, text: str) -> Request:
    """Build a chat request of the stack's owner, with a fresh token."""
    owner = {"email": stack.owner.email, "password": stack.owner.password}
    answer = httpx.post(f"{stack.gateway_url}/api/v1/auth/token", json=owner, trust_env=False)
    token = answer.raise_for_status().json()["access_token"]
    return json_request(f"{stack.gateway_url}/api/v1/chat/stream", text, f"Authorization: Bearer {token}")


def processes_of(stack: Stack) -> Parts:
    """Return a stack's processes; the sandbox, which is the world outside, is none of them."""
    groups = {
        "services": [*stack.layout.replicas],
        "gateway": ["gateway"],
        "databases": ["postgres", "valkey"],
    }
    return {
        group: {name: pid for name in names if (pid := stack.pid(name))} for group, names in groups.items()
    }
