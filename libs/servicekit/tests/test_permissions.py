import json

import pytest
from servicekit.auth.permissions import PERMISSIONS, Role, allows, covers, scopes_for, to_markdown

ALL = sorted(PERMISSIONS)


def test_orders_roles_from_viewer_to_owner():
    assert Role.VIEWER < Role.MEMBER < Role.ADMIN < Role.OWNER
    assert Role.OWNER >= Role.OWNER
    assert max(Role) is Role.OWNER


def test_does_not_compare_a_role_with_a_word():
    with pytest.raises(TypeError):
        assert Role.OWNER > "admin"


def test_writes_a_role_as_its_word():
    assert f"{Role.ADMIN}" == "admin"
    assert Role("admin") is Role.ADMIN


MANAGING = {permission for permission in PERMISSIONS if permission.endswith(":manage")} | {"audit:read"}


@pytest.mark.parametrize(
    ("role", "denied"),
    [
        (Role.OWNER, set()),
        (Role.ADMIN, set()),
        (Role.MEMBER, MANAGING),
        (
            Role.VIEWER,
            {*MANAGING, "conversations:write", "conversations:delete"},
        ),
    ],
)
def test_gives_each_role_what_the_table_says(role: Role, denied: set[str]):
    assert {permission for permission in ALL if not allows(permission, role, frozenset())} == denied
    assert scopes_for(role) == set(ALL) - denied


@pytest.mark.parametrize("permission", ALL)
def test_gives_nothing_without_a_role(permission: str):
    assert not allows(permission, None, frozenset(ALL))


@pytest.mark.parametrize("role", list(Role))
def test_scopes_never_add_to_a_role(role: Role):
    every_scope = frozenset(ALL) | {f"{permission.split(':')[0]}:*" for permission in ALL}
    for permission in ALL:
        assert allows(permission, role, every_scope) == allows(permission, role, frozenset())


def test_scopes_take_away_what_they_do_not_name():
    assert allows("conversations:read", Role.OWNER, frozenset({"conversations:read"}))
    assert not allows("conversations:write", Role.OWNER, frozenset({"conversations:read"}))


def test_a_wildcard_stands_for_all_of_its_kind_and_nothing_else():
    assert covers(frozenset({"conversations:*"}), "conversations:delete")
    assert not covers(frozenset({"conversations:*"}), "tools:read")
    assert not covers(frozenset({"*", "*:*", "conversation:*", "conversations:"}), "conversations:read")


def test_the_table_prints():
    assert json.dumps({permission: str(role) for permission, role in PERMISSIONS.items()})


def test_the_page_tells_who_may_what():
    written = to_markdown()
    assert "| `billing:read` | yes | yes | yes | yes |" in written
    assert "| `billing:manage` |  |  | yes | yes |" in written
    assert all(f"`{permission}`" in written for permission in PERMISSIONS)
