"""Which texts have passed checks by models: a text that is sent again is not judged again."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from hashlib import sha256

from redis.asyncio import Redis
from redis.exceptions import RedisError

from chat_agent.guardrails.model_based import ModelBased
from chat_agent.model.caller_texts import CALLER
from chat_agent.schemas import Stage

logger = logging.getLogger(__name__)

# For how long it is known; a text is judged again after that.
TTL_SECONDS = 24 * 3600


@dataclass(frozen=True)
class PassedTexts:
    """Remembers texts by their digests, for all processes; without Redis, each text counts as new."""

    redis: Redis

    async def unknown(self, check: ModelBased, stage: Stage, texts: Sequence[str]) -> set[str]:
        """Return the texts that the check has not passed."""
        keys = {text: key_of(check, stage, text) for text in texts if text.strip()}
        if not keys:
            return set()
        try:
            found = await self.redis.mget(keys.values())
        except (RedisError, OSError) as error:
            logger.warning("passed texts not read", extra={"error": type(error).__name__})
            return {*keys}
        return {text for text, mark in zip(keys, found, strict=True) if mark is None}

    async def add(self, check: ModelBased, stage: Stage, texts: Collection[str]) -> None:
        """Remember texts that the check has passed."""
        if not texts:
            return
        try:
            async with self.redis.pipeline(transaction=False) as pipeline:
                for text in texts:
                    pipeline.set(key_of(check, stage, text), 1, ex=TTL_SECONDS)
                await pipeline.execute()
        except (RedisError, OSError) as error:
            logger.warning("passed texts not stored", extra={"error": type(error).__name__})


def key_of(check: ModelBased, stage: Stage, text: str) -> str:
    """Return the key of a text; each tenant has its own, since its models may judge otherwise."""
    parts = (str(CALLER.get().tenant_id), stage, check.model_dump_json(), text)
    return f"chat:passed:{sha256(chr(0).join(parts).encode()).hexdigest()[:32]}"
