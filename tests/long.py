"""What takes minutes and proves what a quicker test of every run proves on fewer cases."""

import os

import pytest

IS_WANTED = os.environ.get("WAGGLE_TEST_LONG") == "1"
long = pytest.mark.skipif(not IS_WANTED, reason="WAGGLE_TEST_LONG=1 runs it")
