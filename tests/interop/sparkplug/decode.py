"""Reads lines of hex from stdin and prints what pysparkplug makes of each; "rebirth" as a line asks for a command."""

import json
import sys

from pysparkplug import DataType, Metric, NCmd
from pysparkplug._protobuf import Payload


def say(what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")


for line in sys.stdin.read().split():
    if line == "rebirth":
        metric = Metric(timestamp=1, name="Node Control/Rebirth", datatype=DataType.BOOLEAN, value=True)
        say(NCmd(timestamp=1, metrics=(metric,)).encode(include_dtypes=True).hex())
        continue
    payload = Payload.FromString(bytes.fromhex(line))
    told = []
    for raw in payload.metrics:
        metric = Metric.from_pb(raw)
        told.append([metric.name, metric.datatype.name, metric.value, str(metric.timestamp), metric.is_historical])
    seq = str(payload.seq) if payload.HasField("seq") else None
    say({"timestamp": str(payload.timestamp), "seq": seq, "metrics": told})
