"""The family of refresh tokens of one session, under whatever order of use, copy, wait and sign-out.

A model says what each use must give; hypothesis looks for an order in which auth says otherwise.
"""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from .conftest import Auth, Variables, started

# See `_long_grace`.
GRACE_MINUTES = 10
# The test itself takes time: so close to the end of the grace nothing is asked.
CLOSE_MINUTES = 5


class Driver:
    """A service on a loop of its own, because hypothesis asks from outside of any."""

    def __init__(self, variables: Variables) -> None:
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self.auth: Auth = self.run(self._stack.enter_async_context(started(variables)))
        self.run(self.auth.register())
        self.run(self.auth.confirm())

    def run(self, work):
        return self._runner.run(work)

    def close(self) -> None:
        self.run(self._stack.aclose())
        self._runner.close()


@pytest.fixture
def driver(variables: Variables) -> Iterator[Driver]:
    made = Driver({**variables, "auth_sessions_per_person": 100, "auth_lockout_threshold": 10})
    yield made
    made.close()


class Family(RuleBasedStateMachine):
    """One session; `tokens` are its chain, `used` says how long ago each was used, in minutes."""

    driver: Driver

    def __init__(self) -> None:
        super().__init__()
        self.bundle = self.driver.run(self.driver.auth.session())
        self.tokens = [self.bundle["refresh_token"]]
        self.used: list[int] = []
        self.is_over = False

    def use(self, token: str):
        return self.driver.run(self.driver.auth.post("refresh", refresh_token=token))

    def refused(self, answer, code: str) -> None:
        assert (answer.status_code, answer.json()["code"]) == (401, code)

    @rule()
    def use_the_newest(self) -> None:
        answer = self.use(self.tokens[-1])
        if self.is_over:
            return self.refused(answer, "invalid_refresh_token")
        assert answer.status_code == 200
        assert answer.json()["session_id"] == self.bundle["session_id"]
        assert answer.json()["refresh_token"] not in self.tokens
        self.tokens.append(answer.json()["refresh_token"])
        return self.used.append(0)

    @precondition(lambda self: self.used)
    @rule(data=st.data())
    def use_a_used_one_again(self, data) -> None:
        index = data.draw(st.integers(0, len(self.used) - 1))
        if CLOSE_MINUTES < self.used[index] < GRACE_MINUTES:
            return None
        answer = self.use(self.tokens[index])
        is_parent = index == len(self.used) - 1
        if self.is_over:
            return self.refused(answer, "invalid_refresh_token")
        if is_parent and self.used[index] < GRACE_MINUTES:
            # The answer was lost, or twenty tabs asked: the same one successor, and nothing is used up.
            assert answer.status_code == 200
            assert answer.json()["refresh_token"] == self.tokens[-1]
            return None
        self.refused(answer, "refresh_token_reused")
        self.is_over = True
        return None

    @rule(copies=st.integers(2, 5))
    def use_the_newest_in_many_tabs(self, copies: int) -> None:
        newest = self.tokens[-1]

        async def at_once():
            auth = self.driver.auth
            return await asyncio.gather(*(auth.post("refresh", refresh_token=newest) for _ in range(copies)))

        answers = self.driver.run(at_once())
        if self.is_over:
            assert {answer.json()["code"] for answer in answers} == {"invalid_refresh_token"}
            return
        [successor] = {answer.json()["refresh_token"] for answer in answers}
        self.tokens.append(successor)
        self.used.append(0)

    @rule(minutes=st.sampled_from([2, GRACE_MINUTES + 1]))
    def wait(self, minutes: int) -> None:
        self.driver.run(
            self.driver.auth.database.execute(
                "update refresh_tokens set consumed_at = consumed_at - make_interval(mins => $1)"
                " where session_id = $2",
                minutes,
                self.bundle["session_id"],
            )
        )
        self.used = [age + minutes for age in self.used]

    @precondition(lambda self: not self.is_over)
    @rule(data=st.data())
    def sign_out(self, data) -> None:
        token = data.draw(st.sampled_from(self.tokens))
        answer = self.driver.run(self.driver.auth.post("logout", refresh_token=token))
        assert answer.status_code == 204
        self.is_over = True

    @rule()
    def try_an_unknown_token(self) -> None:
        self.refused(self.use(self.tokens[0][:-4] + "AAAA"), "invalid_refresh_token")

    @invariant()
    def has_one_token_of_each_generation_and_one_that_is_unused(self) -> None:
        query = "select count(*), count(consumed_at) from refresh_tokens where session_id = $1"
        fetched = self.driver.auth.database.fetchrow(query, self.bundle["session_id"])
        assert tuple(self.driver.run(fetched)) == (len(self.tokens), len(self.used))

    @invariant()
    def is_over_when_it_should_be(self) -> None:
        query = "select ended_at is not null from sessions where id = $1"
        fetched = self.driver.auth.database.fetchval(query, self.bundle["session_id"])
        assert self.driver.run(fetched) is self.is_over


def test_no_order_of_use_copy_wait_and_sign_out_misleads_it(driver: Driver) -> None:
    class Driven(Family):
        pass

    Driven.driver = driver
    run_state_machine_as_test(
        Driven,
        settings=settings(
            max_examples=15,
            stateful_step_count=15,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
