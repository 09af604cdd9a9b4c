"""A bucket of an S3-compatible object store; loaded only where the settings name one."""

from typing import Any

from botocore.exceptions import ClientError
from django.core.files.base import File
from storages.backends.s3 import S3Storage
from storages.utils import clean_name


class Bucket(S3Storage):
    """django-storages' S3 storage, which reads an object as it is sent on, and not all of it first."""

    def _open(self, name: str, mode: str = "rb") -> "File[bytes]":
        """Raises FileNotFoundError."""
        key = self._normalize_name(clean_name(name))
        try:
            answer: dict[str, Any] = self.connection.meta.client.get_object(Bucket=self.bucket_name, Key=key)
        except ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 404:
                raise FileNotFoundError(name) from error
            raise
        return File(answer["Body"], name)
