"""A tenant's own keys of providers: used in place of the installation's, and never returned."""

import asyncio
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from chat_agent.main import create_app
from chat_agent.model import own_clients
from chat_agent.provider_keys import lookup
from chat_agent.provider_keys import store as provider_keys
from chat_agent.provider_keys.keys import OWN_KEYS, OwnKey
from chat_agent.provider_keys.resolver import PublicResolver
from chat_agent.provider_keys.schemas import NewProviderKey
from chat_agent.settings import Settings
from chat_agent.tenant_secrets.rotation import SecretReencryption
from pydantic import SecretStr
from sandbox.model import create_model
from servicekit.database import Database
from starlette.types import Receive, Scope, Send
from testkit.eventually import until
from testkit.live_server import NO_AUTHORITIES, serving

from .client_helpers import error_of, everything_stored
from .provider_asker import provider_of

PATH = "/api/v1/provider-keys"
OWN, NEXT, REFUSED = "sk-tenants-own-0123-wxyz", "sk-tenants-next-0123-abcd", "sk-invalid-0123456789"
KEY_HEADERS = (b"authorization", b"x-api-key", b"x-goog-api-key")
MODELS: dict[str, Any] = {
    "openai/sandbox-large": {"tenants": ["*"]},
    "anthropic/sandbox-large": {"tenants": ["*"]},
    "gemini/sandbox-large": {"tenants": ["*"]},
    "acme/embed": {"tenants": ["*"], "endpoints": ["embeddings"], "provider_name": "sandbox-embedding"},
    "acme/moderate": {
        "tenants": ["*"],
        "endpoints": ["moderations"],
        "provider_name": "sandbox-moderation",
    },
}


