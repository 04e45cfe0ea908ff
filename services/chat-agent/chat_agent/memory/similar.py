"""Finds the memories whose vectors are near a message's; without the provider, none."""

import asyncio
import logging
from collections.abc import Sequence
from uuid import UUID

from servicekit.database import Database
from servicekit.errors import ServiceError
from sqlalchemy import ColumnElement, bindparam, case, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.clients.retry import retry_transaction
from chat_agent.memory import vectors
from chat_agent.memory.embedder import Embedder
from chat_agent.memory.recall import MAX_QUERY, MAX_RECALLED, Recalled, lock_free
from chat_agent.memory.tables import Memory

logger = logging.getLogger(__name__)

# How long a run waits for embeddings; then it recalls by words alone.
TIMEOUT_SECONDS = 1.0
# How many new memories are embedded with one message; the rest with the next ones.
BATCH = 32
# Of reciprocal rank fusion: how little the first ranks count more than the next.
SMOOTHING = 60

Row = tuple[UUID, str, str, bytes | None]


async def by_vectors(
    database: Database, embedder: Embedder, among: ColumnElement[bool], message: str
) -> list[Recalled]:
    """Return the memories nearest to a message; memories without a vector get theirs here."""
    rows = await retry_transaction(database, load, embedder.model, among)
    if not rows or not message.strip():
        return []
    missing = [row for row in rows if row[3] is None][:BATCH]
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            query, *new = await embedder.embed([message[:MAX_QUERY], *(row[2] for row in missing)])
    except (TimeoutError, ServiceError) as error:
        logger.warning("memories recalled by words alone", extra={"error": type(error).__name__})
        return []
    added = dict(zip((row[0] for row in missing), new, strict=True))
    if added:
        await retry_transaction(database, save, embedder.model, added)
    known = [(Recalled(*row[:3]), vector) for row in rows if (vector := row[3] or added.get(row[0]))]
    return await asyncio.to_thread(vectors.nearest, query, known, MAX_RECALLED)


async def load(session: AsyncSession, model: str, among: ColumnElement[bool]) -> list[Row]:
    """Return memories with their vectors of a model."""
    vector = case((Memory.embedding_model == model, Memory.embedding))
    query = select(Memory.id, Memory.kind, Memory.text, vector).where(among)
    rows = await session.execute(query.order_by(Memory.created_at.desc(), Memory.id))
    return [(row[0], row[1], row[2], row[3]) for row in rows]


async def save(session: AsyncSession, model: str, added: dict[UUID, bytes]) -> None:
    """Store the vectors of memories, as far as these still exist and nobody changes them at the moment."""
    statement = (
        update(Memory)
        .where(Memory.id == bindparam("memory"))
        .values(embedding=bindparam("vector"), embedding_model=model)
    )
    free = await lock_free(session, added)
    values = [{"memory": id_, "vector": vector} for id_, vector in added.items() if id_ in free]
    if values:
        connection = await session.connection()
        await connection.execute(statement, values)


def fused(*rankings: Sequence[Recalled]) -> list[Recalled]:
    """Return what several rankings have, first what is high in all (reciprocal rank fusion)."""
    scores: dict[Recalled, float] = {}
    for ranking in rankings:
        for rank, memory in enumerate(ranking):
            scores[memory] = scores.get(memory, 0) + 1 / (SMOOTHING + rank)
    return sorted(scores, key=lambda memory: -scores[memory])
