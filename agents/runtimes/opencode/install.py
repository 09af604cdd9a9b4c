"""Gets OpenCode's program: `python -m agents.runtimes.opencode.install FOLDER`.

The platform's package from npm, of one version, checked against its hash. Node is needed for that only: the program
brings all that it needs, but git and ripgrep.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

VERSION = "1.18.33"
"""The server's API differs from version to version: another one is another runtime until it is tested."""
PACKAGES = {
    ("Linux", "x86_64"): ("opencode-linux-x64", "149a676b59224b196626abda2fdbd34c8329ac326b57c4891ba3de446f3ca3c1"),
}
"""By system and machine: the package, and the SHA-256 of its tarball."""
NAME = f"opencode-{VERSION}"
SECONDS = 300


class NotInstalled(Exception):
    """OpenCode cannot be had here; the message says why and what to do."""


def install(folder: Path) -> Path:
    """The program in `folder`, fetched unless it is there already. Raises NotInstalled."""
    program = folder / NAME
    if program.exists():
        return program
    here = (platform.system(), platform.machine())
    if here not in PACKAGES:
        raise NotInstalled(f"There is no tested OpenCode {VERSION} for {' '.join(here)}.")
    if shutil.which("npm") is None:
        raise NotInstalled("npm is not installed; OpenCode's program is fetched with it (Debian: apt-get install npm).")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="opencode-", dir=folder) as work:
        _fetch(*PACKAGES[here], Path(work))
        os.replace(Path(work, "opencode"), program)
    return program


def _fetch(package: str, sha256: str, folder: Path) -> None:
    command = ("npm", "pack", "--silent", f"{package}@{VERSION}")
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired as error:
        raise NotInstalled(f"npm did not bring {package} {VERSION} within {SECONDS} s.") from error
    tarball = folder / f"{package}-{VERSION}.tgz"
    if done.returncode or not tarball.exists():
        raise NotInstalled(f"npm could not bring {package} {VERSION}: {(done.stderr or done.stdout).strip()[-500:]}")
    with tarball.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise NotInstalled(f"{tarball.name} is not what was tested: its SHA-256 is {found}, not {sha256}.")
    with tarfile.open(tarball) as archive, (folder / "opencode").open("wb") as target:
        source = archive.extractfile("package/bin/opencode")
        assert source is not None
        shutil.copyfileobj(source, target)
        os.fchmod(target.fileno(), 0o755)


if __name__ == "__main__":
    try:
        print(install(Path(sys.argv[1])))
    except NotInstalled as error:
        sys.exit(str(error))
