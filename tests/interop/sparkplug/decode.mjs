// Reads lines of hex from stdin and prints what npm's sparkplug-payload makes of each; "rebirth" as a line asks for a command.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const { get } = createRequire(process.argv[2] + "/")("sparkplug-payload");
const sparkplug = get("spBv1.0");
const plain = (value) => (value !== null && typeof value === "object" ? value.toString() : value);

for await (const line of createInterface({ input: process.stdin })) {
  if (line === "rebirth") {
    const metrics = [{ name: "Node Control/Rebirth", type: "Boolean", value: true, timestamp: 1 }];
    console.log(JSON.stringify(Buffer.from(sparkplug.encodePayload({ timestamp: 1, metrics })).toString("hex")));
    continue;
  }
  const { timestamp, seq, metrics } = sparkplug.decodePayload(Buffer.from(line, "hex"));
  const told = metrics.map((m) => [m.name, m.type ?? null, plain(m.value), plain(m.timestamp), m.isHistorical ?? false]);
  console.log(JSON.stringify({ timestamp: plain(timestamp), seq: seq === undefined ? null : plain(seq), metrics: told }));
}
