"""Write the table of presets in docs/reference/chat-agent.md: what each checks, at which stage."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from chat_agent.guardrails.config import ENTITIES, NUMBERS, PRESETS, STAGES

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "chat-agent.md"
ENTITY_NAMES = {NUMBERS: "cards, IBANs, SSNs", ENTITIES: "personal data"}
BEGIN, END = "<!-- presets: written by `make contracts` -->\n", "<!-- end of presets -->\n"


def table() -> str:
    """Return the table (Markdown)."""
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows())


def rows() -> Iterator[Sequence[str]]:
    """Yield the cells of each row."""
    yield ["preset", *(f"`{stage}`" for stage in STAGES)]
    yield ["---"] * (len(STAGES) + 1)
    for name, stages in PRESETS.items():
        yield [f"`{name}`", *("; ".join(map(summary, stages.get(stage, []))) for stage in STAGES)]


def summary(guardrail: dict[str, Any]) -> str:
    """Return what a guardrail does in a few words."""
    config = guardrail.get("config", {})
    if "entities" in config:
        verb = "refuses" if config["block"] else "masks"
        return f"{verb} {ENTITY_NAMES[tuple(config['entities'])]}"
    threshold = f" ({config['threshold']})" if "threshold" in config else ""
    return f"{guardrail['name']}{threshold}"


def page() -> str:
    """Return the page with the table."""
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table()}{END}{after}"


def main(words: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when it is stale")
    new = page()
    if parser.parse_args(words).check:
        if new != PAGE.read_text():
            sys.exit(f"{PAGE.name} is stale: run `make contracts`")
        return
    PAGE.write_text(new)


if __name__ == "__main__":
    main()
