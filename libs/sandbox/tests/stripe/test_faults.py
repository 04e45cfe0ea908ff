"""Answers that go wrong on demand."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sandbox.stripe.app import create_stripe
from stripe import APIConnectionError, APIError, RateLimitError, StripeClient
from testkit.eventually import until

from .conftest import client

CREATION = {"method": "POST", "path": "/v1/customers"}


def order(http: httpx.Client, **fault: Any) -> None:
    http.post("/_ctl/faults", json={"api": [CREATION | fault]}).raise_for_status()


def names(stripe: StripeClient, name: str) -> int:
    return len(
        [each for each in stripe.v1.customers.list({"limit": 100}).auto_paging_iter() if each.name == name]
    )


def test_a_rate_limit_is_met_and_passes(stripe: StripeClient, http: httpx.Client) -> None:
    order(http, status=429)
    with pytest.raises(RateLimitError) as limited:
        stripe.v1.customers.create({})
    assert limited.value.error.code == "rate_limit"  # type: ignore[union-attr]
    assert stripe.v1.customers.create({}).id


def test_the_sdk_gets_over_errors_by_itself(stripe_url: str, http: httpx.Client) -> None:
    order(http, status=500, count=2)
    name = str(uuid4())
    retrying = client(stripe_url, retries=2)
    assert retrying.v1.customers.create({"name": name}).name == name
    order(http, kind="drop", worked=True)
    name = str(uuid4())
    retrying.v1.customers.create({"name": name})
    assert names(retrying, name) == 1


def test_a_stored_500_stays_the_answer_to_its_key(stripe: StripeClient, http: httpx.Client) -> None:
    order(http, status=500, stored=True, worked=True)
    options = {"idempotency_key": str(uuid4())}
    name = str(uuid4())
    for _ in range(3):
        with pytest.raises(APIError) as failed:
            stripe.v1.customers.create({"name": name}, options)
    assert failed.value.headers["idempotent-replayed"] == "true"
    assert names(stripe, name) == 1


def test_an_answer_may_never_come(stripe: StripeClient, http: httpx.Client) -> None:
    for worked, count in ((False, 0), (True, 1)):
        name = str(uuid4())
        order(http, kind="timeout", worked=worked)
        with pytest.raises(httpx.ReadTimeout):
            http.post("/v1/customers", data={"name": name}, headers={"Idempotency-Key": name}, timeout=2)
        until(lambda name=name, count=count: names(stripe, name) == count)
        again = http.post("/v1/customers", data={"name": name}, headers={"Idempotency-Key": name})
        assert again.status_code == 200
        assert names(stripe, name) == 1


def test_a_connection_may_break(stripe: StripeClient, http: httpx.Client) -> None:
    order(http, kind="drop")
    with pytest.raises(APIConnectionError):
        stripe.v1.customers.create({})


async def test_a_key_whose_request_is_running_is_in_use() -> None:
    transport = httpx.ASGITransport(create_stripe())
    headers = {"Authorization": "Bearer sk_test_sandbox", "Idempotency-Key": str(uuid4())}
    async with httpx.AsyncClient(transport=transport, base_url="http://stripe", headers=headers) as http:
        order = {"api": [CREATION | {"kind": "delay", "seconds": 600}]}
        (await http.post("/_ctl/faults", json=order)).raise_for_status()
        calls = [asyncio.create_task(http.post("/v1/customers", data={"name": "x"})) for _ in range(2)]
        answered, delayed = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        assert [call.result().status_code for call in answered] == [409]
        for call in delayed:
            call.cancel()
        await asyncio.wait(delayed)
        assert (await http.post("/v1/customers", data={"name": "x"})).status_code == 200


def test_faults_can_wait_and_be_called_off(stripe: StripeClient, http: httpx.Client) -> None:
    order(http, status=503, skip=1)
    assert stripe.v1.customers.create({}).id
    http.delete("/_ctl/faults")
    assert stripe.v1.customers.create({}).id
