from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_inspector.datatypes import Criteria, Limits
from edge_inspector.engine.truth import LabelledPicture, Thing, is_bad, read_part_verdicts, read_truth
from edge_inspector.errors import ConfigError

HEIGHT, WIDTH = 40, 60


def save(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((HEIGHT, WIDTH), np.uint8))
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for name in ("one.png", "two.png"):
        save(tmp_path / "images" / name)
    return tmp_path / "images"


def coco() -> dict:
    return {
        "images": [
            {"id": 1, "file_name": "one.png", "height": HEIGHT, "width": WIDTH, "part_id": 7, "camera": "top"},
            {"id": "b", "file_name": "two.png"},
        ],
        "categories": [{"id": 3, "name": "scratch"}, {"id": 9, "name": "dent"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 9, "bbox": [10, 5, 20, 10]},
            {"id": 2, "image_id": 1, "category_id": 3, "segmentation": [[0, 0, 8, 0, 8, 4], [20, 20, 22, 20, 22, 30]]},
        ],
    }


def voc(corners: str = "<xmin>11</xmin><ymin>6</ymin><xmax>30</xmax><ymax>15</ymax>", name: str = "one.png") -> str:
    size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>1</depth></size>"
    thing = f"<object><name>dent</name><difficult>1</difficult><bndbox>{corners}</bndbox></object>"
    return f"<annotation><filename>{name}</filename>{size}{thing}</annotation>"


def test_coco_boxes_outlines_parts_and_cameras_are_read(images: Path, tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(coco()))
    truth = read_truth(path, images)
    assert (truth.format, truth.classes) == ("coco", ("scratch", "dent"))
    first, second = truth.pictures
    assert first == LabelledPicture(
        images / "one.png",
        "one.png",
        "7",
        "top",
        (HEIGHT, WIDTH),
        (
            Thing("dent", (10, 5, 30, 15)),
            Thing("scratch", (0, 0, 22, 30), (((0, 0), (8, 0), (8, 4)), ((20, 20), (22, 20), (22, 30)))),
        ),
    )
    assert second == LabelledPicture(images / "two.png", "two.png", "two.png", things=())


