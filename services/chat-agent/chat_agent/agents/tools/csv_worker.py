"""Analyzes a CSV file in a process of its own: on its input are a line of JSON, which says how, and the file.

It runs as a script. When it reads the file it can open nothing any more: no file and no connection.
"""

import json
import re
import resource
import sys
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from io import BytesIO
from typing import Any

import polars as pl

CPU_SECONDS = 20
MEMORY_BYTES = 512 * 1024**2
SAMPLE = b"a,b,c,d\n1,2,x,2026-01-31\n3,4.5,y,2026-02-28\n"
SEPARATORS = ",;\t|"
SAMPLE_REQUEST = {
    "group_by": ["a"],
    "aggregation": "mean",
    "sort_by": "b",
    "descending": True,
    "limit": 1,
}


def main() -> None:
    """Read the request and the file, and write the result, or what is wrong with the request."""
    warm_up()
    deny_resources()
    request = json.loads(sys.stdin.buffer.readline())
    try:
        answer = {"result": analyze(request, sys.stdin.buffer.read())}
    except (pl.exceptions.PolarsError, ValueError, TypeError) as error:
        answer = {"error": str(error).partition("\n")[0][:300] or "The table cannot be analyzed."}
    sys.stdout.write(json.dumps(answer))


def warm_up() -> None:
    """Import what the operations need, which would be files to open later."""
    for operation in OPERATIONS:
        columns = [] if operation == "correlate" else ["b"]
        analyze({**SAMPLE_REQUEST, "columns": columns, "operation": operation}, SAMPLE)
    for content in (BOM_UTF16_LE, b"\xff"):  # each encoding is a module
        text_of(content)


def deny_resources() -> None:
    """Deny this process further files, connections and children, and much time and memory."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    # What it writes to, and not the addresses that polars reserves.
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))


def analyze(request: dict[str, Any], content: bytes) -> str:
    """Return the result of an operation as CSV."""
    result = OPERATIONS[request["operation"]](read(text_of(content)), request)
    if request["sort_by"] and request["operation"] in {"rows", "aggregate"}:
        result = result.sort(request["sort_by"], descending=request["descending"], nulls_last=True)
    return result.head(request["limit"]).write_csv()


def text_of(content: bytes) -> str:
    """Return the text of a file, in UTF-8 or as Excel stores it; raises ValueError."""
    if content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        return content.decode("utf-16")
    if b"\0" in content:
        raise ValueError("The file is no text. Save the table as CSV.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252")


def read(text: str) -> pl.DataFrame:
    """Return the table of a text, with the separator that its first line has most, or that it names."""
    lines = text if "\n" in text else text.replace("\r", "\n")
    first, _, rest = lines.partition("\n")
    if named := re.fullmatch(r"sep=(.)\r?", first, re.IGNORECASE):  # as Excel writes it
        lines = rest
    unquoted = re.sub(r'"[^"]*"', "", first)
    separator = named[1] if named else max(SEPARATORS, key=unquoted.count)
    return pl.read_csv(
        BytesIO(lines.encode()),
        separator=separator,
        decimal_comma=separator == ";" and re.search(r"\d,\d", lines) is not None,
        infer_schema_length=None,
        try_parse_dates=True,
    )


def describe(frame: pl.DataFrame, _request: dict[str, Any]) -> pl.DataFrame:
    """Return the columns with their types, what is missing, and how values are distributed."""
    summary = frame.describe()
    types = {"statistic": "type", **{name: str(kind) for name, kind in frame.schema.items()}}
    texts = summary.cast(dict.fromkeys(summary.columns, pl.String))
    return pl.concat([pl.DataFrame([types]).select(summary.columns), texts])


def rows(frame: pl.DataFrame, request: dict[str, Any]) -> pl.DataFrame:
    """Return rows as they are."""
    return frame.select(request["columns"]) if request["columns"] else frame


def aggregate(frame: pl.DataFrame, request: dict[str, Any]) -> pl.DataFrame:
    """Return an aggregate of columns, by group or of all rows."""
    values = [getattr(pl.col(name), request["aggregation"])() for name in request["columns"]]
    if request["group_by"]:
        return frame.group_by(request["group_by"], maintain_order=True).agg(pl.len().alias("rows"), *values)
    return frame.select(pl.len().alias("rows"), *values)


def correlate(frame: pl.DataFrame, request: dict[str, Any]) -> pl.DataFrame:
    """Return Pearson's correlation of each pair of columns."""
    names = request["columns"] or [name for name, kind in frame.schema.items() if kind.is_numeric()]
    pairs = [(one, other) for index, one in enumerate(names) for other in names[index + 1 :]]
    values = [frame.select(pl.corr(one, other)).item() for one, other in pairs]
    columns = {"column": [one for one, _ in pairs], "other": [other for _, other in pairs]}
    return pl.DataFrame({**columns, "correlation": values})


OPERATIONS = {"describe": describe, "rows": rows, "aggregate": aggregate, "correlate": correlate}

if __name__ == "__main__":
    main()
