"""Signatures: keys as openssl and ssh-keygen write them, and what openssl says of a signature of ours."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from ehrsynth.errors import FileError, InputError, OptionError
from ehrsynth.study import signing

pytest.importorskip("cryptography")
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

DIGEST = hashlib.sha256(b"a record").hexdigest()
RAW_PUBLIC = (form.Encoding.Raw, form.PublicFormat.Raw)


@pytest.fixture
def key() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def pem(
    folder: Path, key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey, word: bytes = b""
) -> tuple[Path, Path]:
    """Write both keys as openssl does."""
    lock = form.BestAvailableEncryption(word) if word else form.NoEncryption()
    private, public = folder / "private.pem", folder / "public.pem"
    private.write_bytes(key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, lock))
    public.write_bytes(key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo))
    return private, public


def ssh(folder: Path, key: ed25519.Ed25519PrivateKey) -> tuple[Path, Path]:
    """Write both keys as ssh-keygen does."""
    private, public = folder / "id_ed25519", folder / "id_ed25519.pub"
    private.write_bytes(key.private_bytes(form.Encoding.PEM, form.PrivateFormat.OpenSSH, form.NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH) + b" me@here\n")
    return private, public


@pytest.mark.parametrize("write", [pem, ssh])
def test_a_signature_is_genuine_for_its_key_and_its_record_alone(
    write: type, key: ed25519.Ed25519PrivateKey, tmp_path: Path
) -> None:
    private, public = write(tmp_path, key)
    made = signing.sign(private, DIGEST)
    assert made.key == signing.public_key(public) == key.public_key().public_bytes(*RAW_PUBLIC).hex()
    assert made.genuine(DIGEST)
    assert not made.genuine(DIGEST[::-1])
    assert not made._replace(
        key=ed25519.Ed25519PrivateKey.generate().public_key().public_bytes(*RAW_PUBLIC).hex()
    ).genuine(DIGEST)
    for rubbish in ("", "zz", "00", made.signature[:-2]):
        assert not made._replace(signature=rubbish).genuine(DIGEST)
        assert not made._replace(key=rubbish).genuine(DIGEST)


def test_a_fingerprint_is_the_sha256_of_the_key_as_openssl_exports_it(key: ed25519.Ed25519PrivateKey) -> None:
    public = key.public_key()
    der = public.public_bytes(form.Encoding.DER, form.PublicFormat.SubjectPublicKeyInfo)
    assert signing.fingerprint(public.public_bytes(*RAW_PUBLIC).hex()) == hashlib.sha256(der).hexdigest()
    assert signing.fingerprint("no key") == "of no key"


def test_openssl_finds_our_signature_genuine(key: ed25519.Ed25519PrivateKey, tmp_path: Path) -> None:
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("openssl is not installed")
    private, public = pem(tmp_path, key)
    made = signing.sign(private, DIGEST)
    (tmp_path / "signature").write_bytes(bytes.fromhex(made.signature))
    verdicts = []
    for digest in (DIGEST, DIGEST[::-1]):
        (tmp_path / "said").write_bytes(b"ehrsynth: all records up to " + digest.encode())
        asked = ["-pubin", "-inkey", public, "-rawin", "-in", tmp_path / "said", "-sigfile", tmp_path / "signature"]
        verdicts.append(
            subprocess.run([openssl, "pkeyutl", "-verify", *map(str, asked)], capture_output=True).returncode
        )
    assert verdicts[0] == 0
    assert verdicts[1] != 0


def test_other_files_are_refused_in_one_line(key: ed25519.Ed25519PrivateKey, tmp_path: Path) -> None:
    private, public = pem(tmp_path, key)
    for file, words in ((public, "no private key"), (tmp_path / "absent", "no such file"), (tmp_path, "a folder")):
        with pytest.raises(InputError, match=words):
            signing.sign(file, DIGEST)
    with pytest.raises(OptionError, match="no public key; an Ed25519 public key was expected"):
        signing.public_key(private)
    (tmp_path / "rubbish").write_bytes(b"ssh-ed25519 AAAA")
    with pytest.raises(OptionError, match="no public key"):
        signing.public_key(tmp_path / "rubbish")
    with pytest.raises(FileError, match="no such file"):
        signing.public_key(tmp_path / "absent")
    locked, _ = pem(tmp_path, key, b"word")
    with pytest.raises(OptionError, match="locked by a passphrase"):
        signing.sign(locked, DIGEST)
    private, public = pem(tmp_path, ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(OptionError, match="another kind of key; an Ed25519 private key was expected"):
        signing.sign(private, DIGEST)
    with pytest.raises(OptionError, match="another kind of key; an Ed25519 public key was expected"):
        signing.public_key(public)