def test_of_a_run_length_encoded_outline_the_box_is_taken(images: Path, tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text(label(segmentation={"counts": "x", "size": [HEIGHT, WIDTH]}, iscrowd=0))
    assert read_truth(path, images).pictures[0].things == (Thing("scratch", (1, 1, 3, 3)),)


def test_voc_counts_pixels_from_one_and_keeps_what_is_difficult(images: Path, tmp_path: Path) -> None:
    folder = tmp_path / "voc"
    folder.mkdir()
    (folder / "one.xml").write_text(voc())
    (folder / "two.xml").write_text("<annotation><filename>two</filename></annotation>")  # without suffix, nothing seen
    truth = read_truth(folder, images)
    assert truth.format == "voc"
    assert truth.pictures[0].things == (Thing("dent", (10, 5, 30, 15)),)
    assert truth.pictures[0].hw == (HEIGHT, WIDTH)
    assert (truth.pictures[1].path, truth.pictures[1].things) == (images / "two.png", ())


@pytest.mark.parametrize("names", ["classes.txt", "data.yaml", "data.yaml by number"])
def test_yolo_boxes_and_outlines_become_pixels(images: Path, tmp_path: Path, names: str) -> None:
    folder = tmp_path / "labels"
    folder.mkdir()
    if names == "classes.txt":
        (folder / names).write_text("dent\nscratch\n")
    elif names == "data.yaml":
        (tmp_path / names).write_text("names: [dent, scratch]\n")
    else:
        (tmp_path / "data.yaml").write_text("names:\n  0: dent\n  1: scratch\n")
    (folder / "one.txt").write_text("0 0.5 0.5 0.5 0.25\n\n1 0 0 0.5 0 0.5 0.5\n")
    truth = read_truth(folder, images)
    assert (truth.format, truth.classes) == ("yolo", ("dent", "scratch"))
    assert truth.pictures[0].things == (
        Thing("dent", (15, 15, 45, 25)),
        Thing("scratch", (0, 0, 30, 20), (((0, 0), (30, 0), (30, 20)),)),
    )
    assert truth.pictures[1].things == ()  # no label file: nothing there


def test_a_folder_for_each_class_needs_no_file(tmp_path: Path) -> None:
    for name in ("good/a.png", "scratch/b.png", "scratch/deep/c.JPG", ".thumbs/x.png"):
        save(tmp_path / "set" / name)
    truth = read_truth(tmp_path / "set")
    assert (truth.format, truth.classes) == ("folders", ("good", "scratch"))
    assert {p.name: p.classes for p in truth.pictures} == {
        "good/a.png": ("good",),
        "scratch/b.png": ("scratch",),
        "scratch/deep/c.JPG": ("scratch",),
    }
    assert all(p.things is None for p in truth.pictures)


def test_a_table_says_boxes_classes_parts_values_and_verdicts(images: Path, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(
        "\ufefffile;class;x;y;width;height;good;part;camera;value.gap\r\n"
        "one.png;dent;10;5;20;10;no;p1;top;1.5\r\n"
        '"one.png";scratch;0;0;4;4;no;p1;top;1.5\r\n\r\n'
        "two.png;;;;;;YES;p1;side;\r\n".encode()
    )
    first, second = read_truth(path, images).pictures
    assert first.things == (Thing("dent", (10, 5, 30, 15)), Thing("scratch", (0, 0, 4, 4)))
    assert (first.part, first.camera, first.good, first.values) == ("p1", "top", False, {"gap": 1.5})
    assert (second.things, second.part, second.camera, second.good, second.values) == ((), "p1", "side", True, {})


def test_a_class_without_a_box_is_said_of_the_whole_picture(images: Path, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("file,class,x,y,width,height\none.png,dent,1,1,2,2\none.png,scratch,,,,\ntwo.png,,,,,\n")
    first, second = read_truth(path, images).pictures
    assert first.things is None  # somebody did not draw all of them: they are of no use as boxes
    assert set(first.classes) == {"dent", "scratch"}
    assert (second.things, second.classes) == ((), ())


def test_a_second_table_puts_pictures_together_as_parts(images: Path, tmp_path: Path) -> None:
    path, parts = tmp_path / "labels.csv", tmp_path / "parts.csv"
    path.write_text("file,good\none.png,yes\ntwo.png,no\n")
    parts.write_text("part,file,camera\nA,two.png,side\nA,one.png,top\n")
    truth = read_truth(path, images, parts=parts)
    assert [(p.part, p.camera) for p in truth.pictures] == [("A", "top"), ("A", "side")]
    parts.write_text("part,file\nA,two.png\nA,one.png\n")  # by whatever cameras
    truth = read_truth(path, images, parts=parts)
    assert [(p.part, p.camera) for p in truth.pictures] == [("A", ""), ("A", "")]
    path.write_text("file,good,camera\none.png,yes,top\ntwo.png,no,side\n")  # which the labels may name
    truth = read_truth(path, images, parts=parts)
    assert [(p.part, p.camera) for p in truth.pictures] == [("A", "top"), ("A", "side")]


def test_verdicts_on_parts_are_read_by_part_or_result(tmp_path: Path) -> None:
    path = tmp_path / "feedback.csv"
    path.write_text("result_id,who,good\nr1,ann,ok\nr2,ann,0\nr1,bob,yes\n")
    said = read_part_verdicts(path)
    assert (said.key, said.good) == ("result_id", {"r1": True, "r2": False})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("part_id,good\na,maybe\n", r"line 2: part_id 'a', good 'maybe'"),
        ("part_id,good\na,yes\na,no\n", "line 3: a is said to be good and bad"),
        ("part_id,result_id,good\na,b,yes\n", "one of the columns part_id and result_id"),
        ("part_id,verdict\na,yes\n", "column good is missing"),
        ("part_id,good\n", "it has no row"),
        ("", "column good is missing; the header has nothing"),
    ],
)
def test_bad_verdicts_on_parts_are_told(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "feedback.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_part_verdicts(path)


def changed(**keys: object) -> str:
    return json.dumps({**coco(), **keys})


def label(**keys: object) -> str:
    return changed(annotations=[{"image_id": 1, "category_id": 3, "bbox": [1, 1, 2, 2], **keys}])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("{", "it is not JSON", id="broken"),
        pytest.param("[" * 100_000, "it is not JSON", id="nested without end"),
        pytest.param("[]", "not a COCO detection file", id="a list"),
        pytest.param('{"images": []}', r"categories: Field required", id="keys missing"),
        pytest.param(changed(images=[]), "lists no picture|image 1 is not listed", id="no picture"),
        pytest.param(label(image_id=77), "annotations.0: image 77 is not listed", id="a label of no picture"),
        pytest.param(label(category_id=77), "annotations.0: category 77 is not listed", id="a label of no class"),
        pytest.param(label(bbox=[1, 1, 0, 2]), "is empty, expected a width", id="no width"),
        pytest.param(label(bbox=[1, 1, -4, 2]), "is empty, expected a width", id="negative"),
        pytest.param(label(bbox=[50, 1, 20, 2]), f"out of the {WIDTH}x{HEIGHT} picture", id="outside"),
        pytest.param(label(bbox=[1, 1, 2]), r"annotations\.0\.bbox", id="three numbers"),
        pytest.param(label(bbox=[1, 1, 2, 2]).replace("[1, 1, 2, 2]", "[1, 1, NaN, 2]"), "finite", id="NaN"),
        pytest.param(label(bbox=[1, 1, 2, 2]).replace("[1, 1, 2, 2]", "[1, 1, 1e999, 2]"), "finite", id="infinite"),
        pytest.param(label(bbox=None), "neither bbox nor segmentation", id="no box"),
        pytest.param(label(iscrowd=1), "crowd", id="crowd"),
        pytest.param(label(bbox=None, segmentation={"counts": "x"}), "run-length", id="run-length"),
        pytest.param(label(segmentation="x"), "not a list of polygons", id="text for polygons"),
        pytest.param(label(segmentation=[[1, 2, 3]]), "not a list of polygons", id="half a polygon"),
        pytest.param(label(segmentation=[[1, 1, math.nan, 5, 9, 9]]), "not a list of polygons", id="NaN in a polygon"),
        pytest.param(label(segmentation=[[1, 1, 10**400, 5, 9, 9]]), "not a list of polygons", id="a huge corner"),
        pytest.param(label(segmentation=[[True] * 6]), "not a list of polygons", id="a polygon of words"),
        pytest.param(
            changed(images=[{"id": 1, "file_name": "one.png"}, {"id": 1, "file_name": "two.png"}], annotations=[]),
            "image 1 is listed twice",
            id="an id twice",
        ),
        pytest.param(
            changed(images=[{"id": 1, "file_name": "one.png"}, {"id": 2, "file_name": "one.png"}], annotations=[]),
            "listed twice: one.png",
            id="a file twice",
        ),
        pytest.param(
            changed(categories=[{"id": 3, "name": "dent"}, {"id": 9, "name": "dent"}]),
            "category 'dent' has two ids",
            id="a class twice",
        ),
        pytest.param(
            changed(images=[{"id": 1, "file_name": "../../etc/passwd"}], annotations=[]), "leads out", id="climbing"
        ),
        pytest.param(changed(images=[{"id": 1, "file_name": "/etc/x"}], annotations=[]), "leads out", id="absolute"),
        pytest.param(changed(images=[{"id": 1, "file_name": ""}], annotations=[]), "leads out", id="no name"),
        pytest.param(changed(images=[{"id": 1, "file_name": "\0"}], annotations=[]), "leads out", id="zero byte"),
        pytest.param(changed(images=[{"id": 1, "file_name": "x.png"}], annotations=[]), "missing.*x.png", id="missing"),
    ],
)
def test_bad_coco_files_are_told(images: Path, tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "labels.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_truth(path, images)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("<annotation>", "one.xml: is not XML", id="cut off"),
        pytest.param("<html/>", "has <html>, expected <annotation>", id="another document"),
        pytest.param("<annotation/>", "has no <filename>", id="no name"),
        pytest.param(voc(name="../x.png"), "leads out", id="climbing"),
        pytest.param(voc("<xmin>1</xmin>"), "<ymin> is '', expected a number", id="corners missing"),
        pytest.param(voc().replace(">30<", ">many<"), "<xmax> is 'many'", id="words"),
        pytest.param(voc().replace(">30<", ">300<"), "reaches out", id="outside"),
        pytest.param(voc().replace(">30<", ">3<"), "is empty", id="inside out"),
        pytest.param(voc().replace(f"<width>{WIDTH}<", "<width>wide<"), "<size/width> is 'wide'", id="size"),
        pytest.param(voc().replace("<name>dent</name>", ""), "<object> without <name>", id="no class"),
        pytest.param('<!DOCTYPE a [<!ENTITY b "c">]>' + voc(), "document type", id="entities"),
        pytest.param("\udcff", "not UTF-8", id="bytes"),
    ],
)
def test_bad_voc_files_are_told(images: Path, tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "voc").mkdir()
    (tmp_path / "voc" / "one.xml").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ConfigError, match=words):
        read_truth(tmp_path / "voc", images)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 0.5 0.5 0.5\n", "4 numbers, expected 5"),
        ("0 0.5 0.5 0.5 0.5 0.5\n", "6 numbers"),
        ("2 0.5 0.5 0.5 0.5\n", "class 2, expected 0 to 1"),
        ("-1 0.5 0.5 0.5 0.5\n", "class -1"),
        ("0.5 0.5 0.5 0.5 0.5\n", "class 0.5"),
        ("nan 0.5 0.5 0.5 0.5\n", "class nan"),
        ("0 15 15 30 10\n", "not pixels"),
        ("dent 0.5 0.5 0.5 0.5\n", "'dent 0.5 0.5 0.5 0.5' is not numbers"),
        ("0 0.5 0.5 0 0.5\n", "is empty"),
    ],
)
def test_bad_yolo_lines_are_told(images: Path, tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "classes.txt").write_text("dent\nscratch\n")
    (tmp_path / "labels" / "one.txt").write_text(text)
    with pytest.raises(ConfigError, match=rf"one.txt: line 1: .*{words}"):
        read_truth(tmp_path / "labels", images)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        pytest.param({"one.txt": ""}, "class names are missing", id="no names"),
        pytest.param({"one.txt": "", "classes.txt": ""}, "no list of class names", id="no name in the list"),
        pytest.param({"one.txt": "", "classes.txt": "a\na\n"}, "names a class twice", id="a name twice"),
        pytest.param({"one.txt": "", "data.yaml": "names: {0: a, 2: b}"}, "no list of class names", id="a gap"),
        pytest.param({"one.txt": "", "data.yaml": "names: ["}, "not YAML", id="broken YAML"),
        pytest.param({"three.txt": "", "classes.txt": "a"}, "labels without a picture.*three.txt", id="lonely labels"),
    ],
)
def test_bad_yolo_folders_are_told(images: Path, tmp_path: Path, files: dict[str, str], words: str) -> None:
    (tmp_path / "labels").mkdir()
    for name, text in files.items():
        (tmp_path / "labels" / name).write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_truth(tmp_path / "labels", images)


