from alembic import command
from testkit.plugin import service_folder


def test_go_up_down_and_up_again_and_fit_the_models(databases, pytestconfig):
    service = service_folder(pytestconfig.rootpath, "auth")
    url = databases.fresh("auth-migrations")
    for step in (
        lambda config: command.upgrade(config, "head"),
        command.check,
        lambda config: command.downgrade(config, "base"),
        lambda config: command.upgrade(config, "head"),
        command.check,
        lambda config: command.downgrade(config, "base"),
    ):
        databases.alembic(service, url, step)
