import shutil

import pytest
from alembic import command
from alembic.config import Config

from .pages import ROOT, Tree

SERVICES = sorted(path.parent.parent.name for path in ROOT.glob("services/*/migrations/env.py"))


def test_a_migration_is_written_from_the_models(tmp_path):
    tree = Tree(tmp_path)
    assert tree.apply("add-a-migration") == {"services/conversation/conversation/models.py"}
    tree.run_commands("add-a-migration")

    [migration] = tree.root.glob("services/conversation/migrations/versions/*_index_conversations_by_*.py")
    text = migration.read_text()
    assert 'op.create_index("ix_conversations_created_at", "conversations", ["created_at"]' in text
    assert 'op.drop_index("ix_conversations_created_at"' in text
    assert "# ###" not in text


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_has_the_template(tmp_path, service):
    """The rest of `make migration` is the same for all of them."""
    migrations = ROOT / "services" / service / "migrations"
    shutil.copytree(migrations, tmp_path / "migrations")
    config = Config()
    config.set_main_option("script_location", str(tmp_path / "migrations"))
    script = command.revision(config, "change nothing", rev_id="9999")
    assert 'revision = "9999"' in (text := (tmp_path / script.path).read_text()).replace("'", '"')
    assert "def downgrade() -> None:\n    pass\n" in text
