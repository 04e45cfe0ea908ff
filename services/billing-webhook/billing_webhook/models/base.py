"""What all tables of billing-webhook are made with."""

from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

from servicekit.database import metadata
from sqlalchemy import BigInteger, Numeric, Text
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.orm import DeclarativeBase


class Base(DeclarativeBase):
    """The registry of this service's tables."""

    metadata = metadata()
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: TIMESTAMP(timezone=True),
        int: BigInteger,
        str: Text,
        Decimal: Numeric(30, 6),
        dict[str, Any]: JSONB,
        list[dict[str, Any]]: JSONB,
    }
