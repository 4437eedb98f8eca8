// node follow.mjs ENDPOINT NAME...: one subscription, one line a change, through every restart of the server, until killed.
import { makeClient, opcua, say, tagIds } from "./node_opcua.mjs";

const [endpoint, ...names] = process.argv.slice(2);
const { AttributeIds, ClientMonitoredItem, ClientSubscription, TimestampsToReturn } = opcua;
const client = makeClient();
await client.connect(endpoint);
const session = await client.createSession();
session.on("session_restored", () => say({ event: "session restored" }));
const id = await tagIds(session);
const subscription = ClientSubscription.create(session, {
  requestedPublishingInterval: 50,
  requestedLifetimeCount: 600,
  requestedMaxKeepAliveCount: 20,
  maxNotificationsPerPublish: 0,
  publishingEnabled: true,
  priority: 1,
});
for (const name of names) {
  const item = ClientMonitoredItem.create(
    subscription,
    { nodeId: id(name), attributeId: AttributeIds.Value },
    { samplingInterval: 50, queueSize: 10, discardOldest: true },
    TimestampsToReturn.Both,
  );
  item.on("changed", (data) => say({ name, status: data.statusCode.name, value: data.value.value }));
  item.on("err", (message) => say({ name, error: String(message) }));
}
say({ event: "following" });
