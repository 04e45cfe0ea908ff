"""Two replicas of one service behind the gateway: how requests are spread, and what a lost one costs."""

from collections import Counter

import httpx
import pytest
from sandbox.embedded import free_port


@pytest.fixture
def two(start, services):
    """Return a function that starts a gateway with a second chat-agent on a port."""

    def begin(port):
        return start(CHAT_AGENT_2_ADDRESS="127.0.0.1", CHAT_AGENT_2_PORT=port)

    return begin


def ask(gateway, services, method="GET"):
    headers = {"Authorization": f"Bearer {services.token()}"}
    return gateway.client.request(method, "/api/v1/tools", headers=headers)


def test_spreads_requests_over_both(two, serve, services):
    with serve(services.app("the second")) as [port], two(port) as gateway:
        gateway.until_it_trusts()
        counts = Counter(ask(gateway, services).json()["service"] for _ in range(40))

    assert counts["the second"] > 5
    assert counts["chat-agent"] > 5


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
def test_asks_the_other_where_one_cannot_be_reached(two, services, method):
    with two(free_port()) as gateway:
        gateway.until_it_trusts()
        answers = [ask(gateway, services, method) for _ in range(20)]

    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["service"] for answer in answers} == {"chat-agent"}
    assert not [name for answer in answers for name in answer.json()["headers"] if name.startswith("x-envoy")]


def test_takes_one_back_that_has_returned(two, serve, services):
    port = free_port()
    with two(port) as gateway:
        gateway.until_it_trusts()
        before = {ask(gateway, services).json()["service"] for _ in range(20)}
        with serve(services.app("the second"), port=port):
            after = until_each_answers(gateway, services, "the second")

    assert before == {"chat-agent"}
    assert {answer.status_code for answer in after} == {200}


def until_each_answers(gateway, services, service) -> list[httpx.Response]:
    answers: list[httpx.Response] = []
    gateway.until(lambda: answers.append(ask(gateway, services)) or answers[-1].json()["service"] == service)
    return answers
