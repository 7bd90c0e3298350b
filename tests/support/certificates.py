"""An institution's own certificate authority, made with the ``openssl`` command."""

import shutil
import subprocess
from pathlib import Path

import pytest

_KEY = ["-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]


class Authority:
    """A root, an authority below it, and a certificate for ``localhost`` that this authority signed.

    Attributes:
        root, issuer: Certificates of the two authorities; the key of each is next to it.
        server: Certificate of the server, followed by that of its issuer, as servers send them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.root, self.issuer, self.server = (folder / f"{name}.pem" for name in ("root", "issuer", "server"))
        self._run(
            "req", "-x509", *_KEY, "-keyout", "root.key", "-out", "root.pem", "-subj", "/CN=Root", "-days", "9000"
        )
        self._sign("issuer", "root", "basicConstraints=critical,CA:TRUE")
        self._sign("server", "issuer", "subjectAltName=DNS:localhost")
        self.server.write_bytes(self.server.read_bytes() + self.issuer.read_bytes())

    def _sign(self, name: str, by: str, extension: str) -> None:
        (self._folder / f"{name}.ext").write_text(extension)
        self._run("req", "-new", *_KEY, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signer = ["-CA", f"{by}.pem", "-CAkey", f"{by}.key", "-CAcreateserial", "-extfile", f"{name}.ext"]
        self._run("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *signer, "-days", "9000")

    def _run(self, *arguments: str) -> None:
        openssl = shutil.which("openssl")
        if openssl is None:
            pytest.skip("needs the openssl command to create certificates")
        subprocess.run([openssl, *arguments], check=True, capture_output=True, cwd=self._folder)
