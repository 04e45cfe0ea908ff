"""Postgres over TLS, with an authority of the tests' own.

The embedded server is built without TLS, so a front of ours speaks it, and asks for it as `hostssl` does.
"""

import asyncio
import datetime
import ssl
import struct
import threading
from asyncio import StreamReader, StreamWriter
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from sandbox.embedded import Postgres
from servicekit.postgres import create_engine
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

DAY = datetime.timedelta(days=1)
NOW = datetime.datetime.now(datetime.UTC)
TLS_REQUEST = struct.pack("!ii", 8, 80877103)
NO_ENCRYPTION = b"SFATAL\0C28000\0Mno pg_hba.conf entry for this host, no encryption\0\0"


class Authority:
    """An authority of the test's own."""

    def __init__(self, folder: Path, name: str) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.folder = folder
        builder = self._builder(self.name, self.key).add_extension(x509.BasicConstraints(True, None), True)
        self.certificate = self._write(f"{name}.crt", builder)

    def issue(self, name: str, *alternatives: x509.GeneralName) -> tuple[Path, Path]:
        """Issue a certificate; returns its file and its key's."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(subject, key)
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        private = self.folder / f"{name}.key"
        private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        private.chmod(0o600)
        return self._write(f"{name}.pem", builder), private

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - DAY)
            .not_valid_after(NOW + DAY)
        )

    def _write(self, name: str, builder: x509.CertificateBuilder) -> Path:
        path = self.folder / name
        path.write_bytes(builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM))
        return path


class Front:
    """A server that takes connections over TLS only, in front of one that knows none."""

    def __init__(self, server: Postgres, folder: Path) -> None:
        self.authority, self.stranger = Authority(folder, "ours"), Authority(folder, "theirs")
        certificate, key = self.authority.issue("server", x509.IPAddress(ip_address("127.0.0.1")))
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, key)
        self._context.load_verify_locations(self.authority.certificate)
        self._context.verify_mode = ssl.CERT_OPTIONAL
        self._server = server
        # Each connection's version of TLS, and the name in its client's certificate.
        self.connections: list[str] = []

    def url(self, host: str = "127.0.0.1", **parameters: object) -> str:
        """Return its address."""
        query = "&".join(f"{name}={value}" for name, value in parameters.items())
        return f"{self._server.url.replace(f'127.0.0.1:{self._server.port}', f'{host}:{self.port}')}?{query}"

    async def serve(self, listening: threading.Event) -> None:
        """Serve until it is cancelled."""
        self.loop = asyncio.get_running_loop()
        self.task = asyncio.current_task()
        server = await asyncio.start_server(self._admit, "127.0.0.1", 0)
        self.port: int = server.sockets[0].getsockname()[1]
        listening.set()
        async with server:
            await server.serve_forever()

    async def _admit(self, reader: StreamReader, writer: StreamWriter) -> None:
        try:
            if await reader.readexactly(8) != TLS_REQUEST:
                writer.write(b"E" + struct.pack("!i", len(NO_ENCRYPTION) + 4) + NO_ENCRYPTION)
                return
            writer.write(b"S")
            await writer.drain()
            await writer.start_tls(self._context)
            self._note(writer)
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._server.port)
            await asyncio.gather(pass_on(reader, far_writer), pass_on(far_reader, writer))
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    def _note(self, writer: StreamWriter) -> None:
        names = [
            value
            for part in (writer.get_extra_info("peercert") or {}).get("subject", ())
            for _, value in part
        ]
        self.connections.append(" ".join([writer.get_extra_info("ssl_object").version(), *names]))


async def pass_on(reader: StreamReader, writer: StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


def run(front: Front, listening: threading.Event) -> None:
    try:
        asyncio.run(front.serve(listening))
    except asyncio.CancelledError:
        return


@pytest.fixture(scope="module")
def front(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    front, listening = Front(postgres, tmp_path_factory.mktemp("authority")), threading.Event()
    thread = threading.Thread(target=run, args=(front, listening), daemon=True)
    thread.start()
    assert listening.wait(60)
    yield front
    assert front.task
    front.loop.call_soon_threadsafe(front.task.cancel)
    thread.join(60)


@pytest.fixture
def secured(front: Front) -> Front:
    front.connections.clear()
    return front


async def answer(url: str, statement: str = "select 1") -> tuple[object, ...]:
    """Query through an engine, as a service does."""
    engine = create_engine(url, "tests")
    try:
        async with engine.connect() as connection:
            return tuple((await connection.execute(text(statement))).one())
    finally:
        await engine.dispose()


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg"])
@pytest.mark.parametrize("mode", ["allow", "prefer", "require"])
async def test_encrypts_wherever_the_server_wants_it(secured: Front, scheme: str, mode: str) -> None:
    await answer(secured.url(sslmode=mode).replace("postgresql:", f"{scheme}:"))
    assert secured.connections == ["TLSv1.3"]


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
async def test_knows_the_server_by_its_authority(secured: Front, mode: str) -> None:
    await answer(secured.url(sslmode=mode, sslrootcert=secured.authority.certificate))
    assert secured.connections == ["TLSv1.3"]


async def test_refuses_a_server_by_another_name(secured: Front) -> None:
    trust = {"sslrootcert": secured.authority.certificate}
    with pytest.raises(ssl.SSLCertVerificationError, match="localhost"):
        await answer(secured.url("localhost", sslmode="verify-full", **trust))
    await answer(secured.url("localhost", sslmode="verify-ca", **trust))
    assert secured.connections == ["TLSv1.3"]


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
async def test_refuses_a_server_of_another_authority(secured: Front, mode: str) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        await answer(secured.url(sslmode=mode, sslrootcert=secured.stranger.certificate))


async def test_refuses_a_server_that_the_machine_does_not_trust(secured: Front) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        await answer(secured.url(sslrootcert="system"))


async def test_a_server_that_wants_encryption_refuses_to_do_without(secured: Front) -> None:
    with pytest.raises(DBAPIError, match="no encryption"):
        await answer(secured.url(sslmode="disable"))


async def test_takes_no_plain_connection_where_encryption_is_required(postgres: Postgres) -> None:
    with pytest.raises(ConnectionError, match="SSL"):
        await answer(f"{postgres.url}?sslmode=require")
    await answer(postgres.url)


async def test_shows_its_certificate(secured: Front) -> None:
    certificate, key = secured.authority.issue("machine")
    url = secured.url(
        sslmode="verify-full",
        sslrootcert=secured.authority.certificate,
        sslcert=certificate,
        sslkey=key,
    )
    await answer(url)
    assert secured.connections == ["TLSv1.3 machine"]
