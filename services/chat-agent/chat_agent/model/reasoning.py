"""Signatures and encrypted thoughts, marked with the provider that wrote them and alone can read them."""

from typing import Any

from chat_agent.model.json import Json
from chat_agent.settings import OTHER_PROVIDERS, OtherProvider

# Requests to it say `store: false`: it knows its reasoning again only by the encrypted content.
FORGETFUL_HOST = "api.openai.com"


def seal(provider: OtherProvider, kind: str, data: str) -> str:
    """Return the encrypted content of a reasoning item."""
    return f"{provider}:{kind}:{data}"


def unseal(item: Json) -> tuple[str, str]:
    """Return the kind and the data of a provider's own reasoning item; nothing where it has none."""
    _, _, sealed = (item.get("encrypted_content") or "").partition(":")
    kind, _, data = sealed.partition(":")
    return kind, data


def seal_event(event: Json, provider: OtherProvider) -> Json:
    """Return an event of Responses whose reasoning is marked as a provider's."""
    response = event.get("response")
    items = response.get("output") if isinstance(response, dict) else [event.get("item")]
    for item in items if isinstance(items, list) else []:
        if is_reasoning(item) and isinstance(item.get("encrypted_content"), str):
            item["encrypted_content"] = seal(provider, "reasoning", item["encrypted_content"])
    return event


def unseal_items(items: list[Any]) -> list[Any]:
    """Return items whose reasoning is as the provider wrote it."""
    return [{**item, "encrypted_content": unseal(item)[1]} if is_reasoning(item) else item for item in items]


def without_foreign(items: list[Any], provider: OtherProvider | None, host: str) -> list[Any]:
    """Return items without the reasoning that a provider refuses; unchanged where there is none.

    `provider` is none for servers of OpenAI's protocol.
    """
    if not any(is_reasoning(item) for item in items):
        return items
    return [item for item in items if not is_reasoning(item) or is_readable(item, provider, host)]


def is_reasoning(item: Any) -> bool:
    """Return whether an item is reasoning."""
    return isinstance(item, dict) and item.get("type") == "reasoning"


def is_readable(item: Json, provider: OtherProvider | None, host: str) -> bool:
    """Return whether a provider reads a reasoning item."""
    sealed = item.get("encrypted_content") or ""
    owner = sealed.partition(":")[0]
    if provider is not None:
        return bool(owner == provider)
    return owner not in OTHER_PROVIDERS and bool(sealed or host != FORGETFUL_HOST)
