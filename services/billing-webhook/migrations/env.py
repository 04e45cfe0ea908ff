from billing_webhook.models import Base
from servicekit import migrations

migrations.run(Base.metadata)
