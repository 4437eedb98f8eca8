"""The broker configuration that we ship, in a real Mosquitto."""

from __future__ import annotations

from pathlib import Path

from mqtt_rig import BASE, WAIT_S, Mosquitto, a_result, needs_mosquitto, publisher_to

from edge_inspector.demo.subscriber import Subscriber

pytestmark = needs_mosquitto
SHIPPED = Path(__file__).parents[2] / "deploy" / "dashboards" / "mosquitto" / "mosquitto.conf"


class Shipped(Mosquitto):
    """As shipped, but for port, folder and the user that Mosquitto changes to."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        text = SHIPPED.read_text(encoding="utf-8")
        for shipped, here in (
            ("listener 1883 127.0.0.1", f"listener {self.port} 127.0.0.1\nuser root"),
            ("persistence_location /mosquitto/data/", f"persistence_location {folder}/"),
        ):
            assert shipped in text
            text = text.replace(shipped, here)
        self._config.write_text(text)


def test_with_the_shipped_settings_a_subscriber_that_was_away_gets_all_of_it(tmp_path: Path) -> None:
    """3000 results for one that is away, and a restart of the broker: Mosquitto's default keeps 1000."""
    broker = Shipped(tmp_path)
    broker.start()
    try:
        with Subscriber(broker.port, f"{BASE}/result", client_id="quality-db"):
            pass  # a session, and nobody there
        with publisher_to(broker.port) as publisher:
            messages = [publisher.render(a_result(n))[0] for n in range(1, 3001)]
            assert publisher.publish(messages) == 3000
        broker.stop()
        broker.start()
        with Subscriber(broker.port, f"{BASE}/result", client_id="quality-db") as witness:
            assert witness.wait(lambda: len(witness.results) == 3000, 3 * WAIT_S)
            assert witness.order == [f"line1.0a1b2c3d.{n}" for n in range(1, 3001)]
    finally:
        broker.stop()
