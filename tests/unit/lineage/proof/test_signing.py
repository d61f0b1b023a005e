"""One key pair a project, readable by its owner only, and signatures that any changed byte breaks."""

import base64
import hashlib
import json
import stat
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from lineage.errors import NotFoundError, SettingsError
from lineage.proof.signing import fault, key_path, known_key, own_key, read_public_key, read_signature, sign

DATA = b'{"bundle": "3fa1"}\n'


def flips(data):
    """`data` with each of its bytes changed in turn."""
    return (data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :] for place in range(len(data)))


def private_pem(key):
    """A private key as PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


# --- the key pair


def test_a_pair_is_made_once(tmp_path):
    """The first need makes it, for its owner alone; after that it stays the same, and git is kept away from it."""
    home = tmp_path / "home"
    assert known_key(home) is None
    assert not home.exists()

    key = own_key(home)

    assert key == own_key(home) == known_key(home)
    assert stat.S_IMODE(key_path(home).stat().st_mode) == 0o600
    assert (home / ".gitignore").read_text() == "*\n"


def test_processes_at_once_make_one_key(tmp_path):
    """Whoever comes first makes it, and the others have the same."""
    program = "import sys, pathlib; from lineage.proof.signing import own_key; sys.stdin.read()\n"
    program += f"print(own_key(pathlib.Path({str(tmp_path / 'home')!r})).fingerprint)"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([sys.executable, "-c", program], **pipes) for _ in range(4)]

    for process in processes:  # They wait for their input, so that all of them are there when it ends.
        process.stdin.close()
    found = {process.stdout.read().strip() for process in processes}

    assert [process.wait(timeout=60) for process in processes] == [0] * 4
    for process in processes:
        process.stdout.close()
    assert found == {own_key(tmp_path / "home").fingerprint}


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
def test_a_key_that_others_may_use_is_refused(tmp_path, mode):
    """By its path, its mode and what to do."""
    own_key(tmp_path)
    key_path(tmp_path).chmod(mode)

    with pytest.raises(SettingsError) as refused:
        sign(tmp_path, DATA)

    assert str(key_path(tmp_path)) in str(refused.value)
    assert f"{mode:04o}" in str(refused.value)
    assert "chmod 600" in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [b"", b"no key\n", private_pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))],
    ids=["empty", "text", "rsa"],
)
def test_a_file_that_is_no_key_is_refused(tmp_path, text):
    """By its path, and it is left as it is."""
    key_path(tmp_path).write_bytes(text)
    key_path(tmp_path).chmod(0o600)

    with pytest.raises(SettingsError, match=r"signing_key\.pem holds no Ed25519 private key"):
        own_key(tmp_path)

    assert key_path(tmp_path).read_bytes() == text


def test_the_public_half_is_known_to_others(tmp_path):
    """Its PEM can be read back; its fingerprint is the sha256 of its DER."""
    key = own_key(tmp_path)
    path = tmp_path / "public.pem"
    path.write_text(key.pem)

    body = "".join(key.pem.splitlines()[1:-1])

    assert read_public_key(path) == key
    assert hashlib.sha256(base64.b64decode(body)).hexdigest() == key.fingerprint


def test_what_is_no_public_key_is_refused(tmp_path):
    """By its path, whether it is missing, private, or something else."""
    own_key(tmp_path)
    other = tmp_path / "other.pem"
    other.write_text("no key\n")

    for path in (other, key_path(tmp_path)):
        with pytest.raises(SettingsError, match=path.name):
            read_public_key(path)
    with pytest.raises(NotFoundError, match=r"absent\.pem"):
        read_public_key(tmp_path / "absent.pem")


# --- signatures


def test_a_signature_fits_what_was_signed(tmp_path):
    """It names its key and what it is over, in JSON; other libraries agree."""
    signature = sign(tmp_path, DATA)
    found = json.loads(signature)

    assert fault(DATA, signature, own_key(tmp_path)) is None
    assert (found["key"], found["algorithm"]) == (own_key(tmp_path).fingerprint, "ed25519")
    assert found["sha256"] == hashlib.sha256(DATA).hexdigest()
    der = base64.b64decode("".join(own_key(tmp_path).pem.splitlines()[1:-1]))
    public = ed25519.Ed25519PublicKey.from_public_bytes(der[-32:])
    public.verify(base64.b64decode(found["signature"]), DATA)


def test_any_changed_byte_breaks_it(tmp_path):
    """In what was signed, and in the signature file, wherever it stands."""
    signature, key = sign(tmp_path, DATA), own_key(tmp_path)

    assert all(fault(data, signature, key) for data in flips(DATA))
    assert all(fault(DATA, changed, key) for changed in flips(signature))


def test_a_signature_of_another_key_does_not_fit(tmp_path):
    """Also where it claims to be of ours."""
    ours, theirs = own_key(tmp_path / "ours"), own_key(tmp_path / "theirs")
    signature = sign(tmp_path / "theirs", DATA)
    claims = signature.replace(theirs.fingerprint.encode(), ours.fingerprint.encode())

    assert f"was signed by key {theirs.fingerprint[:12]}" in fault(DATA, signature, ours)
    assert fault(DATA, claims, ours) == f"was not signed by key {ours.fingerprint[:12]}…, as it says"


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"key": 1, "sha256": 2, "signature": 3}', b"\xff"])
def test_what_is_no_signature_is_said_to_be_none(tmp_path, text):
    """Whatever bytes stand there."""
    assert read_signature(text) is None
    assert fault(DATA, text, own_key(tmp_path)) == "is no signature"
