// node say_much.mjs ENDPOINT: one honest session with every service that a client of ours might use, to be recorded.
import { opcua, read, sleep, variant, withSession, write } from "../interop/node_opcua.mjs";

const { AttributeIds, BrowseDirection, ClientMonitoredItem, ClientSubscription, TimestampsToReturn, makeBrowsePath } = opcua;
const ignoring = async (work) => {
  try {
    return await work();
  } catch {
    return undefined; // a service that the server does not offer is worth recording all the same
  }
};

await withSession(process.argv[2], async (session, id) => {
  await read(session, id, ["Status.Word", "Status.Block", "Result.Ring", "Result.TimeUtc", "Status.ErrorText"]);
  await write(session, id, { "Control.Heartbeat": ["UInt32", 1], "Control.PartId": ["String", "part"] });
  await write(session, id, { "Control.Block": ["UInt32", new Uint32Array([2, 77, 0, 1, 7, 1, 1, 0])] });
  await session.browse("ns=0;i=85");
  await session.browse({ nodeId: id("Status"), browseDirection: BrowseDirection.Both, includeSubtypes: true, resultMask: 63 });
  await session.translateBrowsePath(makeBrowsePath("RootFolder", "/Objects/2:Station/2:Status/2:Word"));
  await ignoring(() => session.registerNodes([id("Status.Word"), id("Control.TriggerSeq")]));
  await ignoring(() => session.unregisterNodes([id("Status.Word")]));
  await ignoring(() => session.readHistoryValue(id("Status.Word"), new Date(Date.now() - 1000), new Date()));
  await ignoring(() =>
    session.call({ objectId: "i=2253", methodId: "i=11492", inputArguments: [variant("UInt32", 1)] }));
  const subscription = ClientSubscription.create(session, {
    requestedPublishingInterval: 50,
    requestedLifetimeCount: 100,
    requestedMaxKeepAliveCount: 10,
    maxNotificationsPerPublish: 10,
    publishingEnabled: true,
    priority: 1,
  });
  const wanted = { samplingInterval: 50, queueSize: 5, discardOldest: true };
  const watched = { nodeId: id("Status.Heartbeat"), attributeId: AttributeIds.Value };
  const item = ClientMonitoredItem.create(subscription, watched, wanted, TimestampsToReturn.Both);
  await sleep(400);
  await ignoring(() => item.modify({ samplingInterval: 100, queueSize: 2, discardOldest: false }));
  await ignoring(() => item.setMonitoringMode(opcua.MonitoringMode.Sampling));
  await ignoring(() => session.setPublishingMode(false, subscription.subscriptionId));
  await ignoring(() => session.republish({ subscriptionId: subscription.subscriptionId, retransmitSequenceNumber: 1 }));
  await ignoring(() => session.transferSubscriptions({ subscriptionIds: [subscription.subscriptionId], sendInitialValues: true }));
  await ignoring(() => item.terminate());
  await subscription.terminate();
});
