"""Where artifacts lie: a folder, or a bucket of an S3-compatible object store, as the environment says."""

import re
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from config.env import env, env_secret, env_url

_BUCKET = re.compile(r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
_ENDPOINT = "https://objects.example:9000"


def artifact_store(data_dir: Path) -> dict[str, Any]:
    """The entry of Django's STORAGES. Raises ImproperlyConfigured when the variables do not fit together."""
    bucket = env("WAGGLE_ARTIFACT_BUCKET", "")
    endpoint = env_url("WAGGLE_ARTIFACT_ENDPOINT", ["http", "https"], _ENDPOINT)
    region = env("WAGGLE_ARTIFACT_REGION", "")
    access, secret = env("WAGGLE_ARTIFACT_ACCESS_KEY", ""), env_secret("WAGGLE_ARTIFACT_SECRET_KEY", "")
    given = {"ENDPOINT": endpoint, "REGION": region, "ACCESS_KEY": access, "SECRET_KEY": secret}
    if not bucket:
        for name in (name for name, value in given.items() if value):
            raise ImproperlyConfigured(
                f"WAGGLE_ARTIFACT_{name} is set, but WAGGLE_ARTIFACT_BUCKET is not."
                " For example WAGGLE_ARTIFACT_BUCKET=waggle-artifacts."
            )
        options = {"location": data_dir / "artifacts", "file_permissions_mode": 0o600}
        return {"BACKEND": "sessions.artifacts.stores.Folder", "OPTIONS": options}
    if not _BUCKET.match(bucket):
        raise ImproperlyConfigured(
            f"WAGGLE_ARTIFACT_BUCKET must be the name of a bucket (3 to 63 small letters, digits, dots and hyphens),"
            f" not {bucket!r}. For example WAGGLE_ARTIFACT_BUCKET=waggle-artifacts."
        )
    if bool(access) != bool(secret):
        lacking = "WAGGLE_ARTIFACT_SECRET_KEY" if access else "WAGGLE_ARTIFACT_ACCESS_KEY"
        raise ImproperlyConfigured(
            f"{lacking} is not set, but its other half is. Set both, for example {lacking}=…, or neither: then the"
            " machine's own role is used."
        )
    options = bucket_options(bucket, endpoint, region, access, secret)
    return {"BACKEND": "sessions.artifacts.bucket.Bucket", "OPTIONS": options}


def bucket_options(bucket: str, endpoint: str | None, region: str, access: str, secret: str) -> dict[str, Any]:
    """Options of the bucket; an address of one's own is asked by path, as most servers want it."""
    # Only where a bucket is used: these take a while to load.
    from boto3.s3.transfer import TransferConfig
    from botocore.config import Config

    # Pieces of 8 MB. Few at once: each is in memory.
    transfer = TransferConfig(max_concurrency=2)
    transfer.max_in_memory_upload_chunks = 2
    return {
        "bucket_name": bucket,
        "endpoint_url": endpoint,
        "region_name": region or ("us-east-1" if endpoint else None),
        "access_key": access or None,
        "secret_key": secret or None,
        "default_acl": None,  # nobody reads objects but the control plane
        "file_overwrite": True,
        "transfer_config": transfer,
        "client_config": Config(
            signature_version="s3v4",
            s3={"addressing_style": "path" if endpoint else "auto"},
            connect_timeout=5,
            read_timeout=20,
            retries={"max_attempts": 3, "mode": "standard"},
            # Not every store knows the checksums that Amazon's client adds of late.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    }
