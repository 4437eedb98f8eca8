// node plc_server.mjs OPTIONS: a PLC that is itself an OPC UA server, its variables and the program behind them.
//
// OPTIONS is JSON: {port, parts, security, pki, maxNodes, tags: [[name, type, length, writer], ...]}, the tags as in
// edge_inspector/plc/tags.py. Lines: up, linked, trigger, accepted, result, done. It runs until its input ends.
import { opcua, say } from "./node_opcua.mjs";

const {
  DataType, MessageSecurityMode, OPCUACertificateManager, OPCUAServer, SecurityPolicy, StatusCodes, Variant, VariantArrayType,
} = opcua;
const options = JSON.parse(process.argv[2]);
const policies = { Basic256Sha256: "Basic256Sha256", Aes128Sha256RsaOaep: "Aes128_Sha256_RsaOaep", Aes256Sha256RsaPss: "Aes256_Sha256_RsaPss" };
const zero = { String: "", DateTime: new Date(0), Boolean: false };
const memory = new Map();

const secured = options.security in policies;
const limits = options.maxNodes ? { maxNodesPerRead: options.maxNodes, maxNodesPerWrite: options.maxNodes } : {};
const server = new OPCUAServer({
  port: options.port,
  hostname: "127.0.0.1",
  securityPolicies: [secured ? SecurityPolicy[policies[options.security]] : SecurityPolicy.None],
  securityModes: [secured ? MessageSecurityMode.SignAndEncrypt : MessageSecurityMode.None],
  serverCertificateManager: new OPCUACertificateManager({ rootFolder: options.pki, automaticallyAcceptUnknownCertificate: true }),
  userManager: { isValidUser: (name, password) => name === "vision" && password === "geheim" },
  allowAnonymous: !secured,
  maxSessions: options.maxSessions ?? 5,
  maxConnectionsPerEndpoint: 10,
  serverCapabilities: { operationLimits: limits },
});
await server.initialize();

const namespace = server.engine.addressSpace.registerNamespace("http://www.siemens.com/simatic-s7-opcua");
const block = namespace.addObject({ organizedBy: server.engine.addressSpace.rootFolder.objects, browseName: "DB_Vision" });
const groups = new Map();
for (const [name, type, length, writer] of options.tags) {
  const [group, leaf] = name.split(".");
  if (!groups.has(group)) groups.set(group, namespace.addObject({ componentOf: block, browseName: group }));
  const single = zero[type] ?? 0;
  const typed = { UInt32: Uint32Array, UInt16: Uint16Array, Float: Float32Array }[type];
  const first = length ? typed.from({ length }, () => 0) : single;
  const variant = () => new Variant({
    dataType: DataType[type],
    arrayType: length ? VariantArrayType.Array : VariantArrayType.Scalar,
    value: memory.get(name),
  });
  memory.set(name, first);
  namespace.addVariable({
    componentOf: groups.get(group),
    browseName: leaf,
    nodeId: `s="DB_Vision"."${group}"."${leaf}"`,
    dataType: DataType[type],
    valueRank: length ? 1 : -1,
    arrayDimensions: length ? [length] : undefined,
    accessLevel: writer === "plc" ? "CurrentRead" : "CurrentRead | CurrentWrite",
    userAccessLevel: writer === "plc" ? "CurrentRead" : "CurrentRead | CurrentWrite",
    minimumSamplingInterval: 10,
    value: {
      get: variant,
      set: (written) => {
        memory.set(name, written.value);
        return StatusCodes.Good;
      },
    },
  });
}
await server.start();
say({ event: "up" });

// The PLC's program: one scan each 10 ms over what the station has written.
const plcBootId = 4711;
let seq = 100, echo = 0, acked = 0, waiting = 0, done = 0, beat = 0, linked = false, accepted = false;
const scan = setInterval(() => {
  const put = (name, value) => memory.set(`Control.${name}`, value);
  put("Heartbeat", (beat = (beat + 1) >>> 0));
  put("PlcBootId", plcBootId);
  const bootId = memory.get("Status.BootId");
  if (bootId !== echo) { echo = bootId; put("BootIdEcho", 0); linked = false; return; }
  put("TriggerSeq", seq);
  put("BootIdEcho", echo);
  if (!linked && memory.get("Status.PlcLinkOk")) { linked = true; say({ event: "linked", bootId }); }
  if (waiting && !accepted && memory.get("Status.TriggerAckSeq") === waiting) { accepted = true; say({ event: "accepted", seq: waiting }); }
  if (memory.get("Status.ResultsValid")) {
    const result = Object.fromEntries(["TriggerSeq", "Evaluation", "Mode", "BootId", "PlcBootId", "RecipeNo", "PartId"].map((leaf) => [leaf, memory.get(`Result.${leaf}`)]));
    if (result.TriggerSeq !== acked && result.BootId === echo && result.PlcBootId === plcBootId) {
      acked = result.TriggerSeq;
      put("ResultAckSeq", acked);
      say({ event: "result", result });
      if (acked === waiting) { waiting = 0; done += 1; if (done === options.parts) say({ event: "done" }); }
    }
  }
  if (linked && !waiting && done < options.parts && memory.get("Status.TriggerReady")) {
    seq = (seq + 1) >>> 0;
    put("PartId", `board-${seq}`);
    put("TriggerSeq", seq);
    waiting = seq;
    accepted = false;
    say({ event: "trigger", seq });
  }
}, 10);

process.stdin.resume();
process.stdin.on("end", async () => {
  clearInterval(scan);
  await server.shutdown(10);
  process.exit(0);
});
