"""Clients in JavaScript: tried where they can be installed; `make test` says so otherwise."""

from testkit.client_environments import available

NODE = "auth-node"
collect_ignore = [] if NODE in available() else ["test_openid_client.py"]
