"""The real program with a table `sparkplug`: what its host gets is what its ledger has."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from mqtt_rig import mosquitto, needs_mosquitto
from real_station import RealStation
from sparkplug_rig import Host

from edge_inspector.store.book_file import connect_read_only
from edge_inspector.store.reading import read_results

pytestmark = [needs_mosquitto, pytest.mark.system]
SCADA = """\
[publishers.scada]
type = "sparkplug"
host = "127.0.0.1"
port = {port}
group = "plant"
edge_node = "ipc7"
primary_host = "ignition"
"""


@pytest.mark.parametrize("starts", [1, pytest.param(5, marks=pytest.mark.heavy)])
def test_a_host_gets_every_result_of_the_ledger_in_order_over_restarts(tmp_path: Path, starts: int) -> None:
    folder = tmp_path / "station"
    folder.mkdir()
    with mosquitto(tmp_path) as broker, Host(broker.port) as host:
        host.state(True, 1)
        station = RealStation(folder, SCADA.format(port=broker.port))
        text = station.file.read_text()
        station.file.write_text(text.replace('trigger = "plc"', 'trigger = "timer"\nperiod_s = 0.05'))
        for start in range(starts):
            wanted = len(set(host.result_ids)) + 10
            station.start()
            try:
                station.wait("the host has results", lambda wanted=wanted: len(set(host.result_ids)) >= wanted)  # type: ignore[misc]
                if start == starts - 1:
                    assert station.stop() == 0
            finally:
                station.kill()
        host.wait(lambda: len(host.bodies("NDEATH")) >= starts)
        with contextlib.closing(connect_read_only(folder / "state" / "ledger.sqlite")) as book:
            booked = [result.result_id for result in read_results(book, after_seq=0, limit=10_000)]
            outbox = book.execute("SELECT count(*) FROM outbox WHERE schema = 'vision.result/1'").fetchone()[0]
        got = list(dict.fromkeys(host.result_ids))
        assert got == booked[: len(got)]
        assert len(booked) - len(got) == outbox  # of a part that was settled when its publisher had ended
        births = host.bodies("NBIRTH")
        assert [body["bdSeq"] for body in births] == [0] * starts
        assert len({body["Properties/BootId"] for body in births}) == starts
        assert {packet.topic for packet in host.got if packet.verb == "DDATA"} == {"spBv1.0/plant/DDATA/ipc7/bench"}
        names = [{metric.name: metric.value for metric in body.metrics} for body in host.bodies("DDATA")]
        assert {"OK", "NOT_OK"} <= {told.get("Result/Evaluation") for told in names}
