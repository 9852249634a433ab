"""Ed25519 signatures over a chain of records, offline (RFC 8032, by the package ``cryptography``).

Keys are files of ``openssl genpkey -algorithm ed25519`` (PEM) or ``ssh-keygen -t ed25519``.
"""

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from ehrsynth.errors import OptionError
from ehrsynth.files import require

PURPOSE = b"ehrsynth: all records up to "  # so that nothing that was signed for another reason passes for this
DER_HEAD = bytes.fromhex("302a300506032b6570032100")  # of every Ed25519 public key (RFC 8410, section 4)


class Signature(NamedTuple):
    """A public key, and what it says of a record; both in hexadecimal digits."""

    key: str
    signature: str

    def genuine(self, digest: str) -> bool:
        """Whether the key's owner has signed the record with this digest, and so all before it."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.key))
            public.verify(bytes.fromhex(self.signature), PURPOSE + digest.encode())
        except (InvalidSignature, ValueError):
            return False
        return True


def available() -> bool:
    """Whether signatures can be made and checked here."""
    return find_spec("cryptography") is not None


def fingerprint(key: str) -> str:
    """Return the SHA-256 that ``openssl pkey -pubin -in PUBLIC -outform DER | sha256sum`` gives of a public key."""
    try:
        return hashlib.sha256(DER_HEAD + bytes.fromhex(key)).hexdigest()
    except ValueError:
        return "of no key"


def sign(file: Path, digest: str) -> Signature:
    """Sign a record with a private key.

    Raises:
        InputError: the file is missing or holds no such key, or ``cryptography`` is not installed.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key: Any = _loaded(file, "sign", private=True)
    if not isinstance(key, Ed25519PrivateKey):
        raise OptionError(f"sign={file}: another kind of key; an Ed25519 private key was expected")
    return Signature(key.public_key().public_bytes_raw().hex(), key.sign(PURPOSE + digest.encode()).hex())


def public_key(file: Path) -> str:
    """Return a public key in hexadecimal digits.

    Raises:
        InputError: the file is missing or holds no such key, or ``cryptography`` is not installed.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    key: Any = _loaded(file, "key", private=False)
    if not isinstance(key, Ed25519PublicKey):
        raise OptionError(f"key={file}: another kind of key; an Ed25519 public key was expected")
    return key.public_bytes_raw().hex()


def _loaded(file: Path, option: str, *, private: bool) -> object:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization as form

    content = require(file).read_bytes()
    ssh = content.startswith((b"-----BEGIN OPENSSH", b"ssh-", b"ecdsa-", b"sk-"))
    kind = "private" if private else "public"
    try:
        if private:
            return (form.load_ssh_private_key if ssh else form.load_pem_private_key)(content, None)
        return (form.load_ssh_public_key if ssh else form.load_pem_public_key)(content)
    except TypeError:  # what both say of a key that asks for a passphrase
        raise OptionError(
            f"{option}={file}: locked by a passphrase; a key without one was expected (openssl pkey, or ssh-keygen -p)"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise OptionError(
            f"{option}={file}: no {kind} key; an Ed25519 {kind} key was expected, as openssl or ssh-keygen write it"
        ) from None


def require_cryptography(option: str) -> None:
    """Raise an ``OptionError`` if signatures can neither be made nor checked."""
    if not available():
        raise OptionError(f"{option}= needs the package cryptography; pip install 'ehrsynth[signing]' brings it")
