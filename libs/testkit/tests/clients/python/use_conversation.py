"""Import every module that was generated, then create and list a conversation with the generated client."""

import importlib
import json
import pkgutil
import sys

url, token, *packages = sys.argv[1:]
for name in packages:
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, f"{name}."):
        importlib.import_module(module.name)

from conversation import AuthenticatedClient  # noqa: E402
from conversation.api.conversations import create_conversation, list_conversations  # noqa: E402
from conversation.models import NewConversation  # noqa: E402

client = AuthenticatedClient(base_url=url, token=token)
created = create_conversation.sync(client=client, body=NewConversation(title="Generated"))
page = list_conversations.sync(client=client)
print(json.dumps([created.title, *(one.title for one in page.items)]))  # noqa: T201
