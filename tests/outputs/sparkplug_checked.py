"""Which assertion of the Sparkplug 3.0 specification is checked by which check."""

from __future__ import annotations

from collections.abc import Sequence

from sparkplug_checks import (
    Check,
    bd_seq,
    birth_values,
    births_first,
    changes_only,
    chronological,
    clean_start,
    connected_first,
    device_death,
    every_metric,
    farewell,
    leaves_without_host,
    metric_fields,
    node_death,
    qos_0_not_retained,
    rebirth,
    rebirth_metric,
    sequence,
    subscriptions,
    timestamps,
    topics,
    waits_for_host,
    will,
)

CHECKED: Sequence[tuple[Check, str]] = (
    (topics, """
        intro-device-id-chars intro-device-id-string intro-edge-node-id-chars intro-edge-node-id-string
        intro-group-id-chars intro-group-id-string topic-structure topic-structure-namespace-a
        topic-structure-namespace-device-id-associated-message-types
        topic-structure-namespace-device-id-non-associated-message-types topic-structure-namespace-valid-device-id
        topic-structure-namespace-valid-edge-node-id topic-structure-namespace-valid-group-id topics-dbirth-topic
        topics-ddata-topic topics-ddeath-topic topics-nbirth-topic topics-ndeath-topic
        message-flow-device-birth-publish-dbirth-match-edge-node-topic
        message-flow-device-birth-publish-dbirth-topic message-flow-edge-node-birth-publish-nbirth-topic"""),
    (qos_0_not_retained("NBIRTH"), """
        topics-nbirth-mqtt payloads-nbirth-qos payloads-nbirth-retain message-flow-edge-node-birth-publish-nbirth-qos
        message-flow-edge-node-birth-publish-nbirth-retained"""),
    (qos_0_not_retained("DBIRTH"), """
        topics-dbirth-mqtt payloads-dbirth-qos payloads-dbirth-retain message-flow-device-birth-publish-dbirth-qos
        message-flow-device-birth-publish-dbirth-retained"""),
    (qos_0_not_retained("DDATA"), "topics-ddata-mqtt payloads-ddata-qos payloads-ddata-retain"),
    (qos_0_not_retained("DDEATH"), "topics-ddeath-mqtt"),
    (timestamps("NBIRTH"), "topics-nbirth-timestamp payloads-nbirth-timestamp payloads-timestamp-in-UTC"),
    (timestamps("DBIRTH"), "topics-dbirth-timestamp payloads-dbirth-timestamp"),
    (timestamps("DDATA"), "topics-ddata-timestamp payloads-ddata-timestamp"),
    (timestamps("DDEATH"), "payloads-ddeath-timestamp"),
    (sequence, """
        payloads-sequence-num-always-included payloads-sequence-num-incrementing payloads-sequence-num-req-nbirth
        topics-nbirth-seq-num topics-dbirth-seq topics-ddata-seq-num topics-ddeath-seq-num topics-ndeath-seq
        payloads-nbirth-seq payloads-dbirth-seq payloads-dbirth-seq-inc payloads-ddata-seq payloads-ddata-seq-inc
        payloads-ddeath-seq payloads-ddeath-seq-inc payloads-ddeath-seq-number payloads-ndeath-seq
        message-flow-device-birth-publish-dbirth-payload-seq
        message-flow-edge-node-birth-publish-nbirth-payload-seq"""),
    (births_first, """
        principles-birth-certificates-order payloads-dbirth-order payloads-ddata-order
        message-flow-device-birth-publish-nbirth-wait"""),
    (connected_first, "message-flow-edge-node-birth-publish-connect"),
    (clean_start, "principles-persistence-clean-session-311 principles-persistence-clean-session-50"),
    (will, """
        message-flow-edge-node-birth-publish-will-message message-flow-edge-node-birth-publish-will-message-payload
        message-flow-edge-node-birth-publish-will-message-qos message-flow-edge-node-birth-publish-will-message-topic
        message-flow-edge-node-birth-publish-will-message-will-retained payloads-ndeath-will-message
        payloads-ndeath-will-message-qos payloads-ndeath-will-message-retain"""),
    (bd_seq, """
        topics-nbirth-bdseq-included topics-nbirth-bdseq-increment topics-nbirth-bdseq-matching payloads-nbirth-bdseq
        payloads-nbirth-bdseq-repeat payloads-ndeath-bdseq
        message-flow-edge-node-birth-publish-nbirth-payload-bdSeq
        message-flow-edge-node-birth-publish-will-message-payload-bdSeq"""),
    (node_death, "topics-ndeath-payload"),
    (farewell, """
        operational-behavior-edge-node-intentional-disconnect-ndeath
        operational-behavior-edge-node-intentional-disconnect-packet payloads-ndeath-will-message-publisher
        payloads-ndeath-will-message-publisher-disconnect-mqtt311
        payloads-ndeath-will-message-publisher-disconnect-mqtt50"""),
    (rebirth_metric, """
        topics-nbirth-rebirth-metric payloads-nbirth-rebirth-req operational-behavior-data-commands-rebirth-datatype
        operational-behavior-data-commands-rebirth-name operational-behavior-data-commands-rebirth-name-aliases
        operational-behavior-data-commands-rebirth-value"""),
    (every_metric, """
        topics-nbirth-metric-reqs topics-dbirth-metric-reqs operational-behavior-data-publish-nbirth
        operational-behavior-data-publish-dbirth case-sensitivity-metric-names"""),
    (birth_values, """
        topics-nbirth-metrics topics-dbirth-metrics operational-behavior-data-publish-nbirth-values
        operational-behavior-data-publish-dbirth-values payloads-metric-datatype-req"""),
    (metric_fields, """
        payloads-name-requirement payloads-name-birth-data-requirement payloads-metric-timestamp-in-UTC
        payloads-metric-datatype-value payloads-metric-datatype-value-type
        message-flow-device-birth-publish-dbirth-payload message-flow-edge-node-birth-publish-nbirth-payload"""),
    (chronological, "operational-behavior-data-publish-dbirth-order operational-behavior-data-publish-nbirth-order"),
    (changes_only, "principles-rbe-recommended operational-behavior-data-publish-dbirth-change topics-ddata-payload"),
    (subscriptions, """
        message-flow-edge-node-ncmd-subscribe
        operational-behavior-primary-application-state-with-multiple-servers-state-subs"""),
    (rebirth, """
        operational-behavior-data-commands-rebirth-action-1 operational-behavior-data-commands-rebirth-action-2
        operational-behavior-data-commands-rebirth-action-3"""),
    (device_death, "operational-behavior-device-ddeath"),
    (waits_for_host, """
        message-flow-edge-node-birth-publish-phid-wait message-flow-edge-node-birth-publish-phid-wait-id
        message-flow-edge-node-birth-publish-phid-wait-online
        message-flow-edge-node-birth-publish-phid-wait-timestamp operational-behavior-edge-node-birth-sequence-wait"""),
    (leaves_without_host, """
        message-flow-edge-node-birth-publish-phid-offline operational-behavior-edge-node-termination-host-offline
        operational-behavior-edge-node-termination-host-offline-timestamp"""),
)  # fmt: skip
"""Each with the ids of what it checks, without their `tck-id-`."""
