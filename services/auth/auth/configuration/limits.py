"""How often auth may be called, and what counts as an attack."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, Field
from servicekit.auth.call_limits import CallLimits

from auth.configuration.types import DAY, HOUR, MINUTE, Count, Minutes

# How often, and in how many seconds. `ip:` limits the address that requests come from; `subject:` the
# account, mailbox, session or client that they name.
RATE_LIMITS: Mapping[str, tuple[int, int]] = {
    "ip:register": (20, HOUR),
    "ip:token": (60, MINUTE),
    "ip:refresh": (60, MINUTE),
    "ip:email/send": (10, HOUR),
    "ip:service-accounts/issue": (10, MINUTE),
    "ip:oauth/token": (120, MINUTE),
    "ip:api-key": (30, MINUTE),
    "ip:email/verify": (30, MINUTE),
    "ip:password/forgot": (20, HOUR),
    "ip:password/reset": (30, MINUTE),
    "ip:account/restore": (30, MINUTE),
    "ip:second-factor": (30, MINUTE),
    "ip:passkeys": (30, MINUTE),
    "ip:step-up": (30, MINUTE),
    "ip:magic-link": (20, HOUR),
    "ip:magic-link/verify": (30, MINUTE),
    "ip:invites/accept": (30, MINUTE),
    "ip:signup-requests": (5, HOUR),
    "subject:token": (30, MINUTE),
    "subject:refresh": (30, MINUTE),
    "subject:oauth/token": (60, MINUTE),
    "subject:mail": (3, HOUR),
    "subject:password/forgot": (5, HOUR),
    "subject:factors": (30, MINUTE),
    # Each takes ten hashes.
    "subject:recovery-codes": (10, HOUR),
    # Each sends an email with which to set a new password.
    "subject:factors/reset": (5, HOUR),
    "subject:magic-link": (5, HOUR),
    "subject:tenants": (10, HOUR),
    "subject:invites": (100, HOUR),
    "subject:invites/mail": (3, HOUR),
    "subject:signup-requests": (3, DAY),
}


class LimitSettings(BaseModel):
    """Rate limits, lockout, and alarms."""

    # As JSON: {"writes_per_person": 60} changes that one, of the calls a minute.
    auth_limits: CallLimits = CallLimits()
    # As JSON: {"ip:token": 1000} changes that one of RATE_LIMITS. The four below are variables of their own.
    auth_rate_limits: dict[str, Count] = Field(default_factory=dict)
    email_verification_email_rate_limit_per_hour: Count = 3
    email_verification_ip_rate_limit_per_hour: Count = 10
    password_reset_email_rate_limit_per_hour: Count = 5
    password_reset_ip_rate_limit_per_hour: Count = 20
    # Consecutive failures of an account (no more than 10: see security/lockout.py), or failures from one
    # address, and how long that account or address is then locked.
    auth_lockout_threshold: Annotated[int, Field(ge=1, le=10)] = 5
    auth_lockout_window_minutes: Minutes = 60
    auth_lockout_duration_minutes: Minutes = 60
    auth_ip_lockout_threshold: Count = 50
    auth_ip_lockout_window_minutes: Minutes = 10
    auth_ip_lockout_duration_minutes: Minutes = 10
    # Failures within an hour that alert the operators: from one network (/24 of IPv4, /48 of IPv6) at this
    # many accounts; or at this many accounts from this many networks.
    auth_spraying_alarm_accounts: Count = 20
    auth_stuffing_alarm_accounts: Count = 100
    auth_stuffing_alarm_networks: Count = 50

    @property
    def limits(self) -> CallLimits:
        """How often the service may be called."""
        return self.auth_limits

    @property
    def rate_limits(self) -> dict[str, tuple[int, int]]:
        """How often each use is allowed, and in how many seconds."""
        counts = {
            "ip:email/send": self.email_verification_ip_rate_limit_per_hour,
            "subject:mail": self.email_verification_email_rate_limit_per_hour,
            "ip:password/forgot": self.password_reset_ip_rate_limit_per_hour,
            "subject:password/forgot": self.password_reset_email_rate_limit_per_hour,
            "subject:factors/reset": self.password_reset_email_rate_limit_per_hour,
            **self.auth_rate_limits,
        }
        return {name: (counts.get(name, count), per) for name, (count, per) in RATE_LIMITS.items()}

    def unknown_rate_limits(self) -> list[str]:
        """List names in AUTH_RATE_LIMITS that limit nothing."""
        unknown = sorted(self.auth_rate_limits.keys() - RATE_LIMITS.keys())
        return [f"AUTH_RATE_LIMITS is invalid: there is no limit named {name}" for name in unknown]
