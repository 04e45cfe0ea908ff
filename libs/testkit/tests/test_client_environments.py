"""Environments of clients: which are removed."""

import os
import time

from testkit.client_environments import UNUSED_AFTER_SECONDS, is_unused


def test_an_environment_is_removed_a_month_after_its_last_use(tmp_path):
    ready = tmp_path / ".ready"
    ready.touch()
    assert not is_unused(ready)
    long_ago = time.time() - UNUSED_AFTER_SECONDS - 1
    os.utime(ready, (long_ago, long_ago))
    assert is_unused(ready)


def test_an_environment_whose_installation_broke_off_is_made_anew(tmp_path):
    assert is_unused(tmp_path / ".ready")
