"""What the tests of the chat-agent share: the service on a real socket, its other_services, and callers."""

import asyncio
import json
import threading
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID, uuid4

import httpx
import pytest
from chat_agent.main import create_app
from chat_agent.settings import Settings
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from redis import Redis
from sandbox.model import create_model
from testkit.eventually import until
from testkit.issuer import Issuer
from testkit.live_server import NO_AUTHORITIES, serving

from .billing_fake import Billing
from .recorded_model import recording_model

TENANT = uuid4()
# Of the secrets of tenants.
ENCRYPTION_KEY = urlsafe_b64encode(bytes(range(32))).decode()
# What the conversation service takes at once.
MAX_ITEMS, MAX_BYTES = 100, 7 * 1024 * 1024
ACTIVE = {"role": "member", "tenant_status": "active", "user_status": "active"}


class OtherServices:
    """The services that the chat-agent calls: a small server of this test's own, on a real socket.

    It keeps to what the pacts say; the real ones are verified against the same pacts.
    """

    def __init__(self, issuer: Issuer) -> None:
        self.items: dict[str, list[dict[str, Any]]] = {}
        # The run that has superseded an item, and the item.
        self.superseded: dict[str, list[tuple[str, dict[str, Any]]]] = {}
        # Of each conversation, the newest: as an item of its own.
        self.summaries: dict[str, dict[str, Any]] = {}
        # Whether somebody deletes an item while a summary is written.
        self.changes_before_summary = False
        self.owners: dict[str, str] = {}
        self.metadata: dict[str, Any] = {}
        # Conversations that expire.
        self.temporary: set[str] = set()
        self.attempts: dict[str, int] = {}
        self.down = False
        # Whether what agents have said and done is stored, and the request about it never answered.
        self.is_silent_about_answers = False
        # Items that are kept before the service refuses more.
        self.max_items: float = float("inf")
        # What auth says of everybody; None: that they are nobody.
        self.membership_response: dict[str, str] | None = dict(ACTIVE)
        self.auth_down = False
        self.search_down = False
        # Whose items cannot be read, and which are deleted before their items are read.
        self.failing: set[str] = set()
        self.vanishing: set[str] = set()
        self.membership_requests: list[str] = []
        self.tokens_issued = 0
        self.stored = threading.Condition()
        self.app = FastAPI()
        self.app.middleware("http")(self._fail_when_down)
        self.app.post("/internal/v1/oauth/token")(self._token(issuer))
        self.app.get("/internal/v1/conversations")(self.list_conversations)
        self.app.delete("/internal/v1/conversations")(self.delete_conversations)
        self.app.get("/internal/v1/conversations/{id}/item-page")(self.list_items)
        self.app.get("/internal/v1/conversations/{id}")(self.get_conversation)
        self.app.patch("/internal/v1/conversations/{id}")(self.replace_notes)
        self.app.get("/internal/v1/conversations/{id}/item-list")(self.list_items_from)
        self.app.post("/internal/v1/conversations/{id}/items")(self.add_items)
        self.app.get("/internal/v1/conversations/{id}/items/{item_id}")(self.get_item)
        self.app.delete("/internal/v1/conversations/{id}/items/{item_id}")(self.delete_item)
        self.app.put("/internal/v1/conversations/{id}")(self.ensure)
        self.app.delete("/internal/v1/conversations/{id}", status_code=204)(self.delete_conversation)
        self.app.get("/internal/v1/conversations/{id}/items")(self.newest)
        self.app.delete("/internal/v1/conversations/{id}/items", status_code=204)(self.clear)
        self.app.put("/internal/v1/conversations/{id}/turns/{run_id}")(self.open_turn)
        self.app.post("/internal/v1/conversations/{id}/turns/{run_id}/items")(self.append)
        self.app.delete("/internal/v1/conversations/{id}/turns/{run_id}", status_code=204)(self.delete_turn)
        self.app.get("/internal/v1/conversations/{id}/history")(self.history)
        self.app.put("/internal/v1/conversations/{id}/summaries/{item_id}")(self.store_summary)
        self.app.get("/internal/v1/search")(self.search)
        self.app.get("/internal/v1/tenants/{tenant_id}/members/{subject}")(self.membership)

    def messages(self, conversation_id: str) -> list[tuple[str, str]]:
        """Return what was said in a conversation: (role, text) of its messages."""
        data = [item["data"] for item in self.items[conversation_id]]
        return [(one["role"], text_of(one["content"])) for one in data if one.get("role")]

    def reset(self) -> None:
        """Delete everything, and answer again."""
        self.items.clear()
        self.superseded.clear()
        self.summaries.clear()
        self.changes_before_summary = False
        self.owners.clear()
        self.temporary.clear()
        self.metadata.clear()
        self.attempts.clear()
        self.membership_requests.clear()
        self.failing.clear()
        self.vanishing.clear()
        self.max_items = float("inf")
        self.membership_response = dict(ACTIVE)
        self.is_silent_about_answers = False
        self.down = self.auth_down = self.search_down = False

    async def _fail_when_down(self, request: Request, call_next: Any) -> Response:
        if self.down:
            return Response(status_code=503)
        answer: Response = await call_next(request)
        return answer

    def _token(self, issuer: Issuer) -> Any:
        async def token(request: Request) -> dict[str, Any]:
            form = {name: value for name, (value,) in parse_qs((await request.body()).decode()).items()}
            self.tokens_issued += 1
            token = issuer.service_token(form["client_id"], audience=form["audience"], scope=form["scope"])
            return {"access_token": token, "token_type": "Bearer", "expires_in": 600, "scope": form["scope"]}

        return token

    async def ensure(self, id: str, request: Request, response: Response) -> dict[str, Any]:
        owner = self.owners.setdefault(id, request.headers["acme-on-behalf-of"])
        if owner != request.headers["acme-on-behalf-of"]:
            response.status_code = 404
        self.items.setdefault(id, [])
        if await request.body() and "metadata" in (body := await request.json()):
            self.metadata[id] = body["metadata"]
        return self.noted(id)

    def owned(self, request: Request) -> list[str]:
        """Return the ids of somebody's conversations."""
        caller = request.headers["acme-on-behalf-of"]
        return [id for id, owner in self.owners.items() if owner == caller and id in self.items]

    async def list_conversations(self, request: Request, cursor: int = 0) -> dict[str, Any]:
        ids = self.owned(request)
        page = [{"conversation_id": id} for id in ids[cursor : cursor + 1]]
        return {"items": page, "next_cursor": str(cursor + 1) if cursor + 1 < len(ids) else None}

    async def delete_conversations(self, request: Request) -> dict[str, int]:
        batch = self.owned(request)[:1]
        for id in batch:
            del self.items[id]
        return {"deleted": len(batch)}

    def noted(self, id: str) -> dict[str, Any]:
        return {
            "conversation_id": id,
            "created_at": "2026-01-02T03:04:05Z",
            "metadata": self.metadata.get(id, {}),
        }

    async def get_conversation(self, id: str, request: Request) -> Any:
        return self.noted(id) if id in self.owned(request) else Response(status_code=404)

    async def replace_notes(self, id: str, request: Request) -> Any:
        if id not in self.owned(request):
            return Response(status_code=404)
        self.metadata[id] = (await request.json())["metadata"]
        return self.noted(id)

    async def add_items(self, id: str, request: Request) -> Any:
        if id not in self.owned(request):
            return Response(status_code=404)
        self.items[id] += (await request.json())["items"]
        return {"items": []}

    async def list_items_from(
        self, id: str, request: Request, order: str, limit: int, after: str = ""
    ) -> Any:
        if id not in self.owned(request):
            return Response(status_code=404)
        items = self.items[id] if order == "asc" else self.items[id][::-1]
        ids = [item["id"] for item in items]
        if after and after not in ids:
            return JSONResponse({"code": "item_not_found"}, 404)
        rest = items[ids.index(after) + 1 :] if after else items
        return {"items": rest[:limit], "next_cursor": "-" if len(rest) > limit else None}

    async def get_item(self, id: str, item_id: str, request: Request) -> Any:
        if id not in self.owned(request):
            return Response(status_code=404)
        found = [item for item in self.items[id] if item["id"] == item_id]
        return found[0] if found else JSONResponse({"code": "item_not_found"}, 404)

    async def delete_item(self, id: str, item_id: str, request: Request) -> Any:
        found = await self.get_item(id, item_id, request)
        if isinstance(found, Response):
            return found
        self.items[id].remove(found)
        return Response(status_code=204)

    async def delete_conversation(self, id: str, request: Request) -> Response:
        if id not in self.owned(request):
            return Response(status_code=404)
        with self.stored:
            del self.items[id]
            self.temporary.discard(id)
            self.stored.notify_all()
        return Response(status_code=204)

    async def list_items(self, id: str, request: Request) -> Any:
        if id in self.failing:
            return Response(status_code=503)
        is_there = id in self.owned(request) and id not in self.vanishing
        return {"items": self.items[id]} if is_there else Response(status_code=404)

    async def newest(
        self, id: str, last: int = 200, until_run: str | None = None, superseded_by: str = ""
    ) -> Any:
        # A run of the test before may still ask for what was forgotten with that test.
        if id not in self.items:
            return Response(status_code=404)
        superseded = [item for by, item in self.superseded.get(id, ()) if by == superseded_by]
        items = sorted((*superseded, *self.items[id]), key=position_of)
        if until_run is not None:
            own = [number for number, item in enumerate(items, 1) if item["id"].startswith(f"{until_run}-")]
            items = items[: max(own, default=0)]
        return {"items": items[-last:]}

    def supersede(self, id: str, run_id: str, after: int) -> None:
        """Move the items of other runs after a position to those that are superseded."""
        others = [
            item for item in self.items[id] if position_of(item) > after and not item["id"].startswith(run_id)
        ]
        self.superseded.setdefault(id, []).extend((run_id, item) for item in others)
        self.items[id] = [item for item in self.items[id] if item not in others]

    def refusal_of(self, run_id: str, attempt: int) -> Response | None:
        """Refuse an attempt of a run when a newer one was here, and remember this one else."""
        if attempt < self.attempts.setdefault(run_id, attempt):
            return JSONResponse({"code": "turn_superseded"}, 409)
        self.attempts[run_id] = attempt
        return None

    async def append(self, id: str, run_id: str, request: Request) -> Any:
        body = await request.json()
        if id not in self.items:
            return Response(status_code=404)
        if refusal := self.refusal_of(run_id, body["attempt"]):
            return refusal
        if len(body["items"]) > MAX_ITEMS or len(await request.body()) > MAX_BYTES:
            return JSONResponse({"code": "payload_too_large"}, 413)
        known = {item["id"]: item["data"] for item in self.items[id]}
        if any(known.get(item["id"], item["data"]) != item["data"] for item in body["items"]):
            return JSONResponse({"code": "item_conflict"}, 409)
        new = [item for item in body["items"] if item["id"] not in known]
        if len(self.items[id]) + len(new) > self.max_items:
            detail = "This conversation has 5 items, as many as it may have. Begin a new conversation."
            return JSONResponse({"code": "conversation_limit_reached", "detail": detail}, 409)
        superseded = [item for _, item in self.superseded.get(id, ())]
        summary = [self.summaries[id]] if id in self.summaries else []
        first = max(map(position_of, (*self.items[id], *superseded, *summary)), default=0) + 1
        new = [{**item, "position": number} for number, item in enumerate(new, first)]
        with self.stored:
            self.items[id] += new
            self.stored.notify_all()
        is_answer = any(item["data"].get("role") != "user" for item in new)
        while is_answer and self.is_silent_about_answers:  # noqa: ASYNC110  # another thread ends it
            await asyncio.sleep(0.02)
        return {"items": new}

    async def open_turn(self, id: str, run_id: str, request: Request, response: Response) -> Any:
        is_new = id not in self.items
        await self.ensure(id, request, response)
        body = await request.json()
        if is_new and "expires_at" in body:
            self.temporary.add(id)
        elif "expires_at" not in body:
            self.temporary.discard(id)
        if not all(item["id"].startswith(f"{run_id}-") for item in body["items"]):
            response.status_code = 422
        if response.status_code:
            return {}
        if body.get("supersedes_after") is not None:
            self.supersede(id, run_id, body["supersedes_after"])
        added = await self.append(id, run_id, request)
        if isinstance(added, Response):
            return added
        return await (self.history if body.get("compacted") else self.newest)(id, body["last"])

    async def history(self, id: str, last: int = 200) -> Any:
        if id not in self.items:
            return Response(status_code=404)
        summary = self.summaries.get(id)
        until = summary["summarizes"]["last_position"] if summary else 0
        items = [item for item in self.items[id] if position_of(item) > until]
        return {"items": [*([summary] if summary else []), *items[-last:]]}

    async def store_summary(self, id: str, item_id: str, request: Request) -> Any:
        new, current = await request.json(), self.summaries.get(id)
        if id not in self.owned(request):
            return Response(status_code=404)
        if self.changes_before_summary:
            self.items[id].pop(0)
        until = current["summarizes"]["last_position"] if current else 0
        first, last = max(new["first_position"], until + 1), new["last_position"]
        items = [item for item in self.items[id] if first <= position_of(item) <= last]
        if (current and current["id"]) != new.get("replaces") or len(items) != new["item_count"]:
            return JSONResponse({"code": "history_changed"}, 409)
        with self.stored:
            self.summaries[id] = {
                "id": item_id,
                "position": max(map(position_of, self.items[id])) + 1,
                "kind": "summary",
                "data": {"type": "summary", "text": new["text"]},
                "summarizes": {name: new[name] for name in ("first_position", "last_position")},
            }
            self.stored.notify_all()
        return self.summaries[id]

    async def delete_turn(self, id: str, run_id: str, attempt: int) -> Response:
        if id not in self.items:
            return Response(status_code=404)
        if refusal := self.refusal_of(run_id, attempt):
            return refusal
        with self.stored:
            remaining = [item for item in self.items[id] if not item["id"].startswith(f"{run_id}-")]
            self.items[id] = remaining
            self.stored.notify_all()
        return Response(status_code=204)

    async def clear(self, id: str, request: Request, response: Response) -> None:
        if self.owners.get(id) != request.headers["acme-on-behalf-of"]:
            response.status_code = 404
            return
        with self.stored:
            self.items[id] = []
            self.stored.notify_all()

    async def membership(self, tenant_id: str, subject: str, request: Request, response: Response) -> Any:
        self.membership_requests.append(f"{tenant_id}/{subject}")
        if self.auth_down:
            response.status_code = 503
        elif (
            self.membership_response is None
            or request.headers["acme-on-behalf-of"] != self.membership_requests[-1]
        ):
            response.status_code = 404
        else:
            return {"subject": subject, "tenant_id": tenant_id, **self.membership_response}
        return {}

    async def search(self, query: str, request: Request) -> Any:
        if self.search_down:
            return Response(status_code=503)
        return {
            "items": [
                {
                    "conversation_id": id,
                    "role": "user",
                    "snippet": text,
                    "created_at": "2026-01-02T03:04:05Z",
                }
                for id in self.items
                if self.owners.get(id) == request.headers["acme-on-behalf-of"] and id not in self.temporary
                for role, text in self.messages(id)
                if any(word in text for word in query.split()) and role == "user"
            ]
        }


