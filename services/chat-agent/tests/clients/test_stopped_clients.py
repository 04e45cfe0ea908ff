"""OpenAI's client for node, stopped while its run is under way."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from testkit.eventually import until

PAUSING = "Slowly [sandbox: tokens=60, pause-after=20]"


@pytest.mark.parametrize("is_streamed", [True, False])
def test_an_abort_controller_cancels_the_run(
    node: Callable[..., Any], ann: httpx.Client, is_streamed: bool
) -> None:
    stopped = node("openai_stop.mjs", ann, "/v1", text=PAUSING, stream=is_streamed)
    assert stopped in {None, "APIUserAbortError"}
    until(lambda: [run["status"] for run in ann.get("/api/v1/runs").json()["items"]] == ["cancelled"])
