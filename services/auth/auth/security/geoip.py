"""Where an address is, roughly: from a database of MaxMind's format, if there is one."""

from math import asin, cos, radians, sin, sqrt
from pathlib import Path
from typing import Annotated, Any

import maxminddb
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

EARTH_RADIUS_KM = 6371
# Where a map does not say how sure it is.
USUAL_RADIUS_KM = 100


def roughly(degrees: float) -> float:
    """Leave out what is nearer than ten kilometres."""
    return round(degrees, 1)


class Spot(BaseModel):
    """About where somebody was, in degrees, and how far off (km) that may be."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    latitude: Annotated[float, Field(ge=-90, le=90), AfterValidator(roughly)]
    longitude: Annotated[float, Field(ge=-180, le=180), AfterValidator(roughly)]
    radius: Annotated[float, Field(ge=0, alias="accuracy_radius")] = USUAL_RADIUS_KM


class Places:
    """Looks addresses up in a database file; without one, nobody is anywhere."""

    def __init__(self, database: Path | None) -> None:
        # In memory, so that a file that is replaced under us harms nobody.
        self._reader = maxminddb.open_database(database, maxminddb.MODE_MEMORY) if database else None

    def find(self, address: str) -> str | None:
        """Name the town and country of an address, as far as they are known."""
        found = self._look_up(address)
        names = [name for part in ("city", "country") if (name := text_in(found, part, "names", "en"))]
        return ", ".join(names) or None

    def country(self, address: str) -> str | None:
        """Give the country of an address (ISO 3166-1 alpha-2), if it is known."""
        return text_in(self._look_up(address), "country", "iso_code")

    def spot(self, address: str) -> Spot | None:
        """Give about where an address is on the globe, if it is known."""
        try:
            return Spot.model_validate(self._look_up(address)["location"])
        except (KeyError, TypeError, ValueError):
            return None

    def _look_up(self, address: str) -> Any:
        try:
            return self._reader and self._reader.get(address.partition("/")[0])
        except ValueError:
            return None


def apart(one: Spot, other: Spot) -> float:
    """Give how far two places are from each other, over the ground, in km (haversine)."""
    here, there = radians(one.latitude), radians(other.latitude)
    across = radians(other.longitude - one.longitude)
    half_chord = sin((there - here) / 2) ** 2 + cos(here) * cos(there) * sin(across / 2) ** 2
    return 2 * EARTH_RADIUS_KM * asin(min(1, sqrt(half_chord)))


def text_in(found: Any, *path: str) -> str | None:
    """Take a text out of a record, if it is there."""
    try:
        for name in path:
            found = found[name]
    except (KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None
