"""Signed provenance: a C2PA manifest in the file, which names the source as ingredient and the edit as action.

By the reference library `c2pa-python` (extra `sign`; C2PA 2.x). Nothing is fetched: no time stamp, no revocation
list, no remote manifest; and no thumbnail of the source goes into the file.
"""

import io
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from loco.errors import InputError
from loco.formats import FORMATS
from loco.marks.claim import SOURCE_TYPE, Claim
from loco.outside import regular_bytes

_SETTINGS = {
    "builder": {"thumbnail": {"enabled": False}},
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
}


@dataclass(frozen=True)
class Signature:
    """What a file's manifest says, checked.

    Attributes:
        valid: Whether the manifest is whole and the file is the one that was signed.
        by: Common name and organisation of the certificate.
        trusted: Whether the certificate comes from an authority that was named; None where none was.
        edit_id: The edit that it claims, or empty where it is not one of ours.
        problems: Codes of what does not hold.
    """

    valid: bool
    by: str
    trusted: bool | None
    edit_id: str = ""
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Signer:
    """A key and the chain of its certificate, both PEM files."""

    key: Path
    certificates: Path

    @cached_property
    def _info(self) -> Any:
        """What the library signs with; raises `InputError`."""
        c2pa = _library()
        private = _pem(self.key, "--sign")
        return c2pa.C2paSignerInfo(
            _algorithm(private, self.key), _pem(self.certificates, "--cert"), private, None
        )

    def check(self) -> None:
        """Sign a small image: whether key and certificates go together; raises `InputError`."""
        from PIL import Image

        buffer = io.BytesIO()
        Image.new("RGB", (8, 8)).save(buffer, "PNG")
        claim = Claim("0" * 32, "0" * 32, "0" * 64, (), (), "check")
        signature = read(self.sign(buffer.getvalue(), "png", claim, buffer.getvalue(), "png"), "png")
        if signature is None or not signature.valid:
            problems = "none found" if signature is None else ", ".join(signature.problems)
            raise InputError(
                f"{self.certificates}: what is signed with it is not valid ({problems}); expected the signer's "
                f"certificate first, then its issuers, with the key usage that C2PA asks for, and within its dates"
            )

    def sign(self, data: bytes, format: str, claim: Claim, source: bytes, source_format: str) -> bytes:
        """The image file `data` with a manifest in it; raises `InputError` where the library refuses."""
        c2pa = _library()
        software, _, version = claim.software.rpartition(" ")
        agent = {"name": software or claim.software, "version": version or "0"}
        manifest = {
            "claim_generator_info": [agent],
            "assertions": [
                {
                    "label": "c2pa.actions.v2",
                    "data": {
                        "actions": [
                            {"action": "c2pa.opened", "parameters": {"ingredientIds": ["source"]}},
                            {
                                "action": "c2pa.edited",
                                "softwareAgent": agent,
                                "digitalSourceType": SOURCE_TYPE,
                            },
                        ]
                    },
                },
                {
                    "label": "loco.edit",
                    "data": {
                        "edit": claim.edit_id,
                        "model": claim.model,
                        "source": claim.source,
                        "directions": list(claim.directions),
                        "strengths": list(claim.strengths),
                    },
                },
            ],
        }
        ingredient = {"title": "source", "relationship": "parentOf", "instance_id": "source"}
        signed = io.BytesIO()
        try:
            with (
                _context(c2pa) as context,
                c2pa.Signer.from_info(self._info) as signer,
                c2pa.Builder.from_json(manifest, context) as builder,
            ):
                builder.add_ingredient(ingredient, FORMATS[source_format].media, io.BytesIO(source))
                builder.sign(signer, FORMATS[format].media, io.BytesIO(data), signed)
        except c2pa.C2paError as error:
            raise InputError(f"{self.certificates}: cannot sign with it ({_brief(error)})") from error
        return signed.getvalue()


def read(data: bytes, format: str, anchors: str | None = None) -> Signature | None:
    """The signature of an image file, None where it has none; `anchors` are PEM certificates of authorities to trust.

    Raises `InputError` where the library is not installed.
    """
    c2pa = _library()
    trust = {} if anchors is None else {"trust": {"user_anchors": anchors}}
    try:
        with _context(c2pa, trust) as context:
            reader = c2pa.Reader.try_create(FORMATS[format].media, io.BytesIO(data), None, context)
            if reader is None:
                return None
            with reader:
                state, report = reader.get_validation_state(), json.loads(reader.json())
    except c2pa.C2paError as error:
        return Signature(False, "", None, problems=(_brief(error),))
    manifest = report.get("manifests", {}).get(report.get("active_manifest"), {})
    codes = tuple(str(one.get("code")) for one in report.get("validation_status", []))
    broken = tuple(code for code in codes if code != "signingCredential.untrusted")
    by = manifest.get("signature_info", {})
    edits = [one["data"] for one in manifest.get("assertions", []) if one.get("label") == "loco.edit"]
    return Signature(
        valid=state in ("Valid", "Trusted") and not broken,
        by=", ".join(str(by[name]) for name in ("common_name", "issuer") if by.get(name)),
        trusted=None if anchors is None else state == "Trusted",
        edit_id=str(edits[0].get("edit", "")) if edits and isinstance(edits[0], dict) else "",
        problems=broken,
    )


def _library() -> Any:
    try:
        import c2pa
    except ImportError as error:
        raise InputError(
            "signed provenance needs c2pa-python: pip install 'loco-edit-service[sign]'"
        ) from error
    return c2pa


def _context(c2pa: Any, more: dict[str, Any] | None = None) -> Any:
    return c2pa.Context(c2pa.Settings.from_dict(_SETTINGS | (more or {})))


def _brief(error: BaseException) -> str:
    return str(error).partition("\n")[0][:300] or type(error).__name__


def _pem(path: Path, option: str) -> bytes:
    """A PEM file's bytes; raises `InputError`."""
    try:
        data = regular_bytes(path)
    except OSError as error:
        raise InputError(f"{option} {path}: cannot be read ({error.strerror})") from error
    if b"-----BEGIN " not in data:
        raise InputError(f"{option} {path}: expected a PEM file, which has a line -----BEGIN ...-----")
    return data


def _algorithm(private: bytes, path: Path) -> bytes:
    """The library's name of the algorithm that a private key is for; raises `InputError`."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(private, None)
    except (ValueError, TypeError) as error:
        raise InputError(f"--sign {path}: not a private key without a password, in PEM ({error})") from error
    match key:
        case ec.EllipticCurvePrivateKey():
            name = {"secp256r1": b"es256", "secp384r1": b"es384", "secp521r1": b"es512"}.get(key.curve.name)
        case ed25519.Ed25519PrivateKey():
            name = b"ed25519"
        case rsa.RSAPrivateKey():
            name = b"ps256"
        case _:
            name = None
    if name is None:
        raise InputError(f"--sign {path}: expected a key on P-256, P-384 or P-521, Ed25519, or RSA")
    return name
