"""Errors of users, in one line each."""

from __future__ import annotations

import errno

from cyclopts import CycloptsError, ValidationError

from mmunlearner.core.files import disk_is_full
from mmunlearner.core.validation import out_of_bounds
from mmunlearner.errors import MMUnlearnerError

# Errors of the operating system that the user can put right; all others are defects of this package.
PATH_ERRORS = (
    errno.EACCES, errno.EEXIST, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR,
    errno.EPERM, errno.EROFS,
)  # fmt: skip


def explain(error: Exception) -> str | None:
    """Return a line on an error that the user can put right; None for a defect of this package."""
    # cyclopts had pydantic check the bounds of an option: its message is replaced by that of recipes.
    if isinstance(error, ValidationError) and error.argument and (problem := out_of_bounds(error.__cause__)):
        return f"{error.argument.name}: {problem}"
    if isinstance(error, CycloptsError):
        error.verbose = False  # else its text names functions of this package
        return str(error)
    if isinstance(error, MMUnlearnerError):
        return str(error)
    return _file_problem(error)


def _file_problem(error: Exception) -> str | None:
    """Return a line on a file or a disk that the user can put right."""
    if disk_is_full(error):
        return f"the disk is full ({error}); free some space, the same command resumes"
    if isinstance(error, ValueError) and "embedded null" in str(error):  # raised by every function that takes a path
        return "a path or name has a NUL character in it; name another"
    if isinstance(error, OSError) and error.errno in PATH_ERRORS:
        return f"{error.filename}: {error.strerror}; name another path, or change its permissions"
    return None
