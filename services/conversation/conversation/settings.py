"""What conversation is told from outside."""

from servicekit.settings import ServiceSettings

from conversation.limits import ConversationLimits


class Settings(ServiceSettings):
    """The variables of this service, beside those that every service has."""

    required_in_production = frozenset({"service_client_secret"})

    # As JSON: {"items_per_conversation": 500} changes that one.
    conversation_limits: ConversationLimits = ConversationLimits()

    @property
    def limits(self) -> ConversationLimits:
        """How often the service may be called, and how much it keeps."""
        return self.conversation_limits
