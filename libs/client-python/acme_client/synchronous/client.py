# Written from acme_client/client.py by scripts/synchronous_client.py: change it there.
"""The client itself."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, Self, Unpack
from urllib.parse import quote
from uuid import uuid4

import httpx

from acme_client.events import RunEvent
from acme_client.schemas import (
    Conversation,
    ConversationDetail,
    ConversationPage,
    MessageOptions,
    Run,
    RunDetail,
    RunSummaryPage,
)
from acme_client.synchronous.credentials import AccessToken, Credentials, Password
from acme_client.synchronous.responses import check
from acme_client.synchronous.stream import Connection, read_run

TIMEOUT_SECONDS = 60


class AcmeClient:
    """A client of Acme: requests with a token, and runs as streams of events that resume."""

    def __init__(
        self, base_url: str, credentials: Credentials | str, *, http: httpx.Client | None = None
    ) -> None:
        """Connect to a gateway with an API key or other credentials; closing closes `http`, too."""
        self._base_url = base_url.rstrip("/")
        self._credentials = AccessToken(credentials) if isinstance(credentials, str) else credentials
        # A stream says every five seconds that it is alive.
        self._http = http or httpx.Client(timeout=TIMEOUT_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def sign_out(self) -> None:
        """End the session of a person's password; other credentials have none. Raises ApiError."""
        if isinstance(self._credentials, Password):
            self._credentials.sign_out(self._http, self._base_url)

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def stream(self, message: str, **options: Unpack[MessageOptions]) -> Generator[RunEvent, None, None]:
        """Send a message, and yield the events of its run until it ends or waits for an approval."""
        body = {"message": message, **options}
        # A request that is repeated returns the run that the first one has started.
        headers = {"Idempotency-Key": str(uuid4())}
        return read_run(
            lambda: self.request("POST", "/api/v1/chat/stream", json=body, headers=headers), self._resume
        )

    def follow(self, run_id: str, after: int = 0) -> Generator[RunEvent, None, None]:
        """Yield the events of a run after a number, until it ends or waits for an approval."""
        return read_run(lambda: self._resume(run_id, after), self._resume, run_id, after)

    def cancel(self, run_id: str) -> Run:
        """Stop a run; its partial answer is stored."""
        run: Run = self._json("POST", f"{run_path(run_id)}/cancel")
        return run

    def answer_approval(
        self, run_id: str, approval_id: str, *, approve: bool, reason: str | None = None
    ) -> Run:
        """Allow or refuse a tool call; after the last decision `follow` continues the run."""
        path = f"{run_path(run_id)}/approvals/{quote(approval_id, safe='')}"
        run: Run = self._json("POST", path, json={"approve": approve, "reason": reason})
        return run

    def run(self, run_id: str) -> RunDetail:
        """Return a run with its approvals."""
        run: RunDetail = self._json("GET", run_path(run_id))
        return run

    def runs(self, **filters: str | int) -> RunSummaryPage:
        """List runs, the newest first; filters are those of the route, such as `conversation_id`."""
        page: RunSummaryPage = self._json("GET", "/api/v1/runs", params=filters)
        return page

    def conversations(self, limit: int = 20, cursor: str | None = None) -> ConversationPage:
        """List conversations, the most recently updated first."""
        params = {"limit": limit, **({"cursor": cursor} if cursor else {})}
        page: ConversationPage = self._json("GET", "/api/v1/conversations", params=params)
        return page

    def conversation(self, conversation_id: str) -> ConversationDetail:
        """Return a conversation with its newest messages."""
        conversation: ConversationDetail = self._json("GET", conversation_path(conversation_id))
        return conversation

    def rename_conversation(self, conversation_id: str, title: str) -> Conversation:
        """Change the title of a conversation; its place in the list stays."""
        path = conversation_path(conversation_id)
        conversation: Conversation = self._json("PATCH", path, json={"title": title})
        return conversation

    @contextmanager
    def request(self, method: str, path: str, **options: Any) -> Iterator[httpx.Response]:
        """Open the response of any route, with a token; raises ApiError, and httpx's TransportError."""
        headers = options.pop("headers", {})
        url = self._base_url + path
        token, is_renewed = self._access_token(), False
        while True:
            headers = {**headers, "Authorization": f"Bearer {token}"}
            with self._http.stream(method, url, headers=headers, **options) as response:
                refused = token
                if response.status_code == httpx.codes.UNAUTHORIZED and not is_renewed:
                    token, is_renewed = self._access_token(refused), True
                if token == refused:
                    check(response)
                    yield response
                    return

    def _access_token(self, refused: str = "") -> str:
        return self._credentials.access_token(self._http, self._base_url, refused)

    def _resume(self, run_id: str, after: int) -> Connection:
        return self.request("GET", f"{run_path(run_id)}/events", headers={"Last-Event-ID": str(after)})

    def _json(self, method: str, path: str, **options: Any) -> Any:
        with self.request(method, path, **options) as response:
            response.read()
            return response.json()


def run_path(run_id: str) -> str:
    """Return the path of a run."""
    return f"/api/v1/runs/{quote(run_id, safe='')}"


def conversation_path(conversation_id: str) -> str:
    """Return the path of a conversation."""
    return f"/api/v1/conversations/{quote(conversation_id, safe='')}"
