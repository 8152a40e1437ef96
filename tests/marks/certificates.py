"""A signer's key and certificate, issued by an authority of the tests."""

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


def issued(folder: Path, days: int = 365) -> tuple[Path, Path, Path]:
    """Files: the signer's key, its chain, and the authority alone."""
    root, leaf = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = _certificate("Authority", root, "Authority", root, True, days)
    signer = _certificate("Studio", leaf, "Authority", root, False, days)
    pem = serialization.Encoding.PEM
    key = leaf.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    files = folder / "key.pem", folder / "chain.pem", folder / "authority.pem"
    contents = key, signer.public_bytes(pem) + authority.public_bytes(pem), authority.public_bytes(pem)
    for path, content in zip(files, contents, strict=True):
        path.write_bytes(content)
    return files


def _certificate(name, key, issuer, issuer_key, authority, days):
    now = datetime.datetime.now(datetime.UTC)
    begun = now - datetime.timedelta(days=2) if days > 0 else now + datetime.timedelta(days=days - 2)

    def named(text):
        return x509.Name(
            [
                x509.NameAttribute(NameOID.COMMON_NAME, text),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Tests"),
            ]
        )

    usage = x509.KeyUsage(not authority, False, False, False, False, authority, authority, False, False)
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begun)
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(authority, None), True)
        .add_extension(usage, True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False)
    )
    if not authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
    return builder.sign(issuer_key, hashes.SHA256())
