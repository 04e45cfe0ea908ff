"""URLs that a service must refuse, and the members of requests in which it takes one."""

from collections.abc import Iterator
from typing import Any, Literal

Json = dict[str, Any]
Kind = Literal["malformed", "ambiguous", "scheme", "credentials", "plain", "port", "host"]

PUBLIC = "https://93.184.215.14/a"
# Not public, whatever they are called; what resolves them finds no name server.
HOSTS = [
    "127.0.0.1",
    "127.8.9.10",
    "localhost",
    "LOCALHOST.",
    "a.localhost",
    "0.0.0.0",  # noqa: S104  # an address that is refused
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.0.192",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "[::]",
    "[::1]",
    "[fc00::1]",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "[ff02::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:93.184.215.14]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2001:0:4136:e378:8000:63bf:3fff:fdd2]",
    "[2001:db8::1]",
    "2130706433",
    "0x7f000001",
    "0x5db8d70e",
    "0177.0.0.1",
    "127.1",
    "0x7f.1",
    "metadata.google.internal",
    "instance-data",
]
REFUSED: dict[Kind, list[str]] = {
    "malformed": [
        "",
        "/a",
        "example.com/a",
        "https://",
        "https://[oops/a",
        "https://[v1.x]/a",
        "https://[::1]x/a",
        "https://93.184.215.14:99999/a",
        "https://93.184.215.14:a/",
    ],
    # Some parsers read another host in them, or one at all.
    "ambiguous": [
        "https:///a",
        "https://93.184.215.14\\@10.0.0.1/",
        "https://93.184.215.14\\.example.com/",
        "https://örders.example.com/",
        "https://93.184.215.14:0/a",
    ],
    "scheme": [
        "ftp://93.184.215.14/a",
        "file:///etc/passwd",
        "gopher://93.184.215.14/a",
        "javascript:alert(1)",
        "stdio:npx",
    ],
    "credentials": [
        "https://me:secret@93.184.215.14/a",
        "https://me@93.184.215.14/a",
        "https://:secret@93.184.215.14/a",
    ],
    "plain": ["http://93.184.215.14/a"],
    "port": ["https://93.184.215.14:22/a", "https://93.184.215.14:6379/a"],
    "host": [f"https://{host}/a" for host in HOSTS],
}
EVERYWHERE: frozenset[Kind] = frozenset({"malformed", "scheme", "credentials"})
WHERE_CALLED: frozenset[Kind] = frozenset(REFUSED)


def refused(kinds: frozenset[Kind]) -> list[str]:
    """Return the URLs that a member refuses which refuses these kinds."""
    return [url for kind, urls in REFUSED.items() if kind in kinds for url in urls]


def url_members(document: Json) -> set[tuple[str, str]]:
    """Return the members of requests that take a URL, by format or name, each with its schema or path."""
    schemas, members = document["components"]["schemas"], set[tuple[str, str]]()
    pending = list(roots(document))
    visited = set[str]()
    while pending:
        owner, member, node = pending.pop()
        name = str(node.get("$ref", "")).rpartition("/")[2]
        if name and name not in visited:
            visited.add(name)
            pending.append((name, "", schemas[name]))
        if str(node.get("format", "")).startswith(("uri", "url")) or {"uri", "url"} & {*member.split("_")}:
            members.add((owner, member))
        pending += children(owner, member, node)
    return members


def roots(document: Json) -> Iterator[tuple[str, str, Json]]:
    """Yield the schemas of bodies and parameters, each with its path and name."""
    for path, item in document["paths"].items():
        for operation in item.values():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                yield path, "", content.get("schema", {})
            for parameter in operation.get("parameters", []):
                yield path, parameter["name"], parameter["schema"]


def children(owner: str, member: str, node: Json) -> Iterator[tuple[str, str, Json]]:
    """Yield the schemas in a schema, each with the member whose value it describes."""
    for name, schema in node.get("properties", {}).items():
        yield owner, name, schema
    for keyword in ("anyOf", "oneOf", "allOf", "prefixItems"):
        yield from ((owner, member, schema) for schema in node.get(keyword, []))
    for keyword in ("items", "additionalProperties"):
        if isinstance(schema := node.get(keyword), dict):
            yield owner, member, schema