def position_of(item: dict[str, Any]) -> int:
    """Return where an item is stored; 0 for one that a test has put there."""
    return int(item.get("position", 0))


def text_of(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


@pytest.fixture(scope="module")
def other_services(issuer: Issuer) -> OtherServices:
    return OtherServices(issuer)


@pytest.fixture(scope="module")
def model_calls() -> list[dict[str, Any]]:
    """Return the requests that `recorded_model_url` has received."""
    return []


@pytest.fixture(scope="module")
def recorded_model_url(model_calls: list[dict[str, Any]]) -> Iterator[str]:
    """Serve a model whose requests are recorded, for a module that returns this as its `model_url`."""
    with recording_model(model_calls) as url:
        yield url


@pytest.fixture(scope="module")
def model_url() -> Iterator[str]:
    with serving(create_model()) as url:
        yield url


@pytest.fixture(scope="module")
def billing() -> Billing:
    return Billing()


@pytest.fixture
def reset_billing(billing: Billing) -> Iterator[None]:
    """Delete, after a test, its reservations and limits."""
    yield
    billing.reset()


@pytest.fixture(scope="module")
def settings(
    migrated: Callable[[str], str],
    common_settings: dict[str, Any],
    other_services: OtherServices,
    model_url: str,
) -> Iterator[Settings]:
    with serving(other_services.app) as other_services_url:
        yield Settings(
            **common_settings,
            database_url=migrated("chat-agent"),
            auth_internal_url=other_services_url,
            service_client_secret="a-secret-of-this-test",
            conversation_internal_url=other_services_url,
            openai_api_key="sk-sandbox",
            tenant_secrets_encryption_key=ENCRYPTION_KEY,
            openai_base_url=f"{model_url}/v1",
            agent_model_default="sandbox-large",
            model_max_retries=1,
            model_connect_timeout_seconds=60,
            billing_timeout_seconds=60,
            conversation_timeout_seconds=6,
            auth_timeout_seconds=6,
            chat_stream_concurrent_limit=3,
            run_max_turns=6,
        )


@pytest.fixture(scope="module")
def app(settings: Settings) -> FastAPI:
    return create_app(settings)


@pytest.fixture(scope="module")
def url(app: FastAPI) -> Iterator[str]:
    with serving(app) as url:
        yield url


@pytest.fixture(scope="module")
def other_url(settings: Settings) -> Iterator[str]:
    """Return a second replica of the service, on the same database and Redis."""
    with serving(create_app(settings)) as url:
        yield url


@pytest.fixture(autouse=True)
def _reset(other_services: OtherServices) -> Iterator[None]:
    yield
    other_services.reset()


@pytest.fixture
def person(url: str, issuer: Issuer) -> Iterator[Callable[..., httpx.Client]]:
    """Return a client of somebody, or of the one whose tenant and subject are given."""
    clients: list[httpx.Client] = []

    def client_for(
        tenant_id: UUID = TENANT, subject: str | None = None, role: str = "member"
    ) -> httpx.Client:
        kind, _, name = (subject or "").partition(":")
        machine = {"client_id": name} if kind == "service" else {}
        token = issuer.token(tenant_id=tenant_id, subject=subject, role=role, **machine)
        clients.append(
            httpx.Client(
                base_url=url,
                headers={"Authorization": f"Bearer {token}"},
                timeout=60,
                verify=NO_AUTHORITIES,
                # Threads share it, and one may close as expired what another was just about to use again.
                limits=httpx.Limits(max_keepalive_connections=0),
            )
        )
        return clients[-1]

    yield client_for
    for one in clients:
        one.close()


@pytest.fixture
def tenant() -> UUID:
    """Return a tenant that no other test has."""
    return uuid4()


@pytest.fixture
def admin(person: Callable[..., httpx.Client], tenant: UUID) -> httpx.Client:
    return person(tenant, f"user:{uuid4()}", role="admin")


@pytest.fixture
def member(person: Callable[..., httpx.Client], tenant: UUID) -> httpx.Client:
    return person(tenant, f"user:{uuid4()}")


@pytest.fixture
def ann(person: Callable[..., httpx.Client]) -> httpx.Client:
    return person()


@pytest.fixture
def resume_model(model_url: str) -> Iterator[Callable[[], None]]:
    """Return a function that waits until `pause-after` has paused the model, and lets it go on."""
    with httpx.Client(base_url=f"{model_url}/_sandbox", verify=NO_AUTHORITIES, timeout=60) as model:

        def is_paused() -> bool:
            calls = model.get("/calls").json()
            return any(call["is_paused"] and call["status"] == "streaming" for call in calls)

        def resume() -> None:
            until(is_paused)
            model.post("/resume").raise_for_status()

        yield resume


@pytest.fixture
def completed_events(redis_url: str) -> Callable[[str], list[dict[str, Any]]]:
    """Read the `chat.run.completed.v1` events of a run from the bus.

    Other tests' runs are on it too, and a relay that finds the stream lost sends its last events again:
    these are the events of one run, and each of them once.
    """

    def read(run_id: str) -> list[dict[str, Any]]:
        with Redis.from_url(redis_url) as redis:
            entries = [fields for _, fields in redis.xrange("events:chat-agent")]
        completed = [entry for entry in entries if entry[b"type"] == b"chat.run.completed.v1"]
        events = {entry[b"id"]: json.loads(entry[b"data"]) for entry in completed}
        return [event for event in events.values() if event["run_id"] == run_id]

    return read
