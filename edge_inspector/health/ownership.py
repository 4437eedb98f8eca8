"""Checks of who owns a station's files: the user of its service must be able to write, or read, them."""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import stat
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from edge_inspector.health.finding import Finding, judged

MOST = 20_000
"""Files that are looked at in a folder: a million pictures would take a minute, and root's are seen in the first."""
_READ, _WRITE, _ENTER = 4, 2, 1
_NAMED = 3


@dataclass(frozen=True)
class Account:
    """A user by name and number, and the numbers of all its groups."""

    name: str
    uid: int
    gids: frozenset[int]


def account_of(user: str) -> Account | None:
    """The user of this name or number; None = this machine has none."""
    try:
        found = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    except KeyError:
        return None
    return Account(found.pw_name, found.pw_uid, frozenset(os.getgrouplist(found.pw_name, found.pw_gid)))


def ownership_findings(
    who: Account, written: Sequence[Path], read: Collection[Path], most: int = MOST
) -> Iterator[Finding]:
    """`written`: folders in which the station keeps things, as far as they exist; `read`: files that it only reads."""
    for folder in dict.fromkeys(written):
        if folder.exists() or folder.is_symlink():
            yield _written(who, folder, most)
    yield from (_unread(who, path, why) for path in dict.fromkeys(read) if (why := _hindrance(who, path, _READ)))


def _written(who: Account, folder: Path, most: int) -> Finding:
    why_not = _hindrance(who, folder, _READ | _WRITE | _ENTER)
    expected = f"all of it may be written by {who.name}"
    try:
        below = list(islice(_below(folder), most + 1))
    except PermissionError as exc:
        found = f"{exc.filename} may not be read by this user; ask as root: sudo edge-inspector doctor"
        return judged("files.owner", str(folder), "note", found, expected)
    except OSError as exc:  # a link to itself, a disk that cannot be read
        why, mend = "The station cannot use it.", f"ls -la {shlex.quote(str(folder.parent))} # and put a folder there"
        return judged("files.owner", str(folder), "fail", f"{exc.filename}: {exc.strerror}", expected, why, mend)
    bad = [told for path in below[:most] if (told := _not_for(who, path))]
    count = f"{len(bad)} of {'the first ' if len(below) > most else ''}{len(below[:most])} files and folders in it"
    named = "; ".join([*([why_not] if why_not else []), *([f"{count}: " + ", ".join(bad[:_NAMED])] if bad else [])])
    return judged(
        "files.owner",
        str(folder),
        "fail" if named else "ok",
        f"not for {who.name}: {named}{', ...' if len(bad) > _NAMED else ''}" if named else expected,
        expected,
        "The station cannot write them, and may not start. Such files come from commands that root has run.",
        f"sudo chown -R {who.name}: {shlex.quote(str(folder))}",
    )


def _unread(who: Account, path: Path, why: str) -> Finding:
    return judged(
        "files.readable",
        str(path),
        "fail",
        why,
        f"{who.name} may read it",
        "The station's service cannot read it, and does not start.",
        f"sudo chgrp {_group_of(who)} {shlex.quote(str(path))} && sudo chmod g+r {shlex.quote(str(path))}"
        " # and g+x on the folders above it",
    )


def _hindrance(who: Account, path: Path, needed: int) -> str:
    """Why the user cannot reach the path or do this with it; empty = it can, or there is no such path."""
    try:
        real = Path(os.path.realpath(path))
        for parent in reversed(real.parents):
            if not _may(who, parent.stat(), _ENTER):
                return f"{_owned(parent)} does not let {who.name} in"
        return "" if _may(who, real.stat(), needed) else f"{_owned(real)} is not for {who.name}"
    except PermissionError:
        return ""  # this user cannot look: root can
    except FileNotFoundError:
        return ""  # `check` says so
    except OSError as exc:  # a link to itself
        return f"{path}: {exc.strerror}"


def _may(who: Account, found: os.stat_result, needed: int) -> bool:
    """As the kernel decides without access lists; root may all."""
    shift = 6 if found.st_uid == who.uid else 3 if found.st_gid in who.gids else 0
    return who.uid == 0 or stat.S_ISLNK(found.st_mode) or found.st_mode >> shift & needed == needed


def _not_for(who: Account, path: Path) -> str:
    """Which file it is that the user cannot change; empty = it can, or the file is gone by now."""
    try:
        found = path.lstat()
        own = _READ if found.st_uid == who.uid else _READ | _WRITE  # its owner may replace a read-only file
        needed = _READ | _WRITE | _ENTER if stat.S_ISDIR(found.st_mode) else own
        return "" if _may(who, found, needed) else _owned(path)
    except FileNotFoundError:
        return ""


def _below(folder: Path) -> Iterator[Path]:
    """Breadth first: what root has left lies at the top, pictures lie deep."""
    waiting = [folder]
    while waiting:
        here = waiting.pop(0)
        try:
            with os.scandir(here) as entries:
                found = sorted(entries, key=lambda one: one.name)
        except FileNotFoundError:  # removed by a running station
            continue
        for entry in found:
            if here == folder and entry.name == "lost+found":  # root's, at the top of each disk
                continue
            yield Path(entry.path)
            if entry.is_dir(follow_symlinks=False):
                waiting.append(Path(entry.path))


def _owned(path: Path) -> str:
    """With owner, group and mode, as `ls -l` has them."""
    found = path.lstat()
    try:
        owner = pwd.getpwuid(found.st_uid).pw_name
    except KeyError:
        owner = str(found.st_uid)
    try:
        group = grp.getgrgid(found.st_gid).gr_name
    except KeyError:
        group = str(found.st_gid)
    return f"{path} ({owner}:{group} {stat.S_IMODE(found.st_mode):03o})"


def _group_of(who: Account) -> str:
    try:
        return grp.getgrgid(pwd.getpwuid(who.uid).pw_gid).gr_name
    except KeyError:
        return str(next(iter(who.gids), who.uid))
