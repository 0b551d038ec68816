"""What the proxy's tests share."""

import subprocess
from pathlib import Path

import pytest

from tests.conftest import need_program


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate of its own for localhost, in one PEM file."""
    folder = tmp_path_factory.mktemp("tls")
    command = [
        need_program("openssl"),
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
    ]
    command += ["-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(command, check=True, capture_output=True)
    pem = (folder / "key.pem").read_bytes() + (folder / "cert.pem").read_bytes()  # Postfix wants them so
    (folder / "both.pem").write_bytes(pem)
    return folder / "both.pem"
