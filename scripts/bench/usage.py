"""What processes use, read from /proc: CPU time of whole families, and memory that is theirs."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")

# The processes of a system: group (services, gateway, databases) -> part -> the first process of each.
Parts = Mapping[str, Mapping[str, int]]
# CPU milliseconds: (group, part) -> spent so far.
Spent = dict[tuple[str, str], float]


def cpu_spent(parts: Parts, proc: Path = Path("/proc")) -> Spent:
    """Read the CPU time that every part has spent, its children included, those that have ended too."""
    families = children_by_parent(proc)
    return {
        (group, part): sum(cpu_ms(proc, pid) for pid in family(pid, families))
        for group, members in parts.items()
        for part, pid in members.items()
    }


def others_ms(proc: Path = Path("/proc")) -> float:
    """Read the CPU time that the machine has spent on anything but us and what we have started."""
    # user, nice, system, then idle and iowait, irq, softirq, steal: proc_stat(5).
    first = (proc / "stat").read_text().splitlines()[0].split()[1:9]
    busy = sum(int(ticks) for number, ticks in enumerate(first) if number not in {3, 4})
    ours = sum(cpu_ms(proc, pid) for pid in family(os.getpid(), children_by_parent(proc)))
    return busy * 1000 / TICKS - ours


def memory_kb(parts: Parts, proc: Path = Path("/proc")) -> int:
    """Read the memory of all parts (PSS: what is shared counts once)."""
    families = children_by_parent(proc)
    first = (pid for members in parts.values() for pid in members.values())
    return sum(pss_kb(proc, pid) for one in first for pid in family(one, families))


def children_by_parent(proc: Path) -> Mapping[int, Sequence[int]]:
    """Read who is whose child."""
    children: dict[int, list[int]] = {}
    for folder in proc.iterdir():
        if folder.name.isdigit() and (fields := stat(proc, int(folder.name))):
            children.setdefault(int(fields[1]), []).append(int(folder.name))
    return children


def family(pid: int, families: Mapping[int, Sequence[int]]) -> Iterable[int]:
    """Return a process, its children, and theirs."""
    yield pid
    for child in families.get(pid, ()):
        yield from family(child, families)


def cpu_ms(proc: Path, pid: int) -> float:
    """Read the CPU time of a process and of its children that have ended; 0 when it is gone."""
    # utime, stime, cutime, cstime: proc_pid_stat(5), counted from the state, which follows the name.
    return sum(map(int, stat(proc, pid)[11:15])) * 1000 / TICKS


def stat(proc: Path, pid: int) -> Sequence[str]:
    """Read the fields of a process from its state on; none when it is gone."""
    try:
        return (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def pss_kb(proc: Path, pid: int) -> int:
    """Read the memory of a process, its share of what is shared; 0 when it is gone."""
    try:
        lines = (proc / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
