"""The model, behind any server that speaks OpenAI's protocol.

`provider` is what the engine uses: for each name a `ResilientModel` (timeouts, retries, the fallback,
counting) around the SDK's own models, which speak through the `lean` client or the vendor's.
"""

from chat_agent.model.provider import ERROR_HANDLERS, Provider, connect, run_config

__all__ = ["ERROR_HANDLERS", "Provider", "connect", "run_config"]
