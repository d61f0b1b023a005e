"""Signatures: this project's Ed25519 key pair, and detached signatures that name their key by its fingerprint.

The private key lies in HEADWATER_HOME, readable by its owner only, and is made when it is first needed. The fingerprint
of a key is the sha256 of its public half in DER: `openssl pkey -pubin -in public_key.pem -outform DER | sha256sum`.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lineage.errors import NotFoundError, SettingsError
from lineage.objects import write_bytes

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_ALGORITHM = "ed25519"
_PRIVATE = 0o600
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True)
class PublicKey:
    """The half of a key pair that everybody may have: `pem` is its text, `fingerprint` 64 hex digits."""

    pem: str
    fingerprint: str

    def fits(self, data: bytes, signature: bytes) -> bool:
        """Whether `signature` (64 bytes) was made over `data` with the private half."""
        from cryptography.exceptions import InvalidSignature

        try:
            _parse_public(self.pem.encode()).verify(signature, data)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class Signature:
    """A detached signature: over the bytes with this sha256, by the key with this fingerprint."""

    key: str
    sha256: str
    value: bytes


def key_path(home: Path) -> Path:
    """Where the private key of the project with this HEADWATER_HOME lies."""
    return home / "signing_key.pem"


def own_key(home: Path) -> PublicKey:
    """The public key of this project; the pair is made now if there is none.

    Raises SettingsError naming a key file that others may read, or that holds no Ed25519 key.
    """
    return _public_half(_private_key(home))


def known_key(home: Path) -> PublicKey | None:
    """Like `own_key`, but None where no key was made yet."""
    return own_key(home) if key_path(home).exists() else None


def read_public_key(path: Path) -> PublicKey:
    """The public key in a PEM file; NotFoundError where there is none, SettingsError where it holds something else."""
    if not path.is_file():
        raise NotFoundError(f"There is no file {path}; name the PEM file that `headwater verify --public-key` printed.")
    try:
        return _public_key(_parse_public(path.read_bytes()))
    except ValueError as error:
        raise SettingsError(
            f"{path} holds no Ed25519 public key in PEM; `headwater verify --public-key` prints one in the project "
            "that signed."
        ) from error


def sign(home: Path, data: bytes) -> bytes:
    """The signature file over `data`: JSON with algorithm, key (its fingerprint), sha256 and signature (base64)."""
    key = _private_key(home)
    digest = hashlib.sha256(data).hexdigest()
    return _spelled(Signature(_public_half(key).fingerprint, digest, key.sign(data)))


def read_signature(data: bytes) -> Signature | None:
    """What a signature file says; None unless it is spelt exactly as `sign` spells it."""
    try:
        found = json.loads(data)
        value = base64.b64decode(found["signature"], validate=True)
        signature = Signature(str(found["key"]), str(found["sha256"]), value)
    except (ValueError, KeyError, TypeError):
        return None
    return signature if _spelled(signature) == data else None


def fault(data: bytes, signature: bytes, key: PublicKey) -> str | None:
    """What is wrong with a signature file over `data`, as the end of a sentence; None if `key` made it over `data`."""
    found = read_signature(signature)
    if found is None:
        return "is no signature"
    if found.key != key.fingerprint:
        return f"was signed by key {found.key[:12]}…, not by {key.fingerprint[:12]}…"
    if found.sha256 != hashlib.sha256(data).hexdigest():
        return f"was signed over other bytes (sha256 {found.sha256[:12]}…)"
    return None if key.fits(data, found.value) else f"was not signed by key {found.key[:12]}…, as it says"


def _spelled(signature: Signature) -> bytes:
    found = {
        "algorithm": _ALGORITHM,
        "key": signature.key,
        "sha256": signature.sha256,
        "signature": base64.b64encode(signature.value).decode(),
    }
    return f"{json.dumps(found, indent=2, sort_keys=True)}\n".encode()


def _private_key(home: Path) -> Ed25519PrivateKey:
    path = key_path(home)
    if not path.exists():
        _make(home, path)
    if (mode := stat.S_IMODE(path.stat().st_mode)) & _OTHERS:
        raise SettingsError(
            f"{path} is this project's private key, and others may read or change it (mode {mode:04o}); if nobody did, "
            f"`chmod 600 {path}`, otherwise move it away: a new one is made when it is next needed."
        )
    return _parse_private(path)


def _make(home: Path, path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    home.mkdir(parents=True, exist_ok=True)
    if not (ignore := home / ".gitignore").exists():
        # As lineage.postgres does: what lies here must not be committed where another .gitignore misses it.
        ignore.write_text("*\n")
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Another process may have made it while this one waited.
        if not path.exists():
            made = Ed25519PrivateKey.generate()
            text = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            write_bytes(path, text, mode=_PRIVATE)


def _parse_private(path: Path) -> Ed25519PrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError(
            f"{path} holds no Ed25519 private key in PEM; put it back from a backup, or move it away: a new one is "
            "made when it is next needed, and what the old one signed is then checked with its public key only."
        )
    return key


def _parse_public(data: bytes) -> Any:
    """The public key in PEM bytes; ValueError unless it is an Ed25519 key."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(data)
    except UnsupportedAlgorithm as error:
        raise ValueError(str(error)) from error
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError(f"{type(key).__name__} is not an Ed25519 key")
    return key


def _public_half(key: Ed25519PrivateKey) -> PublicKey:
    return _public_key(key.public_key())


def _public_key(key: Any) -> PublicKey:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(pem.decode(), hashlib.sha256(der).hexdigest())
