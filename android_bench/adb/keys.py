"""RSA keys of the Android Debug Bridge: made, read, written as a phone wants them, and checked as a phone does.

A computer proves who it is by signing a phone's token with `~/.android/adbkey`.
Public keys have a format of their own (AOSP, libcrypto_utils, android_pubkey.cpp).
"""

from __future__ import annotations

import base64
import binascii
import getpass
import os
import socket
import struct
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils

from android_bench.errors import DeviceError

_BITS = 2048
_BYTES = _BITS // 8
_PUBLIC = struct.Struct(f"<II{_BYTES}s{_BYTES}sI")


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key, under the names that adb-shell calls."""

    private: rsa.RSAPrivateKey
    public: bytes

    def Sign(self, token: bytes) -> bytes:  # noqa: N802 - adb-shell's name
        """The signature of a phone's token, which counts as a SHA-1 digest already."""
        return self.private.sign(token, padding.PKCS1v15(), utils.Prehashed(hashes.SHA1()))

    def GetPublicKey(self) -> bytes:  # noqa: N802 - adb-shell's name
        """The public key as a phone wants it: base 64, a space, user@computer."""
        return self.public


def user_keys(environment: Mapping[str, str], home: Path | None = None) -> list[Signer]:
    """The keys that adb itself would use; the user's own is made when it is missing.

    Args:
        environment: `ANDROID_USER_HOME` and `ADB_VENDOR_KEYS` (more key files) are read from it.
        home: the folder above `.android`, by default the user's.

    Raises:
        DeviceError: a key cannot be read, made or understood.
    """
    named = environment.get("ANDROID_USER_HOME")
    folder = Path(named) if named else (home or Path.home()) / ".android"
    own = folder / "adbkey"
    try:
        if not own.exists():
            make_key(own)
    except OSError as cause:
        raise DeviceError(f"cannot make this computer's ADB key {own}: {cause.strerror or cause}") from cause
    more = [Path(name) for name in environment.get("ADB_VENDOR_KEYS", "").split(os.pathsep) if name]
    files = [file for path in more for file in (sorted(path.glob("*.adb_key")) if path.is_dir() else [path])]
    return [read_key(path) for path in (own, *files)]


def make_key(path: Path) -> None:
    """Makes a key pair: `path` (readable by its owner only) and `path`.pub.

    A key that another process makes at the same moment stays; ours is dropped.
    """
    private = rsa.generate_private_key(public_exponent=65537, key_size=_BITS)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".adbkey.") as folder:
        partial = Path(folder) / "adbkey"
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as stream:
            stream.write(pem)
        try:
            os.link(partial, path)
        except FileExistsError:
            return
    public = path.with_name(f"{path.name}.pub")
    public.write_bytes(public_key_text(private.public_key(), _who()) + b"\n")


def read_key(path: Path) -> Signer:
    """The private key in a PEM file, with its public key.

    Raises:
        DeviceError: it cannot be read, is no RSA key of 2,048 bits, or has a password.
    """
    try:
        private = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as cause:
        raise DeviceError(f"cannot read the ADB key {path}: {cause.strerror}") from cause
    except TypeError as cause:
        raise DeviceError(f"the ADB key {path} has a password; expected one without, as adb keygen makes it") from cause
    except ValueError as cause:
        raise DeviceError(
            f"{path} is no private key in PEM format; move it away and a new one is made (phones will ask again)"
        ) from cause
    if not isinstance(private, rsa.RSAPrivateKey) or private.key_size != _BITS:
        raise DeviceError(f"{path} is no RSA key of {_BITS} bits, and phones take no other")
    return Signer(private=private, public=public_key_text(private.public_key(), _who()))


def public_key_text(public: rsa.RSAPublicKey, who: str) -> bytes:
    """A public key as a phone wants it: base 64 of Android's own structure, a space, and a name."""
    numbers = public.public_numbers()
    word = 1 << 32
    packed = _PUBLIC.pack(
        _BYTES // 4,
        word - pow(numbers.n, -1, word),
        numbers.n.to_bytes(_BYTES, "little"),
        pow(1 << _BITS, 2, numbers.n).to_bytes(_BYTES, "little"),
        numbers.e,
    )
    return base64.b64encode(packed) + b" " + who.encode()


def parse_public_key(text: bytes) -> rsa.RSAPublicKey:
    """The key in `public_key_text`'s format; the name after it may be missing.

    Raises:
        ValueError: it is none.
    """
    words = text.rstrip(b"\0\n ").split(b" ", 1)
    try:
        size, _, modulus, _, exponent = _PUBLIC.unpack(base64.b64decode(words[0], validate=True))
    except (struct.error, binascii.Error) as cause:
        raise ValueError(f"no public key in Android's format: {text[:40]!r}…") from cause
    if size != _BYTES // 4 or exponent not in (3, 65537):
        raise ValueError(f"a public key of {32 * size} bits with exponent {exponent}")
    return rsa.RSAPublicNumbers(e=exponent, n=int.from_bytes(modulus, "little")).public_key()


def is_signed_by(public: rsa.RSAPublicKey, token: bytes, signature: bytes) -> bool:
    """Whether the owner of `public` has signed the token."""
    try:
        public.verify(signature, token, padding.PKCS1v15(), utils.Prehashed(hashes.SHA1()))
    except (InvalidSignature, ValueError):
        return False
    return True


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown"
    return f"{user}@{socket.gethostname() or 'unknown'}"
