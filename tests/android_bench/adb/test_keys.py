"""This computer's keys: made with care, read with care, and understood by others."""

import base64
import shutil
import subprocess

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from android_bench.adb.keys import is_signed_by, make_key, parse_public_key, public_key_text, read_key, user_keys
from android_bench.errors import DeviceError

TOKEN = bytes(range(20))


def pem(key, encryption=serialization.NoEncryption()) -> bytes:  # noqa: B008
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def test_a_missing_key_is_made_for_its_owner_only(tmp_path):
    (signer,) = user_keys({}, tmp_path)
    private, public = tmp_path / ".android/adbkey", tmp_path / ".android/adbkey.pub"

    assert private.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / ".android").stat().st_mode & 0o777 == 0o700
    assert public.read_bytes().endswith(b"\n")
    assert sorted(path.name for path in (tmp_path / ".android").iterdir()) == ["adbkey", "adbkey.pub"]
    assert is_signed_by(parse_public_key(public.read_bytes()), TOKEN, signer.Sign(TOKEN))


def test_a_key_that_is_there_stays(tmp_path):
    user_keys({}, tmp_path)
    before = (tmp_path / ".android/adbkey").read_bytes()

    user_keys({}, tmp_path)
    make_key(tmp_path / ".android/adbkey")

    assert (tmp_path / ".android/adbkey").read_bytes() == before


def test_the_folder_and_more_keys_may_be_named(tmp_path):
    make_key(tmp_path / "vendor/a.adb_key")
    make_key(tmp_path / "single")

    keys = user_keys(
        {"ANDROID_USER_HOME": str(tmp_path / "home"), "ADB_VENDOR_KEYS": f"{tmp_path}/vendor:{tmp_path}/single"}
    )

    assert len(keys) == 3
    assert (tmp_path / "home/adbkey").exists()


def test_debians_adb_writes_the_same_public_key(tmp_path):
    if shutil.which("adb") is None:
        pytest.skip("adb is not installed (Debian: apt-get install adb)")
    subprocess.run(["adb", "keygen", str(tmp_path / "key")], check=True, capture_output=True, timeout=60)

    ours = read_key(tmp_path / "key").public.split()[0]

    assert ours == (tmp_path / "key.pub").read_bytes().split()[0]


def test_another_key_has_not_signed(tmp_path):
    (signer,) = user_keys({}, tmp_path)
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()

    assert not is_signed_by(stranger, TOKEN, signer.Sign(TOKEN))
    assert not is_signed_by(signer.private.public_key(), TOKEN[::-1], signer.Sign(TOKEN))
    assert not is_signed_by(signer.private.public_key(), TOKEN[:-1], signer.Sign(TOKEN))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no private key in PEM format"),
        (b"-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n", "is no private key in PEM format"),
        (pem(rsa.generate_private_key(public_exponent=65537, key_size=1024)), "is no RSA key of 2048 bits"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "is no RSA key of 2048 bits"),
        (
            pem(
                rsa.generate_private_key(public_exponent=65537, key_size=2048),
                serialization.BestAvailableEncryption(b"secret"),
            ),
            "has a password",
        ),
    ],
    ids=["empty", "garbage", "short", "curve", "password"],
)
def test_a_key_that_cannot_be_used_says_why(tmp_path, content, message):
    (tmp_path / "adbkey").write_bytes(content)

    with pytest.raises(DeviceError, match=message):
        user_keys({"ANDROID_USER_HOME": str(tmp_path)})
    assert (tmp_path / "adbkey").read_bytes() == content


def test_a_missing_vendor_key_is_named(tmp_path):
    with pytest.raises(DeviceError, match=r"cannot read the ADB key .*none: No such file"):
        user_keys({"ADB_VENDOR_KEYS": str(tmp_path / "none")}, tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"x y",
        b"QUFBQQ== me@here",
        base64.b64encode(b"\x20\0\0\0" + bytes(520)),
        base64.b64encode(b"\x40\0\0\0" + bytes(520)),
    ],
)
def test_what_is_no_public_key_is_refused(text):
    with pytest.raises(ValueError):
        parse_public_key(text)


def test_a_public_key_survives_its_format():
    public = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()

    assert parse_public_key(public_key_text(public, "me@here") + b"\0").public_numbers() == public.public_numbers()
