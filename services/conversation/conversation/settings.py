"""Settings of conversation."""

from servicekit.settings import ServiceSettings

from conversation.limits import ConversationLimits


class Settings(ServiceSettings):
    """The variables of this service, in addition to those that every service has."""

    required_in_production = frozenset({"service_client_secret"})

    # As JSON: {"items_per_conversation": 500} changes that one.
    conversation_limits: ConversationLimits = ConversationLimits()

    @property
    def limits(self) -> ConversationLimits:
        """Return the rate limits and storage limits of this service."""
        return self.conversation_limits
