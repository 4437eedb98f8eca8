"""Why the other assertions of the Sparkplug 3.0 specification say nothing of this edge node."""

from __future__ import annotations

from collections.abc import Sequence

NOT_OURS: Sequence[tuple[str, str]] = (
    ("what a host application does", """
        components-ph-state intro-sparkplug-host-state conformance-primary-host host-topic-* message-flow-phid-*
        message-flow-hid-* payloads-state-* operational-behavior-host-*
        operational-behavior-edge-node-termination-host-action-*
        operational-behavior-primary-application-state-with-multiple-servers-state"""),
    ("a host sends the command, and answers for its form", """
        payloads-[nd]cmd-* topics-[nd]cmd-* operational-behavior-data-commands-[nd]cmd-*
        payloads-name-cmd-requirement"""),
    ("what an MQTT server does", "conformance-mqtt-*"),
    ("the edge node has no metrics of its own that change, and sends no NDATA", """
        payloads-ndata-* topics-ndata-* operational-behavior-data-publish-nbirth-change"""),
    ("no templates", "payloads-template-* topics-nbirth-templates"),
    ("no data sets", "payloads-dataset-*"),
    ("no properties of metrics", "payloads-propertyset-* payloads-metric-propertyvalue-*"),
    ("no aliases", "payloads-alias-*"),
    ("the device has no outputs that a host could write", "message-flow-device-dcmd-subscribe"),
    ("one broker: its edge node waits there until the host comes back", """
        operational-behavior-primary-application-state-with-multiple-servers-single-server
        operational-behavior-primary-application-state-with-multiple-servers-walk
        operational-behavior-edge-node-termination-host-offline-reconnect"""),
    ("whoever writes the station files chooses ids that are unique; the default is the station's name", """
        intro-edge-node-id-uniqueness case-sensitivity-sparkplug-ids payloads-nbirth-edge-node-descriptor
        topic-structure-namespace-unique-edge-node-descriptor topic-structure-namespace-unique-device-id
        topic-structure-namespace-duplicate-device-id-across-edge-node"""),
    ("not followed, it is a SHOULD NOT: without its datatype npm's sparkplug-payload reads each value of a DDATA as"
     " null, see tests/interop", "payloads-metric-datatype-not-req"),
)  # fmt: skip
"""A reason, and patterns of ids without their `tck-id-`."""
