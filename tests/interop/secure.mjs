// node secure.mjs ENDPOINT POLICY MODE CERTIFICATE KEY USER PASSWORD: one attempt; how far it came, and why no further.
import { makeClient, opcua, read, say, sleep, tagIds, write } from "./node_opcua.mjs";

const [endpoint, policy, mode, certificateFile, privateKeyFile, userName, password] = process.argv.slice(2);
const { AttributeIds, ClientMonitoredItem, ClientSubscription, MessageSecurityMode, SecurityPolicy } = opcua;
const { OPCUACertificateManager, TimestampsToReturn, UserTokenType } = opcua;

const manager = new OPCUACertificateManager({ automaticallyAcceptUnknownCertificate: true, rootFolder: "pki_of_the_plc" });
await manager.initialize();
const client = makeClient({
  securityMode: MessageSecurityMode[mode],
  securityPolicy: SecurityPolicy[policy],
  connectionStrategy: { maxRetry: 0, initialDelay: 100, maxDelay: 100 },
  clientCertificateManager: manager,
  applicationUri: "urn:interop:plc",
  ...(certificateFile === "-" ? {} : { certificateFile, privateKeyFile }),
});
const identity = userName === "-" ? undefined : { type: UserTokenType.UserName, userName, password };
let step = "connect";
try {
  await client.connect(endpoint);
  step = "session";
  const session = await client.createSession(identity);
  step = "tags";
  const id = await tagIds(session);
  const before = await read(session, id, ["Status.Heartbeat", "Status.BootId"]);
  say({ policy: client.securityPolicy.split("#")[1], mode: MessageSecurityMode[client.securityMode], bootId: before["Status.BootId"] });
  say({ wrote: await write(session, id, { "Control.ResultAckSeq": ["UInt32", 4], "Status.Word": ["UInt16", 4] }) });
  const level = await session.read({ nodeId: id("Control.ResultAckSeq"), attributeId: AttributeIds.UserAccessLevel });
  say({ userAccess: level.value.value });
  const subscription = ClientSubscription.create(session, {
    requestedPublishingInterval: 50,
    requestedLifetimeCount: 100,
    requestedMaxKeepAliveCount: 10,
    maxNotificationsPerPublish: 10,
    publishingEnabled: true,
    priority: 1,
  });
  let beats = 0;
  const item = ClientMonitoredItem.create(
    subscription,
    { nodeId: id("Status.Heartbeat"), attributeId: AttributeIds.Value },
    { samplingInterval: 50, queueSize: 5, discardOldest: true },
    TimestampsToReturn.Both,
  );
  item.on("changed", () => beats++);
  for (let i = 0; i < 200 && beats < 5; i++) await sleep(50);
  say({ beats });
  await subscription.terminate();
  await session.close();
  step = "done";
} catch (error) {
  const response = error.response?.responseHeader?.serviceResult?.name;
  say({ refused: step, code: response ?? /Bad[A-Za-z]+/.exec(error.message)?.[0] ?? error.message });
}
if (step === "connect" || step === "session") {
  const open = makeClient({ connectionStrategy: { maxRetry: 0, initialDelay: 100, maxDelay: 100 } });
  try {
    await open.connect(endpoint);
    const offered = await open.getEndpoints();
    say({ offered: offered.map((one) => [one.securityPolicyUri.split("#")[1], MessageSecurityMode[one.securityMode]]) });
  } finally {
    await open.disconnect();
  }
}
await client.disconnect();
process.exit(0);
