"""What all tables of auth are made with."""

from datetime import datetime
from enum import Enum
from typing import Any, ClassVar

from servicekit.database import metadata
from sqlalchemy import Enum as OneOf
from sqlalchemy import Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP
from sqlalchemy.orm import DeclarativeBase


def string_enum(kind: type[Enum], name: str) -> OneOf:
    """Store an enumeration as text with a check; types of Postgres' own are laborious to change."""
    return OneOf(
        kind,
        native_enum=False,
        create_constraint=True,
        length=32,
        name=name,
        values_callable=lambda members: [member.value for member in members],
    )


class Base(DeclarativeBase):
    """The registry of this service's tables."""

    metadata = metadata()
    type_annotation_map: ClassVar = {
        datetime: TIMESTAMP(timezone=True),
        str: Text,
        list[str]: ARRAY(Text),
        dict[str, Any]: JSONB,
    }
