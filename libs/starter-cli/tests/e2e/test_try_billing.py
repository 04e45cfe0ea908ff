"""The walk through billing, as its page has it, at the stack that runs."""

import json
import os
import re
import subprocess

from starter_cli.stack import Stack

from .test_readme import ROOT, blocks


def test_the_walk_through_billing_does_what_its_page_says(stack: Stack) -> None:
    script = "".join(blocks(ROOT / "docs" / "billing" / "try-it.md"))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env={**os.environ, "GATEWAY": stack.gateway_url, "SANDBOX": stack.sandbox_url, "no_proxy": "*"},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"code":"quota_exceeded"' in done.stdout
    assert "completed\n" in done.stdout
    numbers = [int(number) for number in re.findall(r"^id: (\d+)$", done.stdout, re.MULTILINE)]
    assert numbers == list(range(len(numbers)))
    received = [json.loads(data) for data in re.findall(r"^data: (\{.*)$", done.stdout, re.MULTILINE)]
    types = {event["type"] for event in received}
    assert types >= {
        "billing.subscription.changed.v1",
        "billing.entitlements.changed.v1",
        "billing.usage.threshold_reached.v1",
        "billing.invoice.paid.v1",
    }
