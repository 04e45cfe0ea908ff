import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
from sandbox.processes import free_port
from testkit.eventually import MAX_START_SECONDS, until


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=60).is_success
    except httpx.TransportError:
        return False


def test_one_process_serves_everything_and_ends_in_good_order(tmp_path: Path) -> None:
    url, port = "http://127.0.0.1", str(free_port())
    options = ["--port", port, "--tokens-per-second", "100", "--data", str(tmp_path / "data")]
    with subprocess.Popen(
        [sys.executable, "-m", "sandbox.main", *options], stderr=subprocess.PIPE
    ) as process:
        until(lambda: answers(f"{url}:{port}/healthz"), MAX_START_SECONDS)
        with httpx.Client(
            base_url=f"{url}:{port}", headers={"Authorization": "Bearer key"}, timeout=60
        ) as client:
            assert "No request leaves this machine" in client.get("/").text
            assert client.get("/v1/models").json()["object"] == "list"
            assert client.get("/resend/").is_success
            request = {"model": "m", "input": "Hello [sandbox: tokens=21]"}
            assert client.post("/v1/responses", json=request).elapsed.total_seconds() >= 0.2
            assert client.get("/nothing").json()["error"]["code"] == "not_found"
        process.send_signal(signal.SIGTERM)
        until(lambda: process.poll() is not None)
        assert process.returncode in {0, -signal.SIGTERM, os.EX_OK}
