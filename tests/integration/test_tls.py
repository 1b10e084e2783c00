"""Certificates are verified, always: an unknown authority and a wrong name are refused, an authority of one's own works."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from config.loading import ConfigError, load
from config.settings import (
    DrupalDatabaseSettings,
    DrupalJsonApiSettings,
    MappedValue,
    RedisSettings,
    Secret,
    Settings,
    TargetSettings,
)
from drupal.jsonapi import JsonApiReader
from provisioning.errors import Outage, SourceUnreadable
from provisioning.model import SourceUser
from scim.target import open_target
from state.connection import RedisUnavailable, open_redis, sync_client
from tests.support.jsonapi_site import JsonApiSite
from tests.support.tls import make_certificates, tls_relay


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificates(tmp_path_factory.mktemp("tls"))


class Nobody(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b'{"totalResults": 0, "Resources": []}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def served(folder: Path | None) -> Iterator[int]:
    """folder: of the certificates; None: without TLS."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Nobody)
    if folder is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.pem")
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def probe(base_url: str, folder: Path, ca_file: Path | None) -> None:
    (folder / "token").write_text("canary-token")
    settings = TargetSettings(
        name="acme",
        base_url=base_url,
        token=Secret(file=folder / "token"),
        mapping={"userName": MappedValue(value="name")},
        ca_file=ca_file,
    )

    async def run() -> None:
        target = open_target(settings)
        try:
            await target.probe()
        finally:
            await target.close()

    asyncio.run(run())


def test_an_authority_of_ones_own_is_trusted_and_no_other(certificates):
    with served(certificates) as port:
        probe(f"https://localhost:{port}/scim", certificates, certificates / "ca.pem")
        with pytest.raises(Outage, match="certificate is not trusted"):
            probe(f"https://localhost:{port}/scim", certificates, None)
        with pytest.raises(Outage, match="certificate is not trusted"):
            probe(f"https://127.0.0.1:{port}/scim", certificates, certificates / "ca.pem")


def test_a_port_without_tls_is_told_as_that(tmp_path):
    with served(None) as port, pytest.raises(Outage, match="no TLS at that port"):
        probe(f"https://localhost:{port}/scim", tmp_path, None)


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_file_that_is_no_authority_is_told_by_its_key(tmp_path, content):
    if content is not None:
        (tmp_path / "ca.pem").write_text(content)
    (tmp_path / "scimpipe.toml").write_text(
        '[drupal]\nurl = "sqlite:///x"\n[targets.acme]\nbase_url = "https://acme.example"\nca_file = "ca.pem"\n'
        'token = { env = "T" }\n[targets.acme.mapping]\nuserName = "name"\nexternalId = "uuid"\n'
    )
    with pytest.raises(ConfigError, match=r"targets\.acme\.ca_file: .*ca\.pem is not a readable PEM file"):
        load(tmp_path / "scimpipe.toml")


# -- Redis, and Drupal over JSON:API -------------------------------------------------------------------------


def redis_settings(url: str, ca_file: Path | None) -> Settings:
    drupal = DrupalDatabaseSettings(url="sqlite:///x")
    return Settings(path=Path("x"), redis=RedisSettings(url=url, ca_file=ca_file), drupal=drupal, targets={})


def redis_answers(settings: Settings) -> bool:
    async def run() -> bool:
        client = await open_redis(settings)
        try:
            return bool(await client.ping())
        finally:
            await client.aclose()

    return asyncio.run(run())


def test_redis_is_verified_as_well(certificates, redis_url):
    ca = certificates / "ca.pem"
    with tls_relay(urlsplit(redis_url).port or 0, certificates) as port:
        good = redis_settings(f"rediss://localhost:{port}/0", ca)
        assert redis_answers(good)
        # dramatiq's own client
        assert sync_client(good).ping()
        for url, file in ((f"rediss://localhost:{port}/0", None), (f"rediss://127.0.0.1:{port}/0", ca)):
            with pytest.raises(RedisUnavailable, match="certificate that is not trusted"):
                redis_answers(redis_settings(url, file))


def test_drupal_is_verified_as_well(certificates, tmp_path):
    (tmp_path / "password").write_text("right")

    def verify(url: str, ca_file: Path | None) -> str:
        settings = DrupalJsonApiSettings(
            kind="jsonapi",
            base_url=url,
            username="reader",
            password=Secret(file=tmp_path / "password"),
            ca_file=ca_file,
        )

        async def run() -> str:
            reader = JsonApiReader(settings, frozenset())
            try:
                return await reader.verify()
            finally:
                await reader.close()

        return asyncio.run(run())

    values = {
        "uuid": "5d0c0f6e-0000-4000-8000-000000000001",
        "name": "anna",
        "status": True,
        "roles": [],
        "mail": None,
    }
    times = dict.fromkeys(("created", "changed", "access", "login"), 1_700_000_000)
    user = SourceUser(
        3, str(values["uuid"]), {"uid": 3, **values, **times, "langcode": "en", "timezone": None}
    )
    with (
        JsonApiSite([user]) as site,
        tls_relay(urlsplit(site.base_url).port or 0, certificates) as port,
    ):
        assert "signed in" in verify(f"https://localhost:{port}", certificates / "ca.pem")
        asked = len(site.requests)
        for url, file in (
            (f"https://localhost:{port}", None),
            (f"https://127.0.0.1:{port}", certificates / "ca.pem"),
        ):
            with pytest.raises(SourceUnreadable, match="certificate that is not trusted"):
                verify(url, file)
        with pytest.raises(SourceUnreadable, match="no TLS at that port"):
            verify(site.base_url.replace("http:", "https:"), None)
        assert len(site.requests) == asked, "nothing was sent to a server that could not show who it is"


def test_a_file_that_vanishes_is_an_outage_with_a_reason(certificates, tmp_path):
    with served(certificates) as port, pytest.raises(Outage, match="ca_file cannot be read"):
        probe(f"https://localhost:{port}/scim", certificates, tmp_path / "gone.pem")


@pytest.mark.parametrize(
    ("redis", "words"),
    [
        ('url = "rediss://h?ssl_cert_reqs=none"', "must not say how certificates are verified"),
        ('url = "redis://h"\nca_file = "x"', "of no use without TLS"),
        ('url = "embedded"\nca_file = "x"', "of no use without TLS"),
        ('url = "REDISS://h"', "is not an address of a Redis"),
    ],
)
def test_a_redis_url_that_would_not_be_verified_is_refused(tmp_path, redis, words):
    (tmp_path / "scimpipe.toml").write_text(
        f'[redis]\n{redis}\n[drupal]\nurl = "sqlite:///x"\n[targets.acme]\nbase_url = "https://acme.example"\n'
        'token = { env = "T" }\n[targets.acme.mapping]\nuserName = "name"\nexternalId = "uuid"\n'
    )
    with pytest.raises(ConfigError, match=words):
        load(tmp_path / "scimpipe.toml")
