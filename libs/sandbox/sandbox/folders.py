"""Where an embedded part keeps its files: one owner at a time, reachable for the account it runs as."""

import fcntl
import os
import secrets
import shutil
import stat
import tempfile
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from sandbox.processes import Account, PartUnavailable, run, wait_until

_SHARED = "acme-embedded"


def hold(part: str, folder: Path, *, seconds: float = 10.0) -> int:
    """Lock a data folder and return the lock's descriptor; whoever inherits it holds the folder too."""
    descriptor = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    if wait_until(lambda: _locked(descriptor), seconds=seconds):
        return descriptor
    os.close(descriptor)
    raise PartUnavailable(part, f"another process uses its data folder {folder}", folder / "log")


def _locked(descriptor: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def kept_secret(path: Path) -> str:
    """The secret in a file that only we can read, made at the first call."""
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


def can_enter(folder: Path, account: Account) -> bool:
    """Whether the account may traverse to the folder. It is tried, so that access lists count too."""
    try:
        run("probe", ["/bin/sh", "-c", 'test -x "$0"', folder], account=account)
    except PartUnavailable:
        return False
    return True


def home_for(data_dir: Path, account: Account | None, *, durable: bool) -> Path:
    """A folder that the account can reach for the files of data_dir: itself, or else a system folder.

    A system folder is remembered in data_dir, which may be moved, and swept away when data_dir is gone
    (only where it lies in the temporary folder; durable data is nobody's but its owner's to delete).
    """
    if account is None or can_enter(data_dir, account):
        return data_dir
    note = data_dir / "home"
    shared = shared_folder(durable=durable)
    _sweep(shared)
    home = Path(note.read_text()) if note.exists() else shared / secrets.token_hex(8)
    if _belongs_elsewhere(home, data_dir):
        home = shared / secrets.token_hex(8)
    home.mkdir(exist_ok=True, mode=0o755)
    home.chmod(0o755)
    write_private(home / "origin", str(data_dir))
    write_private(note, str(home))
    return home


def _belongs_elsewhere(home: Path, data_dir: Path) -> bool:
    """Whether data_dir is a copy of a folder that still stands, whose files are not ours to share."""
    origin = home / "origin"
    if not origin.exists() or origin.read_text() == str(data_dir):
        return False
    note = Path(origin.read_text()) / "home"
    return note.exists() and note.read_text() == str(home)


def _sweep(shared: Path) -> None:
    if not shared.is_relative_to(tempfile.gettempdir()):
        return
    for origin in shared.glob("*/origin"):
        with suppress(OSError):
            if not Path(origin.read_text()).exists():
                shutil.rmtree(origin.parent, ignore_errors=True)


def shared_folder(*, durable: bool) -> Path:
    """Our folder in a system folder that every account can enter: /var/lib for what must last."""
    lasting = durable and os.access("/var/lib", os.W_OK)
    folder = Path("/var/lib" if lasting else tempfile.gettempdir()) / _SHARED
    folder.mkdir(exist_ok=True, mode=0o755)
    found = folder.lstat()
    # The temporary folder is open to all: take nothing over that another user has laid out there.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise PartUnavailable("Postgres", f"{folder} is not a folder of ours alone; remove it")
    folder.chmod(0o755)
    return folder


def reachable_copy(source: Path, account: Account | None) -> Path:
    """The folder itself, or a kept copy of it where the account cannot enter it."""
    if account is None or can_enter(source, account):
        return source
    found = source.stat()
    key = sha256(f"{source}:{found.st_ino}:{found.st_mtime_ns}".encode()).hexdigest()[:16]
    copy = shared_folder(durable=False) / f"{source.name}-{key}"
    if not copy.exists():
        partial = copy.with_name(f"{copy.name}.{secrets.token_hex(4)}")
        shutil.copytree(source, partial, symlinks=True)
        with suppress(OSError):  # somebody else was faster
            partial.rename(copy)
        shutil.rmtree(partial, ignore_errors=True)
    return copy