class Recorder:
    """A sandbox of all providers that records the keys of calls."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.refused: set[str] = set()
        self._app = create_model()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        for name, value in scope.get("headers", ()):
            if name in KEY_HEADERS:
                self.keys.append(value.decode().removeprefix("Bearer "))
                if self.keys[-1] in self.refused:
                    await send({"type": "http.response.start", "status": 403, "headers": []})
                    await send({"type": "http.response.body", "body": b"{}"})
                    return
        await self._app(scope, receive, send)

    def new(self) -> list[str]:
        """Return the keys of the calls since the last time."""
        keys, self.keys = self.keys, []
        return keys


@pytest.fixture(scope="module")
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(scope="module")
def provider_url(recorder: Recorder) -> Iterator[str]:
    with serving(recorder) as url:
        yield url


@pytest.fixture(scope="module")
def own_settings(settings: Settings, provider_url: str) -> Settings:
    changes = {
        "openai_base_url": f"{provider_url}/v1",
        "anthropic_base_url": provider_url,
        "gemini_base_url": provider_url,
        "openai_api_key": "sk-installation",
        "anthropic_api_key": "sk-ant-sandbox",
        "gemini_api_key": "gm-sandbox",
        "direct_models": MODELS,
        "model_fallbacks": {"*": ["anthropic/sandbox-large"]},
        "model_prices": {"sandbox-large": {"input": 1_000_000, "cached": 1, "output": 1_000_000}},
        "model_max_retries": 0,
        "tool_private_hosts": [provider_url.removeprefix("http://")],
    }
    return Settings.model_validate({**settings.model_dump(), **changes})


@pytest.fixture(scope="module")
def own_url(own_settings: Settings) -> Iterator[str]:
    with serving(create_app(own_settings)) as url:
        yield url


@pytest.fixture
def member(own_url: str, issuer: Any, recorder: Recorder) -> Iterator[Callable[..., httpx.Client]]:
    """Return a function that builds a client of a member of a tenant, at the service with these settings."""
    opened: list[httpx.Client] = []

    def build(tenant_id: UUID | None = None, role: str = "admin", at: str = own_url) -> httpx.Client:
        headers = {"Authorization": f"Bearer {issuer.token(tenant_id=tenant_id or uuid4(), role=role)}"}
        opened.append(httpx.Client(base_url=at, headers=headers, timeout=60, verify=NO_AUTHORITIES))
        return opened[-1]

    recorder.new()
    yield build
    recorder.refused.clear()
    for one in opened:
        one.close()


def put(client: httpx.Client, key: str = OWN, provider: str = "openai", **more: Any) -> httpx.Response:
    return client.put(f"{PATH}/{provider}", json={"key": key, **more})


def chat(client: httpx.Client, agent: str = "triage", message: str = "Hello") -> httpx.Response:
    return client.post("/api/v1/chat", json={"message": message, "agent_type": agent})


def newest_run(client: httpx.Client) -> dict[str, Any]:
    run: dict[str, Any] = client.get("/api/v1/runs").json()["items"][0]
    return run


def test_calls_of_a_tenant_use_its_own_key(member: Any, recorder: Recorder) -> None:
    admin, other = member(), member()
    assert put(admin).status_code == 200
    assert [chat(admin).status_code, chat(other).status_code] == [200, 200]
    assert recorder.new() == [OWN, "sk-installation"]
    assert chat(admin, "openai/sandbox-large").status_code == 200
    for path, body in (
        ("/v1/embeddings", {"model": "acme/embed", "input": "Hello"}),
        ("/v1/moderations", {"model": "acme/moderate", "input": "Hello"}),
    ):
        answer = admin.post(path, json=body)
        assert answer.status_code == 200, answer.text
    assert recorder.new() == [OWN] * 3


def test_keys_of_other_providers_and_fallbacks(member: Any, recorder: Recorder) -> None:
    admin = member()
    put(admin, "sk-ant-tenants-own-sandbox", "anthropic")
    assert chat(admin, "anthropic/sandbox-large").status_code == 200
    assert chat(admin, "gemini/sandbox-large").status_code == 200
    assert recorder.new() == ["sk-ant-tenants-own-sandbox", "gm-sandbox"]
    answer = chat(admin, message="Hello [sandbox: error=503]")
    assert recorder.new() == ["sk-installation", "sk-ant-tenants-own-sandbox"], answer.text


def test_a_new_key_counts_at_once(member: Any, recorder: Recorder) -> None:
    admin = member()
    for key in (OWN, NEXT):
        put(admin, key)
        chat(admin)
    assert admin.delete(f"{PATH}/openai").status_code == 204
    chat(admin)
    assert recorder.new() == [OWN, NEXT, "sk-installation"]
    assert error_of(admin.get(f"{PATH}/openai")) == (404, "provider_key_not_found")
    assert error_of(admin.delete(f"{PATH}/openai")) == (404, "provider_key_not_found")


def test_another_replica_reads_a_new_key_soon(
    member: Any, own_settings: Settings, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "CACHE_SECONDS", 0.05)
    tenant_id = uuid4()
    with serving(create_app(own_settings)) as url:
        here, there = member(tenant_id), member(tenant_id, at=url)
        chat(there)
        put(here)

        def key_there() -> bool:
            recorder.new()
            chat(there)
            return recorder.new() == [OWN]

        until(key_there)


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_refused_fails_the_run(member: Any, recorder: Recorder, status: int) -> None:
    admin = member()
    key = REFUSED if status == 401 else OWN
    recorder.refused = {OWN}
    put(admin, key)
    answer = chat(admin)
    assert error_of(answer) == (502, "provider_key_refused")
    assert "admin" in answer.json()["detail"]
    assert key not in answer.text
    embedding = admin.post("/v1/embeddings", json={"model": "acme/embed", "input": "Hello"})
    assert (embedding.status_code, embedding.json()["error"]["code"]) == (502, "provider_key_refused")
    assert recorder.new() == [key] * 2
    [run] = admin.get("/api/v1/runs").json()["items"]
    assert (run["status"], run["error_code"]) == ("failed", "provider_key_refused")


def test_what_an_own_key_uses_is_counted_and_not_charged(
    member: Any, completed_events: Any, recorder: Recorder
) -> None:
    admin = member()
    chat(admin)
    charged = newest_run(admin)
    put(admin)
    chat(admin)
    run = newest_run(admin)
    assert recorder.new() == ["sk-installation", OWN]
    assert charged["usage"]["cost"] > 0
    assert "own_key_input_tokens" not in charged["usage"]
    usage = run["usage"]
    assert usage["cost"] == 0
    assert (usage["own_key_input_tokens"], usage["own_key_output_tokens"]) == (
        usage["input_tokens"],
        usage["output_tokens"],
    )
    [event] = until(lambda: completed_events(run["id"]))
    assert event["usage"][0]["own_key_output_tokens"] == event["usage"][0]["output_tokens"] > 0
    assert event["usage"][0]["cost"] == 0


def test_a_key_is_never_returned(member: Any, own_settings: Settings, recorder: Recorder) -> None:
    admin, tenant = member(), uuid4()
    stored = put(admin)
    read = admin.get(f"{PATH}/openai")
    assert read.json() == stored.json()
    assert (read.json()["hint"], read.json()["provider"], read.json()["base_url"]) == ("wxyz", "openai", None)
    assert read.json()["updated_by"].startswith("user:")
    assert put(admin, "sk-short-key").json()["hint"] == ""
    put(admin)
    chat(admin)
    admin.post("/api/v1/chat/stream", json={"message": "Hello"})
    recorder.refused = {OWN}
    failed = chat(admin)
    assert OWN not in stored.text + read.text + failed.text + admin.get("/api/v1/runs").text
    assert OWN not in everything_stored(own_settings)
    assert error_of(member(tenant).get(f"{PATH}/openai")) == (404, "provider_key_not_found")
    for colleague in (member(role="member"), member(role="viewer")):
        assert {put(colleague).status_code, colleague.get(f"{PATH}/openai").status_code} == {403}


def test_a_key_is_in_no_log_and_no_trace(
    own_settings: Settings, member: Any, recorder: Recorder, captured_telemetry: Any
) -> None:
    changed = {**own_settings.model_dump(), **captured_telemetry.settings}
    with serving(create_app(Settings.model_validate(changed))) as url:
        admin = member(at=url)
        put(admin)
        put(admin, f"{OWN} ")
        chat(admin)
        put(admin, REFUSED)
        chat(admin)
    assert recorder.new() == [OWN, REFUSED]
    assert captured_telemetry.leaks(OWN, REFUSED) == []


@pytest.mark.parametrize(
    ("provider", "body"),
    [
        ("openai", {"key": "tiny-1"}),
        ("openai", {"key": "has a space in it"}),
        ("openai", {"key": "has-a-line-break\r\nX-Other: 1"}),
        ("openai", {"key": "x" * 501}),
        ("openai", {"key": "ключ-openai"}),
        ("openai", {}),
        ("mistral", {"key": OWN}),
    ],
)
def test_what_is_no_key_is_refused(member: Any, provider: str, body: dict[str, Any]) -> None:
    answer = member().put(f"{PATH}/{provider}", json=body)
    assert answer.status_code == 422
    assert not body.get("key") or body["key"] not in answer.text
    # Of a secret the length is that of a text.
    assert " items" not in answer.text


@pytest.mark.parametrize("url", ["https://93.184.216.34/v1?key=1", "https://93.184.216.34/v1#key"])
def test_an_address_to_which_no_path_can_be_added_is_refused(member: Any, url: str) -> None:
    assert error_of(put(member(), base_url=url)) == (400, "invalid_base_url")


def test_a_server_of_the_tenants_own_is_called(member: Any, provider_url: str, recorder: Recorder) -> None:
    admin = member()
    stored = put(admin, base_url=f"{provider_url}/v1")
    assert stored.json()["base_url"] == f"{provider_url}/v1"
    assert admin.get(f"{PATH}/openai").json() == stored.json()
    assert chat(admin).status_code == 200
    assert recorder.new() == [OWN]


@pytest.mark.parametrize("host", ["localhost", "metadata.google.internal", "127.1"])
async def test_a_name_that_leads_elsewhere_is_not_connected_to(host: str) -> None:
    with pytest.raises(OSError, match="not public"):
        await PublicResolver(frozenset()).resolve(host, 443)


async def test_clients_are_bounded_and_share_connections(
    own_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_clients, "MAX_CLIENTS", 2)
    provider = provider_of(own_settings)
    built = []
    for number in (1, 2, 3, 3):
        OWN_KEYS.set({"openai": OwnKey(SecretStr(f"sk-tenants-{number}"))})
        built.append(provider.own_clients.main())
    OWN_KEYS.set({})
    assert built[2] is built[3]
    assert len({*built}) == 3
    assert len(provider.own_clients._clients) == 2
    assert provider.own_clients.main() is None
    await provider.close()


def test_a_change_of_the_encryption_key(own_settings: Settings) -> None:
    old, new = (SecretStr(urlsafe_b64encode(bytes([number]) * 32).decode()) for number in (1, 2))
    tenant_id = uuid4()

    async def change() -> list[Any]:
        database = Database(own_settings.database_url, name="test")
        worker = SecretReencryption(database, [new, old])
        read = []
        async with database.begin() as session:
            key = NewProviderKey(key=SecretStr(OWN), base_url="https://models.example.com/v1")
            await provider_keys.write(session, [old], tenant_id, "openai", key, "user:ann")
        for keys in ([new, old], [new]):
            async with database.begin() as session:
                read.append(await provider_keys.read_all(session, keys, tenant_id))
            while await worker.reencrypt():
                pass
        await database.close()
        return read

    expected = {"openai": OwnKey(SecretStr(OWN), "https://models.example.com/v1")}
    first, second = asyncio.run(change())
    assert first == expected
    assert second == expected


def test_an_installation_without_a_key_says_so(own_settings: Settings, member: Any) -> None:
    app = create_app(own_settings.model_copy(update={"tenant_secrets_encryption_key": None}))
    with serving(app) as url:
        admin = member(at=url)
        assert error_of(put(admin)) == (503, "tenant_secrets_disabled")
        assert chat(admin).status_code == 200
