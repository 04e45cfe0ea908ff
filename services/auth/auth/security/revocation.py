"""Revokes access tokens: every service rejects them within seconds after the transaction."""

from datetime import timedelta
from enum import StrEnum

from redis.asyncio import Redis
from servicekit.auth.revocations import EVERY_SESSION, REMEMBERED_SECONDS, format_entry, publish
from servicekit.database import Database, wake_on_commit
from servicekit.workers.base import LoopWorker, Throttle
from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from auth.models import Revocation

# What this process commits is published at once; this is for what a command or a lost process has committed.
PUBLISH_INTERVAL_SECONDS = 2.0
# A transaction may be committed so long after the time that its rows bear.
OVERLAP_SECONDS = 30
FULL_PUBLISH_INTERVAL_SECONDS = 30.0
PAGE = 1000


class RevocationKind(StrEnum):
    """What is revoked: a session, a token by its `jti`, or all of a subject, client or tenant until now."""

    SESSION = "session"
    TOKEN = "token"  # noqa: S105  # a word, not a token
    SUBJECT = "subject"
    CLIENT = "client"
    # Of its machines; sessions of its people are ended one by one.
    TENANT = "tenant"


async def revoke(db: AsyncSession, kind: RevocationKind, *names: str) -> None:
    """Revoke access tokens everywhere, when the transaction is committed.

    Names are a session's id, a token's `jti`, a subject (`user:<uuid>`), a client id or a tenant's id. Of the
    last three, what is issued in the same second is refused as well.
    """
    if not names:
        return
    rows = insert(Revocation).values([{"key": f"{kind}:{name}"} for name in dict.fromkeys(names)])
    again = rows.on_conflict_do_update(
        index_elements=[Revocation.key], set_={"revoked_at": func.clock_timestamp()}
    )
    await db.execute(again)
    wake_on_commit(db, Revocation.__tablename__)


async def revoke_every_session(db: AsyncSession) -> None:
    """End every session, when the transaction is committed: one row, however many sessions there are.

    It counts up to the end of the present second: tokens tell the time of proof in whole seconds, so that
    services and our own rows agree on who is out.
    """
    cutoff = func.date_trunc("second", func.clock_timestamp()) + timedelta(seconds=1)
    row = insert(Revocation).values(key=EVERY_SESSION, revoked_at=cutoff)
    await db.execute(
        row.on_conflict_do_update(
            index_elements=[Revocation.key], set_={"revoked_at": row.excluded.revoked_at}
        )
    )
    wake_on_commit(db, Revocation.__tablename__)


class RevocationPublisher(LoopWorker):
    """Publishes what was revoked from the database to Redis, so nothing is lost with a process or with Redis.

    It runs in every process that answers; all of them publish the same.
    """

    def __init__(self, database: Database, redis: Redis) -> None:
        super().__init__("revocation publisher", (0.1, 1.0), database.wakeup(Revocation.__tablename__))
        self._database = database
        self._redis = redis
        self._everything = Throttle(FULL_PUBLISH_INTERVAL_SECONDS)
        self._published: set[str] = set()

    async def begin(self) -> None:
        """Publish everything next, as Redis may have lost it."""
        self._everything.hurry()

    async def step(self) -> float:
        """Publish what is new, and everything at intervals."""
        if self._everything.due():
            self._published = set()
            await self._publish_recent(REMEMBERED_SECONDS)
        else:
            await self._publish_recent(OVERLAP_SECONDS)
        return PUBLISH_INTERVAL_SECONDS

    async def _publish_recent(self, seconds: int) -> None:
        recent = select(Revocation.key, func.extract("epoch", Revocation.revoked_at)).where(
            Revocation.revoked_at > func.now() - func.make_interval(0, 0, 0, 0, 0, 0, seconds)
        )
        async with self._database.engine.connect() as connection:
            # Nothing to be undone: no transaction is open while Redis is told, or while this process stands.
            alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
            rows = (await alone.execute(recent)).all()
        entries = [format_entry(*kind_and_name(key), float(at)) for key, at in rows]
        marks = [one for one in entries if one not in self._published]
        for start in range(0, len(marks), PAGE):
            part = marks[start : start + PAGE]
            await publish(self._redis, part)
            self._published.update(part)


def kind_and_name(key: str) -> tuple[str, str]:
    """Split the key of a revocation."""
    kind, _, name = key.partition(":")
    return kind, name


async def purge(db: AsyncSession) -> None:
    """Delete revocations older than any token; the one of all sessions stays."""
    until = func.now() - func.make_interval(0, 0, 0, 0, 0, 0, REMEMBERED_SECONDS)
    stale = (Revocation.revoked_at < until, Revocation.key != EVERY_SESSION)
    await db.execute(delete(Revocation).where(*stale))
