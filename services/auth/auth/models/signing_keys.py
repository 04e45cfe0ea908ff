"""The table of the signing keys."""

from sqlalchemy import BigInteger, CheckConstraint, SmallInteger
from sqlalchemy.orm import Mapped, mapped_column

from auth.models.base import Base


class SigningKeyRing(Base):
    """All signing keys, as one document with sealed private parts; `version` counts its changes."""

    __tablename__ = "signing_key_rings"
    __table_args__ = (CheckConstraint("id = 1", name="only_one"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    version: Mapped[int] = mapped_column(BigInteger)
    document: Mapped[str]
