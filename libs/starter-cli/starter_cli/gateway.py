"""Acme as its clients see it: signing in, talking to an agent, reading what was stored and counted."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Self

import httpx
from servicekit.validation_errors import parameter_name

from starter_cli import events
from starter_cli.events import RunEvent
from starter_cli.owner import Owner

# A model may think for a while between two events; a comment comes every five seconds.
TIMEOUT = httpx.Timeout(60, connect=5)
ERROR_NUMBER = re.compile(r"^\[Errno -?\d+\] ")


class UnexpectedResponse(Exception):
    """An answer that is not the one hoped for; the message is a sentence."""


def unreachable(url: str, error: httpx.HTTPError | httpx.InvalidURL) -> str:
    """Return why a gateway cannot be reached, and what to do."""
    if isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL):
        return f"{url} is not an address; write one like https://api.example.com"
    reason = ERROR_NUMBER.sub("", str(error)) or "no answer in time"
    return f"{url} does not answer: {reason}. Check the address, and that Acme runs there"


class GatewayClient:
    """A client of the gateway, signed in as one person."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=TIMEOUT, trust_env=False)
        self.tenant_id = ""
        self._refresh_token = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._sign_out()
        self._http.close()

    def sign_in(self, owner: Owner) -> None:
        """Get an access token, and use it from now on."""
        session = self._json(
            "POST", "/api/v1/auth/token", json={"email": owner.email, "password": owner.password}
        )
        self._http.headers["Authorization"] = f"Bearer {session['access_token']}"
        self.tenant_id, self._refresh_token = session["tenant_id"], session.get("refresh_token", "")

    def _sign_out(self) -> None:
        """End the session, if there is one: of too many, the person's oldest would end."""
        if self._refresh_token:
            with suppress(httpx.HTTPError):
                self._http.post("/api/v1/auth/logout", json={"refresh_token": self._refresh_token})

    def use_token(self, token: str) -> None:
        """Use a token or an API key from now on."""
        self._http.headers["Authorization"] = f"Bearer {token}"

    @contextmanager
    def chat(self, message: str) -> Iterator[Iterator[RunEvent]]:
        """Send a message to the triage agent, and yield the run's events as they come."""
        with self._http.stream("POST", "/api/v1/chat/stream", json={"message": message}) as response:
            if response.status_code != httpx.codes.OK:
                response.read()
                raise UnexpectedResponse(describe(response))
            yield events.read(response)

    def conversation(self, conversation_id: str) -> dict[str, Any]:
        """Read a conversation with its messages."""
        return self._json("GET", f"/api/v1/conversations/{conversation_id}")

    def usage(self) -> dict[str, Any]:
        """Read what the tenant used this month, in all."""
        totals: dict[str, Any] = self._json("GET", f"/api/v1/billing/tenants/{self.tenant_id}/usage")[
            "totals"
        ]
        return totals

    def entitlements(self) -> dict[str, Any]:
        """Read the tenant's plan, and what of it is used."""
        return self._json("GET", f"/api/v1/billing/tenants/{self.tenant_id}/entitlements")

    def issue_credential(self, payload: str, signature: str) -> dict[str, Any]:
        """Issue a service account's credential for a signed payload in base64."""
        body = {"payload_b64": payload, "signature": signature}
        return self._json("POST", "/api/v1/auth/service-accounts/issue", json=body)

    def own_agents(self) -> list[str]:
        """List the names of the tenant's agents that answer, with those that only other agents reach."""
        agents = content_of(self._http.get("/api/v1/agents", params={"include_internal": True}))
        return [agent["name"] for agent in agents if agent["source"] == "tenant"]

    def agent_definition(self, name: str) -> dict[str, Any] | None:
        """Return the definition of the tenant's agent that answers; none where there is no such agent."""
        response = self._http.get(f"/api/v1/agents/{name}")
        if response.status_code == httpx.codes.NOT_FOUND:
            return None
        stable = content_of(response)["stable"]
        if stable is None:
            return None
        version = self._json("GET", f"/api/v1/agents/{name}/versions/{stable['version']}")
        definition: dict[str, Any] = version["definition"]
        return definition

    def apply_agents(
        self, agents: Sequence[dict[str, Any]], delete: Sequence[str] = (), plan: str | None = None
    ) -> dict[str, Any]:
        """Plan to publish and delete agents, or with the digest of a plan do it."""
        request = {"agents": [*agents], "delete": [*delete], "dry_run": plan is None, "plan": plan}
        return self._json("POST", "/api/v1/agents/apply", json=request)

    def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        body: dict[str, Any] = content_of(self._http.request(method, path, **options))
        return body


def content_of(response: httpx.Response) -> Any:
    """Return the JSON of a successful response; raises UnexpectedResponse."""
    if not response.is_success:
        raise UnexpectedResponse(describe(response))
    return response.json()


def describe(response: httpx.Response) -> str:
    """Describe an unexpected response in a sentence, or in a line for each invalid place of the request."""
    request = response.request
    start = f"{request.method} {request.url.path} answered {response.status_code}"
    if not response.headers.get("content-type", "").startswith("application/problem+json"):
        return f"{start}: {response.text[:300]}"
    problem = response.json()
    lines = [f"{one['path']}: {one['message']}" for one in problem.get("problems", [])]
    lines += [f"{parameter_name(one['loc'])}: {one['msg']}" for one in problem.get("errors", [])]
    return "\n  ".join([f"{start}:", *lines]) if lines else f"{start}: {problem['detail']}"