def test_two_pictures_of_one_yolo_name_are_refused(images: Path, tmp_path: Path) -> None:
    save(images / "one.jpg")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "classes.txt").write_text("dent\n")
    (tmp_path / "labels" / "one.txt").write_text("")
    with pytest.raises(ConfigError, match=r"two pictures have the labels one\.txt"):
        read_truth(tmp_path / "labels", images)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("", "column file is missing", id="empty"),
        pytest.param("file\none.png\n", "says nothing of the pictures", id="nothing said"),
        pytest.param("file,clas\none.png,a\n", "column 'clas' is known to nobody", id="a typing error"),
        pytest.param("file,class,class\none.png,a,a\n", "a column is there twice", id="a column twice"),
        pytest.param("file,class,x\none.png,a,1\n", "expected class and all of x, y, width, height", id="half a box"),
        pytest.param("file,class\none.png,a,b\n", "line 2 has 3 cells, expected 2", id="too many cells"),
        pytest.param("file,class,x,y,width,height\none.png,a,1,,2,2\n", "y is '', expected a number", id="a gap"),
        pytest.param("file,class,x,y,width,height\none.png,,1,1,2,2\n", "a box without a class", id="no class"),
        pytest.param("file,class,x,y,width,height\none.png,a,1,1,0,2\n", "is empty", id="no width"),
        pytest.param("file,value.gap\none.png,nan\n", "expected a finite number", id="not a number"),
        pytest.param("file,good\none.png,perhaps\n", "good is 'perhaps', expected yes or no", id="perhaps"),
        pytest.param("file,good\none.png,yes\none.png,no\n", "another good than in a line before", id="contradiction"),
        pytest.param("file,class,part\none.png,a,1\none.png,b,2\n", "another part", id="two parts"),
        pytest.param("file,good\nthree.png,yes\n", "pictures are missing", id="no such picture"),
        pytest.param("file,good\n/etc/passwd,yes\n", "leads out", id="absolute"),
        pytest.param("file,good\none.png,yes\n\x00,no\n", "holds zero bytes", id="a zero byte"),
        pytest.param('file,good\n"one.png,yes\n', "is not CSV", id="an open quote"),
        pytest.param("file,class\none.png,\n", "nothing is said of one.png", id="nothing said of one"),
        pytest.param("file,good\n", "lists no picture", id="no row"),
        pytest.param(
            "file,good,part,camera\none.png,yes,p,top\ntwo.png,yes,p,top\n", "two pictures of camera top", id="camera"
        ),
    ],
)
def test_bad_tables_are_told(images: Path, tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_truth(path, images)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,part\none.png,A\n", "two.png of .* is missing here"),
        ("file,part\none.png,A\ntwo.png,A\nthree.png,A\n", "three.png is no picture of"),
        ("file,part\none.png,A\none.png,B\ntwo.png,A\n", "line 3: one.png is listed twice"),
        ("file,part\none.png,\ntwo.png,A\n", "line 2: file or part is empty"),
        ("file,part,camera\none.png,A,top\ntwo.png,A,top\n", "two pictures of camera top"),
        ("file,group\none.png,A\n", "column part is missing"),
    ],
)
def test_bad_lists_of_parts_are_told(images: Path, tmp_path: Path, text: str, words: str) -> None:
    path, parts = tmp_path / "labels.csv", tmp_path / "parts.csv"
    path.write_text("file,good\none.png,yes\ntwo.png,no\n")
    parts.write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_truth(path, images, parts=parts)


