"""What scripts/bench counts and reads; that the systems run is for whoever runs it to see."""

import asyncio
import json
import os
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest
from testkit.pacts import ROOT

sys.path.append(str(ROOT))

from scripts.bench import profile, usage
from scripts.bench.client import Exchange, Request, send
from scripts.bench.rows import difference
from scripts.bench.systems import Dialect
from scripts.bench.timing import parse_turn, percentile

DIALECT = Dialect("delta", "end", "text")
TOKENS = ["One", " two", " three", "."]


def frame(event, **data):
    return f"event: {event}\ndata: {json.dumps(data)}\n\n".encode()


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def received(*reads):
    return Exchange(sent_at=100.0, reads=[(100.0 + number, data) for number, data in enumerate(reads, 1)])


def test_percentiles_are_values_that_there_were():
    hundred = [*range(100, 0, -1)]
    assert (percentile(hundred, 0.5), percentile(hundred, 0.99)) == (50, 99)
    assert percentile([7], 0.5) == percentile([7], 0.99) == 7
    assert percentile([], 0.5) is None


def test_reads_an_answer_however_it_is_cut_into_pieces():
    frames = [frame("delta", text=token) for token in TOKENS]
    answer = HEAD + b"".join(map(chunk, [*frames, b": keep-alive\n\n", frame("end")])) + END

    for size in (1, 2, 7, 1000):
        reads = [(1.0, answer[at : at + size]) for at in range(0, len(answer), size)]
        turn = parse_turn(Exchange(0.5, reads), DIALECT, tokens=4, rate=0)
        assert (turn.failure, turn.first_token, turn.whole) == ("", 500, 500)


def test_tells_how_late_each_token_was_also_when_several_come_together():
    first, rest = frame("delta", text="One tw"), frame("delta", text="o three.") + frame("end")

    turn = parse_turn(received(HEAD, chunk(first), chunk(rest) + END), DIALECT, tokens=4, rate=1)

    # Half a token does not count: the second is whole with the second delta. Due at 0, 1, 2 and 3 seconds.
    assert turn.delays == [2000, 2000, 1000, 0]
    assert turn.first_token == 2000


def test_reads_line_ends_of_either_kind():
    output = (frame("delta", text="One") + frame("end")).replace(b"\n", b"\r\n")

    assert not parse_turn(received(HEAD + chunk(output) + END), DIALECT, tokens=1, rate=0).failure


@pytest.mark.parametrize(
    ("reads", "why"),
    [
        ([HEAD + chunk(frame("delta", text="One")) + END], "1 of 1 tokens, last delta"),
        ([HEAD + chunk(frame("end")) + END], "0 of 1 tokens, last end"),
        ([HEAD + chunk(frame("failed", code="model_gone")) + END], "0 of 1 tokens, last failed model_gone"),
        ([HEAD + END], "0 of 1 tokens, no event"),
        ([b'HTTP/1.1 503 No\r\n\r\n{"code":"limits_unavailable"}'], "status 503 limits_unavailable"),
        ([], "status 0"),
    ],
)
def test_an_answer_that_is_not_whole_has_failed(reads, why):
    assert parse_turn(received(*reads), DIALECT, tokens=1, rate=40).failure == why


@asynccontextmanager
async def serving(answer):
    async def serve(reader, writer):
        await reader.readuntil(b"hello")
        writer.write(answer)
        await writer.drain()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/chat"


async def test_stops_listening_at_the_end_of_the_chunks():
    async with serving(HEAD + chunk(b"data: x\n\n") + END) as url:
        answer = await send(Request(url, b"hello"), seconds=60)

    assert (answer.error, b"".join(data for _, data in answer.reads)[-5:]) == ("", END)


async def test_gives_up_after_a_while():
    async with serving(HEAD) as url:
        answer = await send(Request(url, b"hello"), seconds=0.05)

    assert answer.error == "no end within 0.05 s"


def process(proc, pid, parent, ticks, pss):
    folder = proc / str(pid)
    folder.mkdir(parents=True)
    before, after = "S", " ".join(["0"] * 9)
    (folder / "stat").write_text(f"{pid} (a (b) c) {before} {parent} {after} {ticks} 20 0\n")
    (folder / "smaps_rollup").write_text(f"00-ff [rollup]\nRss: 99 kB\nPss:  {pss} kB\nPss_Anon: 1 kB\n")


def test_counts_the_time_and_memory_of_whole_families(tmp_path):
    process(tmp_path, 10, 1, "1 2 3 4", pss=100)
    process(tmp_path, 11, 10, "5 0 0 0", pss=20)
    process(tmp_path, 12, 11, "0 0 5 0", pss=3)
    process(tmp_path, 20, 1, "50 0 0 0", pss=4000)
    (tmp_path / "uptime").write_text("1 1")
    parts = {"services": {"chat": 10}, "databases": {"postgres": 99}}

    assert usage.cpu_spent(parts, tmp_path) == {
        ("services", "chat"): 20 * 1000 / usage.TICKS,
        ("databases", "postgres"): 0,
    }
    assert usage.memory_kb(parts, tmp_path) == 123


def test_counts_what_others_take_of_the_machine(tmp_path):
    process(tmp_path, os.getpid(), 1, "10 10 0 0", pss=1)
    (tmp_path / "stat").write_text("cpu  50 10 30 9000 900 1 2 7 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n")

    assert usage.others_ms(tmp_path) == (100 - 20) * 1000 / usage.TICKS


def test_a_process_that_has_ended_spoils_the_measurement():
    with pytest.raises(RuntimeError, match="chat has ended"):
        difference({("services", "chat"): 20.0}, {("services", "chat"): 0.0})


def test_sums_a_profile_up_without_threads_that_wait(tmp_path):
    samples = tmp_path / "samples"
    samples.write_text(
        "main (a.py:1);send (asyncio/x.py:22) 30\nrun (b.py:3);Condition.wait (threading.py:324) 70\n"
    )

    assert [*profile.read(samples)] == [(["main (a.py)", "send (asyncio/x.py)"], 30)]
    assert profile.package("send (asyncio/x.py)") == "asyncio"


def test_explains_itself():
    command = [sys.executable, "-m", "scripts.bench", "chat", "--help"]

    assert "--streams" in subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
