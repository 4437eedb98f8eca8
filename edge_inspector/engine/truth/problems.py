"""How readers of truth files tell everything that is wrong at once, and the checks that all of them share."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from edge_inspector.engine.truth.records import SUFFIXES, LabelledPicture
from edge_inspector.errors import ConfigError

_TOLD = 20
"""So many problems of one source are told one by one."""
SLACK_PX = 1.0
"""So far may a box reach out of its picture: tools round, and some count pixels from 1."""


def text_of(path: Path) -> str:
    """The file's text, a byte order mark taken off. ConfigError: it cannot be read, or is no UTF-8."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as exc:
        raise ConfigError(f"{path} cannot be read: {exc.strerror}; give the path of a truth file") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path} is not UTF-8 text (byte {exc.start}); save it as UTF-8") from exc
    if "\0" in text:
        raise ConfigError(f"{path} is not text: it holds zero bytes; save it as UTF-8")
    return text


def refuse(source: Path, problems: Iterable[str]) -> None:
    """ConfigError with one line for each problem; nothing when there is none."""
    found = list(dict.fromkeys(problems))
    if not found:
        return
    more = [f"and {len(found) - _TOLD} more"] if len(found) > _TOLD else []
    lines = "".join(f"\n- {line}" for line in [*found[:_TOLD], *more])
    raise ConfigError(f"{source} cannot be used as truth:{lines}")


def inside(folder: Path, name: str) -> Path | None:
    """The picture of that name in the folder; None: the name leads out of it."""
    plain = PurePosixPath(name.replace("\\", "/"))
    if not name or plain.is_absolute() or ".." in plain.parts or "\0" in name:
        return None
    return folder / plain


def box_problem(xyxy: Sequence[float], hw: tuple[int, int] | None) -> str:
    """What is wrong with a box, empty = nothing."""
    x1, y1, x2, y2 = xyxy
    shown = f"x {x1:g} to {x2:g}, y {y1:g} to {y2:g}"
    if not all(math.isfinite(v) for v in xyxy):
        return f"box {shown} has a number that is not finite"
    if x2 <= x1 or y2 <= y1:
        return f"box {shown} is empty, expected a width and a height above 0"
    if hw is not None and (min(x1, y1) < -SLACK_PX or x2 > hw[1] + SLACK_PX or y2 > hw[0] + SLACK_PX):
        return f"box {shown} reaches out of the {hw[1]}x{hw[0]} picture"
    return ""


def picture_problems(pictures: Sequence[LabelledPicture]) -> Iterator[str]:
    """No picture, one that is listed twice or missing, or two of one part by one camera."""
    if not pictures:
        yield "it lists no picture; give one with pictures to evaluate on"
    twice = [name for name, count in Counter(picture.name for picture in pictures).items() if count > 1]
    if twice:
        yield f"listed twice: {named(twice)}; list each picture once"
    missing = [str(picture.path) for picture in pictures if not picture.path.is_file()]
    if missing:
        yield f"pictures are missing: {named(missing)}; correct the images folder or the labels"
    silent = [p.name for p in pictures if p.things is None and p.good is None and not p.classes and not p.values]
    if silent:
        yield f"nothing is said of {named(silent)}; say a class, or that it is good"
    seen: dict[tuple[str, str], str] = {}
    for picture in pictures:
        other = seen.setdefault((picture.part, picture.camera), picture.name)
        if picture.camera and other != picture.name:
            yield (
                f"part {picture.part} has two pictures of camera {picture.camera}: {other} and {picture.name}; a "
                "camera gives one view of a part"
            )


def named(names: Sequence[str]) -> str:
    """The first of them, and how many there are more."""
    return ", ".join(names[:_TOLD]) + (f" and {len(names) - _TOLD} more" if len(names) > _TOLD else "")


def pictures_below(folder: Path) -> list[Path]:
    """The picture files in a folder and below it, by name; hidden ones are left out. ConfigError: cannot be read."""
    try:
        found = [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()]
        if not folder.is_dir():
            raise NotADirectoryError(20, "not a folder")
    except OSError as exc:
        raise ConfigError(f"{folder} cannot be read: {exc.strerror}; give a folder of pictures") from exc
    return sorted(path for path in found if not any(p.startswith(".") for p in path.relative_to(folder).parts))
