"""Who may do what in the stand-in for Vault: policies in the plain shape of Acme's, and tokens that end.

    path "transit/sign/some-key" { capabilities = ["update"] }

Paths are whole, or end in `*`; the longest that fits decides, and what none allows is forbidden.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import uuid4

from sandbox.transit import VaultError

_COMMENT = re.compile(r"^\s*#.*$", re.MULTILINE)
_RULE = re.compile(r'path\s+"([^"]+)"\s*\{\s*capabilities\s*=\s*\[([^\]]*)\]\s*\}')
_WORD = re.compile(r'"([a-z]+)"')
# Vault asks for `create` instead of `update` where nothing is there yet; here, either does.
_REQUIRED_CAPABILITIES = {
    "GET": {"read"},
    "HEAD": {"read"},
    "LIST": {"list"},
    "POST": {"create", "update"},
    "PUT": {"create", "update"},
    "DELETE": {"delete"},
}

Rules = dict[str, set[str]]


def parse_policy(policy: str) -> Rules:
    """Read a policy; raises VaultError when some of it is of another shape."""
    text = _COMMENT.sub("", policy)
    if _RULE.sub("", text).strip():
        raise VaultError(400, "failed to parse policy: the sandbox knows paths with capabilities")
    return {path: set(_WORD.findall(words)) for path, words in _RULE.findall(text)}


@dataclass
class TokenLease:
    """What a token may do, and until when (monotonic seconds); `period` is how long a renewal lasts."""

    rules: list[Rules]
    period: float
    expires_at: float


@dataclass
class Acl:
    """All policies, and the tokens that were made here; any other token may do everything."""

    clock: Callable[[], float] = time.monotonic
    policies: dict[str, Rules] = field(default_factory=dict)
    tokens: dict[str, TokenLease] = field(default_factory=dict)
    revoked: set[str] = field(default_factory=set)

    def issue(self, policies: list[str], period: float) -> str:
        """Make a token."""
        token = f"hvs.{uuid4().hex}"
        rules = [self.policies.get(name, {}) for name in policies]
        self.tokens[token] = TokenLease(rules, period, self.clock() + period)
        return token

    def renew(self, token: str) -> float | None:
        """Renew a token for another period, and return that; None for one that does not end."""
        if (lease := self.tokens.get(token)) is None:
            return None
        lease.expires_at = self.clock() + lease.period
        return lease.period

    def revoke(self, token: str) -> None:
        """End a token."""
        self.tokens.pop(token, None)
        self.revoked.add(token)

    def check(self, token: str, method: str, path: str) -> None:
        """Raise VaultError unless a token may do this."""
        if not token or token.startswith("hvs.invalid") or token in self.revoked:
            raise VaultError(403, "permission denied")
        lease = self.tokens.get(token)
        if lease is None:
            return
        allowed = any(
            _REQUIRED_CAPABILITIES[method] & allowed_capabilities(rules, path) for rules in lease.rules
        )
        if lease.expires_at <= self.clock() or not allowed:
            raise VaultError(403, "1 error occurred:\n\t* permission denied\n\n")


def allowed_capabilities(rules: Rules, path: str) -> set[str]:
    """Return the capabilities that a policy grants on a path."""
    matches = [one for one in rules if one == path or (one.endswith("*") and path.startswith(one[:-1]))]
    return rules[max(matches, key=len)] if matches else set()
