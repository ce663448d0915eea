"""What no message foresaw: one line where the machine is to blame, a traceback where our code is."""

from __future__ import annotations

import errno
import io
import os
import sys

import pytest

from robustnoise.cli import looking, main


def _fail_with(error: OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(looking, "show_data", fail)
    monkeypatch.setattr(sys, "argv", ["robustnoise", "data"])
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", io.StringIO())  # which is closed on the way
        main()


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.EINVAL, "Invalid argument", "a/file"), "OSError: [Errno 22] Invalid argument: 'a/file'."),
        (FileNotFoundError(errno.ENOENT, "No such file", "a"), "FileNotFoundError: [Errno 2] No such file: 'a'."),
        (OSError(errno.ENOSPC, "No space left on device"), "OSError: [Errno 28] No space left on device."),
        (OSError(errno.ENOLCK, "No locks available"), "OSError: [Errno 37] No locks available."),
        (OSError(errno.EACCES, "Permission denied"), "PermissionError: [Errno 13] Permission denied."),
    ],
)
def test_an_error_of_the_machine_is_one_line(
    error: OSError, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        _fail_with(error, monkeypatch)
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"{line}\n"


@pytest.mark.parametrize(
    "error",
    [OSError("could not get source code"), OSError(errno.EBADF, os.strerror(errno.EBADF)), ConnectionResetError()],
    ids=["no number", "a closed file", "a worker's pipe"],
)
def test_an_error_of_our_code_keeps_its_traceback(error: OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError) as found:  # noqa: PT011 - it is the same object
        _fail_with(error, monkeypatch)
    assert found.value is error
