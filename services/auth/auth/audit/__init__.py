"""The audit log: what matters to security, in the vocabulary of OWASP's logging cheat sheet."""

from auth.audit.record import Action, record, record_alone

__all__ = ["Action", "record", "record_alone"]
