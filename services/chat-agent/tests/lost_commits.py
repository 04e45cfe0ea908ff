"""Commits that Postgres holds up until a test loses them: undone, or done without an answer."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from testkit.databases import query
from testkit.eventually import until
from testkit.proxy import Proxy

LOSSES = ("undone", "done without an answer")
TABLE = "create table if not exists held_up (is_held boolean)"
# The name of an application is seen by others at once, also within a transaction.
FUNCTION = """
    create or replace function hold_up() returns trigger language plpgsql as $$
    begin
        perform set_config('application_name', 'held up', true);
        while exists (select from held_up) loop perform pg_sleep(0.01); end loop;
        return null;
    end $$
"""
TRIGGER = """
    create constraint trigger held_up after {change} deferrable initially deferred
    for each row when ({condition}) execute function hold_up()
"""
HELD = "select pid from pg_stat_activity where application_name = 'held up' and state = 'active'"


@dataclass(frozen=True)
class Commits:
    """The commits of those who reach a database this way."""

    database: str
    way: Proxy

    @contextmanager
    def losing(self, change: str, condition: str, loss: str) -> Iterator[Callable[[], None]]:
        """Delay the commit of a change, such as `update on runs`; yield what waits for one and loses it."""
        for statement in (TABLE, FUNCTION, "insert into held_up values (true)"):
            self._query(statement)
        self._query(TRIGGER.format(change=change, condition=condition))
        try:
            yield lambda: self._lose(loss)
        finally:
            self._let_go()
            self._query(f"drop trigger held_up on {change.rpartition(' ')[2]}")

    def _lose(self, loss: str) -> None:
        ((pid,), *_) = until(lambda: self._query(HELD))
        if loss == "undone":
            self._query("select pg_terminate_backend($1)", pid)
            self._wait_for_end(pid)
            self._let_go()
            return
        with self.way.cut():
            self._let_go()
            self._wait_for_end(pid)

    def _wait_for_end(self, pid: int) -> None:
        until(lambda: not self._query(f"{HELD} and pid = $1", pid))

    def _let_go(self) -> None:
        self._query("delete from held_up")

    def _query(self, statement: str, *arguments: object) -> list[Any]:
        return query(self.database, statement, *arguments)
