"""Where an embedded part keeps its files: one owner at a time, reachable for the account it runs as."""

import fcntl
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from sandbox.processes import Account, ServerUnavailable, run, wait_until

_PERSISTENT_DIR = Path("/var/lib")
_TEMPORARY_DIRS = (Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp"))  # noqa: S108 the first may be private
_DIR_NAME = "acme-embedded"


def lock_data_dir(part: str, folder: Path, *, seconds: float = 10.0) -> int:
    """Lock a data folder and return the lock's descriptor; whoever inherits it holds the folder too."""
    descriptor = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    if wait_until(lambda: _try_lock(descriptor), seconds=seconds):
        return descriptor
    os.close(descriptor)
    raise ServerUnavailable(part, f"another process uses its data folder {folder}", folder / "log")


def _try_lock(descriptor: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def load_or_create_secret(path: Path) -> str:
    """Read the secret in a file that only we can read; make one at the first call."""
    with suppress(FileNotFoundError):
        return path.read_text()
    write_private(path, secret := secrets.token_urlsafe(24))
    return secret


def write_private(path: Path, text: str) -> None:
    """Write a file with mode 0600, whole or not at all."""
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    with open(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(text)
    partial.replace(path)


def can_use(path: Path, account: Account) -> bool:
    """Whether the account may enter the folder or run the file. It is tried, so access lists count too."""
    try:
        run("probe", ["/bin/sh", "-c", 'test -x "$0"', path], account=account)
    except ServerUnavailable:
        return False
    return True


def reachable_dir(part: str, data_dir: Path, account: Account | None, *, durable: bool) -> Path:
    """Find a folder that the account can reach for the files of data_dir: itself, or else a system folder.

    A system folder is remembered in data_dir, which may be moved. In a temporary folder everything is swept
    away when its origin is gone; durable data is only its owner's to delete.
    """
    if account is None or can_use(data_dir, account):
        return data_dir
    note = data_dir / "home"
    home = Path(note.read_text()) if note.exists() else None
    if home is None or _belongs_to_another(home, data_dir):
        home = _shared_folder(part, account, lasting=durable) / secrets.token_hex(8)
    home.mkdir(exist_ok=True)
    home.chmod(0o755)
    write_private(home / "origin", str(data_dir))
    write_private(note, str(home))
    return home


def _belongs_to_another(home: Path, data_dir: Path) -> bool:
    """Whether data_dir is a copy of a folder that still stands, whose files are not ours to share."""
    origin = home / "origin"
    if not origin.exists() or origin.read_text() == str(data_dir):
        return False
    note = Path(origin.read_text()) / "home"
    return note.exists() and note.read_text() == str(home)


def _shared_folder(part: str, account: Account, *, lasting: bool) -> Path:
    """Make our folder in a system folder that the account can enter."""
    candidates = [_PERSISTENT_DIR, *_TEMPORARY_DIRS] if lasting else _TEMPORARY_DIRS
    for parent in candidates:
        if os.access(parent, os.W_OK) and can_use(parent, account):
            folder = _create_own_dir(part, parent / _DIR_NAME)
            if parent != _PERSISTENT_DIR:
                _remove_orphans(folder)
            return folder
    raise ServerUnavailable(part, f"no folder of {[str(each) for each in candidates]} can be used")


def _create_own_dir(part: str, folder: Path) -> Path:
    """Make a folder that is ours; temporary folders are open to all, so another's is refused."""
    folder.mkdir(exist_ok=True, mode=0o755)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise ServerUnavailable(part, f"{folder} is not a folder of ours alone; remove it")
    folder.chmod(0o755)
    return folder


def _remove_orphans(shared: Path) -> None:
    for origin in shared.glob("*/origin"):
        with suppress(OSError):
            if not Path(origin.read_text()).exists():
                shutil.rmtree(origin.parent, ignore_errors=True)


def reachable_copy(
    part: str, site: Path, program: str, needs: Sequence[str], account: Account | None
) -> Path:
    """Return `site` itself, or a kept copy of the folders a program needs where the account cannot run it."""
    if account is None or can_use(site / program, account):
        return site
    status = (site / program).stat()
    key = sha256(f"{site}:{status.st_ino}:{status.st_mtime_ns}".encode()).hexdigest()[:16]
    copy = _shared_folder(part, account, lasting=False) / key
    if not copy.exists():
        _copy_world_readable(site, needs, copy)
    return copy


def _copy_world_readable(site: Path, needs: Sequence[str], copy: Path) -> None:
    partial = copy.with_name(f"{copy.name}.{secrets.token_hex(4)}")
    for name in needs:
        if (site / name).exists():
            shutil.copytree(site / name, partial / name)
    for path in (partial, *partial.rglob("*")):
        mode = path.stat().st_mode
        path.chmod(mode | (0o555 if path.is_dir() or mode & 0o100 else 0o444))
    (partial / "origin").write_text(str(site))
    with suppress(OSError):  # somebody else was faster
        partial.rename(copy)
    shutil.rmtree(partial, ignore_errors=True)
