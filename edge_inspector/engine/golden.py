"""Pictures with which two models are compared: a bundle's golden set, or any folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from edge_inspector.engine.bundle import Bundle, Golden
from edge_inspector.errors import BundleError, ConfigError

Label: TypeAlias = Literal["good", "bad", ""]
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class Picture:
    """One picture file; `name` is its path in its folder, `label` what a person says of the part, empty = nothing."""

    path: Path
    name: str
    label: Label


def golden_pictures(bundle: Bundle) -> Sequence[Picture]:
    """Those of the bundle's COCO file, none without a golden set; bad is what has a label of a class that is not good.

    BundleError: the file is not COCO, a picture is missing or listed twice, or a label is of no class of the bundle.
    """
    if bundle.golden is None:
        return ()
    listed, labels = _read(bundle.golden)
    bad = set()
    for image, name in labels:
        if name not in bundle.classes:
            raise BundleError(
                f"{bundle.golden.coco}: a label is of category {name!r}, expected {', '.join(bundle.classes)}; correct "
                "it"
            )
        if bundle.classes.index(name) not in bundle.criteria.good:
            bad.add(image)
    pictures = [Picture(bundle.golden.images / name, name, "bad" if i in bad else "good") for i, name in listed.items()]
    missing = [picture.name for picture in pictures if not picture.path.is_file()]
    if missing:
        raise BundleError(
            f"{bundle.golden.coco}: pictures are missing in {bundle.golden.images}: {', '.join(missing)}; copy the "
            "bundle again"
        )
    return pictures


def golden_sum(bundle: Bundle) -> str:
    """SHA-256 over the golden set's labels and pictures, empty = there is none. BundleError as `golden_pictures`."""
    if bundle.golden is None:
        return ""
    sha256 = hashlib.sha256(bundle.golden.coco.read_bytes())
    for picture in golden_pictures(bundle):
        sha256.update(hashlib.sha256(picture.path.read_bytes()).digest())
    return sha256.hexdigest()


def pictures_in(folder: Path) -> Sequence[Picture]:
    """The picture files of a folder, by name, of which nobody says anything. ConfigError: there is none."""
    try:
        found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    except OSError as exc:
        raise ConfigError(f"pictures in {folder} cannot be read: {exc.strerror}; give a folder of pictures") from exc
    if not found:
        raise ConfigError(f"{folder} holds no picture ({', '.join(SUFFIXES)}); give a folder of pictures")
    return [Picture(path, path.name, "") for path in found]


def _read(golden: Golden) -> tuple[dict[Any, str], list[tuple[Any, str]]]:
    """File names by image id, and (image id, category name) of each label."""
    try:
        coco = json.loads(golden.coco.read_bytes())
        images = [(image["id"], str(image["file_name"])) for image in coco["images"]]
        names = {category["id"]: str(category["name"]) for category in coco["categories"]}
        labels = [(label["image_id"], names[label["category_id"]]) for label in coco["annotations"]]
        listed = dict(images)
        strange = [image for image, _ in labels if image not in listed]
    except OSError as exc:
        raise BundleError(f"{golden.coco} cannot be read: {exc.strerror}; copy the bundle again") from exc
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        raise BundleError(
            f"{golden.coco} is not a COCO file ({type(exc).__name__}: {exc}); expected images, categories and "
            "annotations that refer to one another"
        ) from exc
    if strange:
        raise BundleError(f"{golden.coco}: labels are of images that it does not list: {strange}; correct it")
    if len(listed) < len(images) or len(set(listed.values())) < len(listed):
        raise BundleError(f"{golden.coco}: an image is listed twice; list each once")
    return listed, labels
