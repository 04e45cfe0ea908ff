"""The approximate place of an IP address, from a database of MaxMind's format."""

from math import asin, cos, radians, sin, sqrt
from pathlib import Path
from typing import Annotated, Any

import maxminddb
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

EARTH_RADIUS_KM = 6371
# Where a map does not say how sure it is.
DEFAULT_RADIUS_KM = 100


def round_to_ten_km(degrees: float) -> float:
    """Round degrees to about ten kilometres."""
    return round(degrees, 1)


class Location(BaseModel):
    """An approximate place in degrees, and its accuracy in km."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    latitude: Annotated[float, Field(ge=-90, le=90), AfterValidator(round_to_ten_km)]
    longitude: Annotated[float, Field(ge=-180, le=180), AfterValidator(round_to_ten_km)]
    radius: Annotated[float, Field(ge=0, alias="accuracy_radius")] = DEFAULT_RADIUS_KM


class GeoIp:
    """Finds the places of addresses in a database file; without one, no place is known."""

    def __init__(self, database: Path | None) -> None:
        # In memory, so that a file that is replaced under us harms nobody.
        self._reader = maxminddb.open_database(database, maxminddb.MODE_MEMORY) if database else None

    def place_name(self, address: str) -> str | None:
        """Return the city and country of an IP address, as far as they are known."""
        record = self._look_up(address)
        names = [name for part in ("city", "country") if (name := text_in(record, part, "names", "en"))]
        return ", ".join(names) or None

    def country(self, address: str) -> str | None:
        """Return the country of an address (ISO 3166-1 alpha-2), if it is known."""
        return text_in(self._look_up(address), "country", "iso_code")

    def location(self, address: str) -> Location | None:
        """Return about where an address is on the globe, if it is known."""
        try:
            return Location.model_validate(self._look_up(address)["location"])
        except (KeyError, TypeError, ValueError):
            return None

    def _look_up(self, address: str) -> Any:
        try:
            return self._reader and self._reader.get(address.partition("/")[0])
        except ValueError:
            return None


def distance_km(one: Location, other: Location) -> float:
    """Return how far two places are from each other, over the ground, in km (haversine)."""
    here, there = radians(one.latitude), radians(other.latitude)
    across = radians(other.longitude - one.longitude)
    half_chord = sin((there - here) / 2) ** 2 + cos(here) * cos(there) * sin(across / 2) ** 2
    return 2 * EARTH_RADIUS_KM * asin(min(1, sqrt(half_chord)))


def text_in(record: Any, *path: str) -> str | None:
    """Return a text of a record, if it is there."""
    try:
        for name in path:
            record = record[name]
    except (KeyError, TypeError):
        return None
    return record if isinstance(record, str) else None
