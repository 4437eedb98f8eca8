"""Which Basler cameras are seen, which one is meant, and why one does not open."""

from __future__ import annotations

import pytest

from edge_inspector.cameras.basler import CameraInfo, seen
from edge_inspector.cameras.basler.discovery import not_opened

pytest.importorskip("pypylon.pylon", reason="pypylon is not installed")

GIGE = CameraInfo("acA1300-60gm", "21504321", "left", "10.0.0.5", "BaslerGigE", "10.0.0.1", "255.255.255.0")


@pytest.mark.parametrize(("ownership", "accessible"), [(False, None), (True, True)])
def test_emulated_cameras_are_seen_and_asked_for_control_only_when_wanted(
    ownership: bool, accessible: bool | None
) -> None:
    emulated = [info for info in seen(ownership=ownership) if info.vendor_class == "BaslerCamEmu"]
    assert emulated[:2] == [
        CameraInfo("Emulation", serial, "", "", "BaslerCamEmu", "", "", accessible)
        for serial in ("0815-0000", "0815-0001")
    ]


@pytest.mark.parametrize(
    ("accessible", "said"),
    [
        (
            False,
            r"is held by another program, or by one that crashed: .*GevHeartbeatTimeout, 3 s .*tries again \(0xE10",
        ),
        (True, r"cannot be opened; the station tries again \(0xE10"),
        (None, r"cannot be opened; the station tries again \(0xE10"),
    ],
)
def test_a_camera_that_does_not_open_is_named_with_the_reason(accessible: bool | None, said: str) -> None:
    camera = CameraInfo(**{**vars(GIGE), "accessible": accessible})
    with pytest.raises(type(not_opened("top", camera, "")), match=said):
        raise not_opened("top", camera, "0xE1018006")
    assert str(not_opened("top", camera, "")).startswith("camera top: acA1300-60gm 'left' serial 21504321 (10.0.0.5) ")
