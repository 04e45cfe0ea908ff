import pytest
from chat_agent.direct_models import DirectModel
from chat_agent.settings import Settings

JUDGE = "openai/sandbox-small"


@pytest.fixture(scope="module")
def model_url(recorded_model_url: str) -> str:
    return recorded_model_url


@pytest.fixture(scope="module")
def settings(settings: Settings) -> Settings:
    """Allow every tenant to name the model that judges."""
    models = {JUDGE: DirectModel(tenants=frozenset({"*"}))}
    return settings.model_copy(update={"direct_models": models, "chat_rate_limit_per_minute": 1000})
