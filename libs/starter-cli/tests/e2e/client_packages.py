"""The client libraries, packed, installed into empty folders, and the programs that use them."""

import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from testkit.client_environments import UV, installed, run
from testkit.pacts import ROOT

TYPESCRIPT = ROOT / "libs" / "client-ts"
PYTHON = ROOT / "libs" / "client-python"
EXAMPLE = re.compile(r"^```ts\n(.*?)^```", re.MULTILINE | re.DOTALL)
# What the README's example takes from the page around it.
DECLARATIONS = """
declare const password: string;
declare function show(text: string): void;
declare function ask(name: string, values: string, approval: string): void;
"""


class Application(NamedTuple):
    """A program, and how it is started."""

    command: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str]


def installed_typescript(work: Path) -> Path:
    """Pack the library for TypeScript, and install it into an empty folder, which is returned."""
    ignored = shutil.ignore_patterns("node_modules", "dist", "openapi")
    copy = shutil.copytree(TYPESCRIPT, work / "libs" / "client-ts", ignore=ignored)
    (copy / "node_modules").symlink_to(node_modules())
    (work / "services").symlink_to(ROOT / "services")
    run(["npm", "pack", "--pack-destination", str(work)], copy)
    folder = work / "application"
    folder.mkdir()
    (folder / "package.json").write_text('{"type": "module"}')
    (package,) = work.glob("*.tgz")
    run(["npm", "install", "--offline", "--ignore-scripts", str(package)], folder)
    return folder


def node_modules() -> Path:
    """Return the folder of the programs that build the library."""
    return installed("testkit-node") / "node_modules"


def typescript(folder: Path) -> Application:
    """Compile the program, and the README's example, in a folder where the library is installed."""
    (example,) = EXAMPLE.findall((TYPESCRIPT / "README.md").read_text())
    (folder / "readme.ts").write_text(DECLARATIONS + example)
    for file in ("consumer.ts", "tsconfig.json"):
        shutil.copy(TYPESCRIPT / "tests" / file, folder)
    run([str(node_modules() / ".bin" / "tsc"), "--project", "."], folder)
    return Application(("node", "consumer.js"), folder, {})


def python(work: Path) -> Application:
    """Build the library, install it, and check the types of the program."""
    run([str(UV), "build", "--quiet", "--wheel", "--out-dir", str(work), str(PYTHON)], ROOT)
    (wheel,) = work.glob("*.whl")
    packages = work / "packages"
    install = ["pip", "install", "--quiet", "--offline", "--no-deps", "--python", sys.executable]
    run([str(UV), *install, "--target", str(packages), str(wheel)], work)
    assert (packages / "acme_client" / "py.typed").exists()
    shutil.copy(PYTHON / "tests" / "consumer.py", work)
    # Before what is installed for development.
    environment = {"PYTHONPATH": str(packages), "MYPYPATH": str(packages)}
    cache = ["--cache-dir", str(work / "cache")]
    run([sys.executable, "-m", "mypy", "--strict", *cache, "consumer.py"], work, environment)
    return Application((sys.executable, "consumer.py"), work, environment)
