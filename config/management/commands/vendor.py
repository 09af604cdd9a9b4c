"""Files of other projects that the browser loads: kept in static/vendor, held by hashes."""

import base64
import hashlib
import json
import re
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

VENDOR = Path(settings.BASE_DIR) / "static" / "vendor"
LOCK = VENDOR / "VENDOR.lock.json"
SPRITE = Path(settings.BASE_DIR) / "templates" / "_sprite.html"


def digest(data: bytes, algorithm: str) -> str:
    """A hash as npm and browsers write it, e.g. `sha384-…`."""
    return f"{algorithm}-{base64.b64encode(hashlib.new(algorithm, data).digest()).decode()}"


def folder_of(package: dict[str, Any]) -> Path:
    """Where a package's files are kept."""
    return VENDOR / f"{package['name'].removeprefix('@').replace('/', '-')}-{package['version']}"


def sprite() -> str:
    """All icons as one hidden SVG of symbols, `i-<name>` each."""
    symbols = []
    for path in sorted(VENDOR.glob("lucide-static-*/*.svg")):
        inner = re.sub(r"<!--.*?-->|</?svg[^>]*>", "", path.read_text(), flags=re.S)
        inner = " ".join(inner.split()).replace(" />", "/>").replace("> <", "><")
        symbols.append(f'<symbol id="i-{path.stem}" viewBox="0 0 24 24">{inner}</symbol>')
    head = '<svg class="sprite" width="0" height="0" aria-hidden="true" focusable="false">'
    return head + "\n" + "\n".join(symbols) + "\n</svg>\n"


def faults() -> list[str]:
    """What differs from the lock file, in words; empty when all is well."""
    packages = json.loads(LOCK.read_text())["packages"]
    found, known = [], {LOCK}
    for package in packages:
        for name, entry in package["files"].items():
            path = folder_of(package) / name
            known.add(path)
            if not path.is_file():
                found.append(f"{path.name} of {package['name']} is missing: manage.py vendor --update")
            elif digest(path.read_bytes(), "sha384") != entry["sha384"]:
                found.append(f"{path.name} of {package['name']} was changed: manage.py vendor --update")
    found += [
        f"{path.name} is in no package of VENDOR.lock.json"
        for path in VENDOR.rglob("*")
        if path.is_file() and path not in known
    ]
    if not SPRITE.is_file() or SPRITE.read_text() != sprite():
        found.append("templates/_sprite.html is not made from the icons: manage.py vendor --update lucide-static")
    return found


def fetch(package: dict[str, Any]) -> bytes:
    """The package's archive from npm. Raises CommandError when it is not the one that the lock file names."""
    with tempfile.TemporaryDirectory() as folder:
        spec = f"{package['name']}@{package['version']}"
        subprocess.run(["npm", "pack", "--silent", spec], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        archive = next(Path(folder).glob("*.tgz")).read_bytes()
    if package["integrity"] and digest(archive, "sha512") != package["integrity"]:
        raise CommandError(f"{spec}: the archive is not the one that VENDOR.lock.json names")
    return archive


def unpack(package: dict[str, Any], archive: bytes) -> None:
    """Write the listed files, and note their hashes in `package`."""
    folder = folder_of(package)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile() as file:
        file.write(archive)
        file.seek(0)
        with tarfile.open(fileobj=file) as tar:
            for name, entry in package["files"].items():
                member = tar.extractfile(f"package/{entry['from']}")
                if member is None:
                    raise CommandError(f"{package['name']} has no file {entry['from']}")
                data = member.read()
                (folder / name).write_bytes(data)
                entry["sha384"] = digest(data, "sha384")
    package["integrity"] = digest(archive, "sha512")


class Command(BaseCommand):
    """`--check` compares with the lock file; `--update [NAME[@VERSION]]` fetches again by npm."""

    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        group = parser.add_mutually_exclusive_group(required=True)
        group.add_argument("--check", action="store_true", help="Compare the files with VENDOR.lock.json.")
        group.add_argument("--update", nargs="?", const="", metavar="NAME[@VERSION]", help="Fetch again (all, or one).")

    def handle(self, *args: Any, check: bool, update: str | None, **options: Any) -> None:
        if update is not None:
            self.update(update)
        if found := faults():
            raise CommandError("\n".join(found))
        self.stdout.write("Everything in static/vendor is as VENDOR.lock.json says.")

    def update(self, wanted: str) -> None:
        """Fetch the wanted packages and write the lock file and the sprite."""
        lock = json.loads(LOCK.read_text())
        name, _, version = wanted.rpartition("@") if "@" in wanted[1:] else (wanted, "", "")
        for package in lock["packages"]:
            if name in ("", package["name"]):
                if version and version != package["version"]:
                    before = folder_of(package)
                    package |= {"version": version, "integrity": ""}
                    for path in before.glob("*"):
                        path.unlink()
                    before.rmdir()
                unpack(package, fetch(package))
        LOCK.write_text(json.dumps(lock, indent=2) + "\n")
        SPRITE.write_text(sprite())
