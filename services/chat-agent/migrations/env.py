from chat_agent.models import Base
from servicekit.migrations import run

run(Base.metadata)
