"""Mail servers for the tests, good ones and bad ones, each on a free port of the loopback.

Usage: server.py DIR. It makes in DIR: ca.pem (the authority to trust), password (mode 0600), ports.json (name to port, written last),
mail/NAME-N.eml (the N-th mail that server NAME took, after lines with the envelope), and NAME.bytes (what the servers that are not to
be trusted were sent in clear text or after a spoilt STARTTLS).
"""

import asyncio
import datetime
import ipaddress
import json
import os
import pathlib
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DIR = pathlib.Path(sys.argv[1])
USER, PASSWORD = b"phiwatch", b"canary-Secret-1"
NOW = datetime.datetime.now(datetime.timezone.utc)
DAY = datetime.timedelta(days=1)


def name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def authority(text):
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name(text)).issuer_name(name(text)).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(NOW - 400 * DAY).not_valid_after(NOW + 400 * DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return key, certificate


def tls(issuer, label, host="localhost", start=NOW - DAY, end=NOW + DAY):
    """A server's TLS with a certificate for `host`, issued by `issuer`."""
    issuer_key, issuer_certificate = issuer
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.DNSName(host)] + ([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))] if host == "localhost" else [])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name(host)).issuer_name(issuer_certificate.subject).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(start).not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    pem = DIR / f"{label}.pem"
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    loaded = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    loaded.load_cert_chain(pem)
    return loaded


def authenticator(server, session, envelope, mechanism, login):
    # "Not handled" leaves the 535 to the library.
    return AuthResult(success=login.login == USER and login.password == PASSWORD, handled=False)


class Box:
    """Takes mails and keeps them, with the moods that a test asks for."""

    def __init__(self, label, mood=None):
        self.label, self.mood, self.count, self.tries = label, mood, 0, 0

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("gone@"):
            return "550 5.1.1 canary-words no such mailbox: " + address
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        self.tries += 1
        if self.mood == "greylist" and self.tries == 1:
            return "451 4.7.1 try again"
        self.count += 1
        head = f"X-Envelope-From: {envelope.mail_from}\nX-Envelope-To: {','.join(envelope.rcpt_tos)}\n"
        encrypted = server.transport.get_extra_info("ssl_object") is not None
        head += f"X-Encrypted: {encrypted}\nX-Authenticated: {session.authenticated or False}\n"
        path = DIR / "mail" / f"{self.label}-{self.count}.eml"
        part = path.with_suffix(".part")
        part.write_bytes(head.encode() + envelope.content)
        part.rename(path)
        if self.mood == "drop" and self.tries == 1:
            server.transport.abort()
        return "250 OK"


async def listen(label, context=None, mood=None, starttls=None, auth=False):
    box = Box(label, mood)

    def session():
        options = {"tls_context": starttls, "require_starttls": True} if starttls else {}
        if auth:
            # Under implicit TLS the library does not know that the connection is encrypted.
            options |= {"auth_required": True, "auth_require_tls": starttls is not None, "authenticator": authenticator}
        return SMTP(box, hostname="localhost", loop=asyncio.get_running_loop(), **options)

    server = await asyncio.get_running_loop().create_server(session, "127.0.0.1", 0, ssl=context)
    return server.sockets[0].getsockname()[1]


async def raw(label, dialogue):
    """A server of bytes; everything that it is sent is kept."""
    path = DIR / f"{label}.bytes"
    path.write_bytes(b"")

    async def serve(reader, writer):
        def keep(received):
            with path.open("ab") as out:
                out.write(received)

        try:
            await dialogue(reader, writer, keep)
        except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server.sockets[0].getsockname()[1]


async def plain(reader, writer, keep):
    """Offers no STARTTLS, and would take anything."""
    writer.write(b"220 localhost ESMTP\r\n")
    while line := await reader.readline():
        keep(line)
        verb = line[:4].upper()
        answers = {b"EHLO": b"250-localhost\r\n250 AUTH PLAIN LOGIN\r\n", b"QUIT": b"221 bye\r\n", b"DATA": b"354 go\r\n"}
        writer.write(answers.get(verb, b"250 OK\r\n"))


def injecting(context):
    """Puts answers behind the one to STARTTLS, as somebody on the way can: they must not count as said under TLS."""

    async def dialogue(reader, writer, keep):
        writer.write(b"220 localhost ESMTP\r\n")
        keep(await reader.readline())
        writer.write(b"250-localhost\r\n250 STARTTLS\r\n")
        keep(await reader.readline())
        writer.write(b"220 go\r\n250-localhost\r\n250 AUTH PLAIN\r\n235 in\r\n250 OK\r\n250 OK\r\n354 go\r\n250 taken\r\n")
        await writer.drain()
        await writer.start_tls(context)
        while line := await reader.readline():
            keep(line)
            writer.write(b"554 no\r\n")

    return dialogue


async def silent(reader, writer, keep):
    """Takes the connection and never says a word."""
    while received := await reader.read(1024):
        keep(received)


async def main():
    (DIR / "mail").mkdir()
    ours, strangers = authority("phiwatch test"), authority("somebody else")
    (DIR / "ca.pem").write_bytes(ours[1].public_bytes(serialization.Encoding.PEM))
    os.close(os.open(DIR / "password", os.O_CREAT | os.O_WRONLY, 0o600))
    (DIR / "password").write_bytes(PASSWORD + b"\n")
    good = tls(ours, "good")
    ports = {
        "starttls": await listen("starttls", starttls=good, auth=True),
        "implicit": await listen("implicit", context=good, auth=True),
        "wrong_host": await listen("wrong_host", context=tls(ours, "wrong_host", host="mail.example")),
        "unknown_ca": await listen("unknown_ca", context=tls(strangers, "unknown_ca")),
        "expired": await listen("expired", context=tls(ours, "expired", start=NOW - 9 * DAY, end=NOW - DAY)),
        "starttls_unknown_ca": await listen("starttls_unknown_ca", starttls=tls(strangers, "starttls_unknown_ca")),
        "greylist": await listen("greylist", context=good, mood="greylist"),
        "drop": await listen("drop", context=good, mood="drop"),
        "refusing": await listen("refusing", context=good),
        "plain": await raw("plain", plain),
        "inject": await raw("inject", injecting(good)),
        "silent": await raw("silent", silent),
    }
    part = DIR / "ports.part"
    part.write_text(json.dumps(ports))
    part.rename(DIR / "ports.json")
    await asyncio.Event().wait()


asyncio.run(main())
