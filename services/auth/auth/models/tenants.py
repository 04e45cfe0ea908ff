"""The tables of tenants, and of what people are in them."""

from datetime import datetime
from uuid import UUID, uuid4

from servicekit.permissions import Role
from sqlalchemy import ForeignKey, func
from sqlalchemy.orm import Mapped, mapped_column

from auth.models.base import Base, one_of
from auth.models.people import User


class Tenant(Base):
    """A customer: the people and data that belong together."""

    __tablename__ = "tenants"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    slug: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Membership(Base):
    """What a person is in a tenant."""

    __tablename__ = "memberships"

    tenant_id: Mapped[UUID] = mapped_column(ForeignKey(Tenant.id, ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[UUID] = mapped_column(
        ForeignKey(User.id, ondelete="CASCADE"), primary_key=True, index=True
    )
    role: Mapped[Role] = mapped_column(one_of(Role, "role"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
