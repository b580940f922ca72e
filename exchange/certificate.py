"""A site's own TLS certificate: made once at enrolment, pinned by its hash, signed by nobody else.

The site directory carries SHA-256 of the DER certificate and the SDK admits that certificate alone
(WIRE.md, "Fill token"), so there is no authority to ask and nothing to renew.
"""

import hashlib
import ipaddress
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

YEARS: Final = 20  # it ends with the site's enrolment, not with a date
_DAYS_PER_YEAR: Final = 365
_NAME_MAX: Final = 64  # X.520, upper bound of a common name


class Certificate(NamedTuple):
    """PEM of the private key and of the certificate, and SHA-256 of its DER form in hex."""

    key_pem: bytes
    certificate_pem: bytes
    sha256: str


def make(site: str, host: str, now: datetime | None = None) -> Certificate:
    """Make a P-256 key and a certificate of itself for a site that is reached under `host`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, site[:_NAME_MAX])])
    start = (now or datetime.now(UTC)) - timedelta(days=1)
    try:
        subject: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        subject = x509.DNSName(host)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=_DAYS_PER_YEAR * YEARS))
        .add_extension(x509.SubjectAlternativeName([subject]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    der = certificate.public_bytes(serialization.Encoding.DER)
    return Certificate(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        certificate.public_bytes(serialization.Encoding.PEM),
        hashlib.sha256(der).hexdigest(),
    )
