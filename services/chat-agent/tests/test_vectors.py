"""Recall by vectors: what is like a message, counted with the run; by words alone without the provider."""

import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from chat_agent.memory import similar, vectors
from chat_agent.settings import Settings
from fastapi import Request, Response
from sandbox.model import create_model
from testkit.databases import query
from testkit.live_server import serving

from .client_helpers import payloads_of, read_events, read_run, start_run
from .test_agent_definitions import published
from .test_memories import MEMORIES, add

Person = Callable[..., httpx.Client]
MODEL = "sandbox-embedding"


class Embeddings:
    """The sandbox's embeddings, which may be down."""

    def __init__(self) -> None:
        self.is_down = False
        self.inputs: list[list[str]] = []
        self.app = create_model()
        self.app.middleware("http")(self.record)

    async def record(self, request: Request, call_next: Any) -> Response:
        if request.url.path == "/v1/embeddings":
            if self.is_down:
                return Response(status_code=503)
            self.inputs.append(json.loads(await request.body())["input"])
        response: Response = await call_next(request)
        return response


@pytest.fixture(scope="module")
def embeddings() -> Embeddings:
    return Embeddings()


@pytest.fixture(scope="module")
def model_url(embeddings: Embeddings) -> Iterator[str]:
    with serving(embeddings.app) as url:
        yield url


@pytest.fixture(scope="module")
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"memory_embedding_model": MODEL})


@pytest.fixture(autouse=True)
def _busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for embeddings as long as a busy machine takes for them."""
    monkeypatch.setattr(similar, "TIMEOUT_SECONDS", 60.0)


@pytest.fixture
def ann(person: Person, tenant: UUID) -> httpx.Client:
    published(person(tenant, f"user:{uuid4()}", role="admin"), "friend", memory={"read": True})
    return person(tenant, f"user:{uuid4()}")


def recalled(client: httpx.Client, message: str) -> tuple[list[str], dict[str, Any]]:
    """Return the texts that a run recalled, and the run."""
    run = start_run(client, message, agent_type="friend")
    events = payloads_of(read_events(client, run), "memory.recalled")
    return [memory["text"] for event in events for memory in event["memories"]], read_run(client, run)


def test_recalls_what_is_like_the_message(
    ann: httpx.Client, embeddings: Embeddings, settings: Settings
) -> None:
    add(ann, "Weather bores me")
    like = add(ann, "I play badmingtons")
    texts, run = recalled(ann, "Badmington?")
    assert texts == [like["text"]], "no word is the same"
    assert embeddings.inputs[-1] == ["Badmington?", "I play badmingtons", "Weather bores me"]
    models = {one["model"]: one for one in run["usage"]["models"]}
    assert models[MODEL]["input_tokens"] > 0
    assert run["usage"]["input_tokens"] == sum(one["input_tokens"] for one in models.values())
    recalled(ann, "Badmington!")
    assert embeddings.inputs[-1] == ["Badmington!"], "each memory is embedded once"
    url = settings.database_url.get_secret_value()
    rows = "select embedding from memories where text = $1 and embedding_model = $2"
    assert len(query(url, rows, like["text"], MODEL)) == 1
    assert ann.delete(MEMORIES).status_code == 204
    assert query(url, rows, like["text"], MODEL) == []


def test_vectors_cost_nothing_with_a_key_of_the_tenants_own(person: Person, tenant: UUID) -> None:
    admin = person(tenant, f"user:{uuid4()}", role="admin")
    published(admin, "friend", memory={"read": True})
    admin.put("/api/v1/provider-keys/openai", json={"key": "sk-own-0123456789abcdef"}).raise_for_status()
    add(admin, "I play badmingtons")
    _, run = recalled(admin, "Badmington?")
    models = {one["model"]: one for one in run["usage"]["models"]}
    assert models[MODEL]["own_key_input_tokens"] == models[MODEL]["input_tokens"] > 0
    assert run["usage"]["cost"] == 0


def test_a_correction_is_embedded_anew(ann: httpx.Client, embeddings: Embeddings) -> None:
    old = add(ann, "I play badmingtons")
    recalled(ann, "Hello")
    ann.patch(f"{MEMORIES}/{old['id']}", json={"text": "I play tennis"})
    recalled(ann, "Hello again")
    assert embeddings.inputs[-1] == ["Hello again", "I play tennis"]


def test_recalls_by_words_while_the_provider_is_down(ann: httpx.Client, embeddings: Embeddings) -> None:
    add(ann, "I play badmington")
    embeddings.is_down = True
    try:
        texts, run = recalled(ann, "Is badmington fun?")
    finally:
        embeddings.is_down = False
    assert (texts, run["status"]) == (["I play badmington"], "completed")
    assert MODEL not in [one["model"] for one in run["usage"]["models"]]


def test_embeds_nothing_for_a_person_without_memories(ann: httpx.Client, embeddings: Embeddings) -> None:
    before = [*embeddings.inputs]
    assert recalled(ann, "Hello")[0] == []
    assert embeddings.inputs == before


def test_the_nearest_come_first_and_those_of_another_length_never() -> None:
    query = vectors.pack([1.0, 0.0])
    stored = {"far": [0.0, 1.0], "near": [1.0, 0.5], "same": [2.0, 0.0], "other": [1.0, 0.0, 0.0]}
    packed = [(name, vectors.pack(numbers)) for name, numbers in stored.items()]
    assert vectors.nearest(query, packed, 3) == ["same", "near"]
    assert vectors.nearest(query, packed, 1) == ["same"]