def test_class_folders_without_pictures_and_pictures_without_folder_are_told(tmp_path: Path) -> None:
    save(tmp_path / "set" / "good" / "a.png")
    save(tmp_path / "set" / "b.png")
    (tmp_path / "set" / "scratch").mkdir()
    with pytest.raises(ConfigError, match=r"b\.png lies beside(.|\n)*folder scratch holds no picture"):
        read_truth(tmp_path / "set")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(lambda folder: folder / "nowhere", "is not there", id="nowhere"),
        pytest.param(lambda folder: folder, "holds no VOC .* no picture", id="an empty folder"),
        pytest.param(lambda folder: save(folder / "a.png"), "is neither .json .* nor .csv", id="a picture"),
        pytest.param(
            lambda folder: save(folder / "data.yaml.png").rename(folder / "data.yaml"), "as their folder", id="y"
        ),
    ],
)
def test_what_is_no_truth_is_told(tmp_path: Path, make, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_truth(make(tmp_path))


def test_a_folder_of_both_kinds_wants_to_be_told_which(images: Path, tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    folder.mkdir()
    (folder / "one.xml").write_text(voc())
    (folder / "classes.txt").write_text("dent")
    with pytest.raises(ConfigError, match=r"both VOC .* and YOLO"):
        read_truth(folder, images)
    assert read_truth(folder, images, format="voc").format == "voc"


def test_all_problems_are_told_at_once_but_not_thousands(images: Path, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("file,good\n" + "".join(f"one.png,wrong{i}\n" for i in range(50)))
    with pytest.raises(ConfigError) as told:
        read_truth(path, images)
    assert len(str(told.value).splitlines()) == 22
    assert str(told.value).endswith("and 30 more")


MEASURED = Criteria(("gap",), limits=(Limits(1.0, 2.0),))
CLASSED = Criteria(("fine", "dent"), good=frozenset([0]))


@pytest.mark.parametrize(
    ("picture", "criteria", "bad"),
    [
        pytest.param({"things": ()}, CLASSED, False, id="nothing there"),
        pytest.param({"things": (Thing("dent", (0, 0, 1, 1)),)}, CLASSED, True, id="a defect"),
        pytest.param({"things": (Thing("fine", (0, 0, 1, 1)),)}, CLASSED, False, id="a good class"),
        pytest.param({"classes": ("fine",)}, CLASSED, False, id="wholly good"),
        pytest.param({"classes": ("dent",)}, CLASSED, True, id="wholly bad"),
        pytest.param({"classes": ("OK",)}, CLASSED, False, id="a word for good"),
        pytest.param({"classes": ("good",)}, Criteria(("good",)), True, id="a defect with the name of good"),
        pytest.param({"classes": ("dent",), "good": True}, CLASSED, False, id="somebody says that it is good"),
        pytest.param({"classes": ("fine",), "good": False}, CLASSED, True, id="somebody says that it is bad"),
        pytest.param({"values": {"gap": 2.0}}, MEASURED, False, id="on the limit"),
        pytest.param({"values": {"gap": 2.01}}, MEASURED, True, id="above"),
        pytest.param({"values": {"gap": 0.99}}, MEASURED, True, id="below"),
    ],
)
def test_what_makes_a_picture_bad(picture: dict, criteria: Criteria, bad: bool) -> None:
    assert is_bad(LabelledPicture(Path("x.png"), "x.png", "x.png", **picture), criteria) is bad


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["images", "annotations", "categories", "id", "file_name", "bbox", "image_id", "category_id", "name"]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=25,
)
CELLS = st.lists(
    st.lists(st.sampled_from(["file", "class", "good", "x", "value.a", "one.png", "yes", "1", '"', ""]), max_size=4),
    max_size=5,
).map(lambda rows: "\n".join(",".join(row) for row in rows))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=JSON, table=CELLS | st.text(max_size=60), line=st.text(alphabet="0123456789 .-e\nnaif", max_size=40))
def test_whatever_stands_in_a_file_a_reader_reads_it_or_tells_what_is_wrong(
    images: Path, tmp_path: Path, document: object, table: str, line: str
) -> None:
    labels = tmp_path / "labels"
    labels.mkdir(exist_ok=True)
    (tmp_path / "labels.json").write_text(json.dumps(document))
    (tmp_path / "labels.csv").write_text(table, errors="surrogatepass")
    (labels / "one.txt").write_text(line)
    (labels / "classes.txt").write_text("dent\nscratch\n")
    for source in (tmp_path / "labels.json", tmp_path / "labels.csv", labels):
        with contextlib.suppress(ConfigError):
            assert read_truth(source, images).pictures
