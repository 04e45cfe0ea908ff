from notification.models import Base
from servicekit import migrations

migrations.run(Base.metadata)
