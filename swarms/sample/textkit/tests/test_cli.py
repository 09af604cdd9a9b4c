import contextlib
import io
import unittest
from unittest import mock

from textkit.cli import main


def run(*arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(arguments))
    return code, out.getvalue(), err.getvalue()


class CommandLine(unittest.TestCase):
    def test_slug(self):
        self.assertEqual(run("slug", "Hello, World"), (0, "hello-world\n", ""))

    def test_case(self):
        self.assertEqual(run("case", "snake", "helloWorld"), (0, "hello_world\n", ""))

    def test_wrap_reads_standard_input(self):
        with mock.patch("sys.stdin", io.StringIO("one two three")):
            self.assertEqual(run("wrap", "-", "--width", "8"), (0, "one two\nthree\n", ""))

    def test_missing_file_is_a_plain_error(self):
        code, out, err = run("wrap", "no-such-file.txt")
        self.assertEqual((code, out), (1, ""))
        self.assertIn("no-such-file.txt", err)
