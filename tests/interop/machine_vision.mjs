// node machine_vision.mjs ENDPOINT PARTS RECIPE: drives the VisionSystem of OPC 40100-1, and tells what node-opcua decodes.
import { opcua, say, sleep, withSession } from "./node_opcua.mjs";

const [endpoint, parts, recipe] = [process.argv[2], Number(process.argv[3]), process.argv[4]];
const PUBLISHED = "http://opcfoundation.org/UA/MachineVision";
const MACHINE = "VisionStateMachine";
const AUTOMATIC = `${MACHINE}.AutomaticModeStateMachine`;
const EVENTS = { 1013: "JobStarted", 1018: "StateChanged", 1019: "Error", 1020: "ErrorResolved", 1022: "RecipePrepared",
  1023: "Ready", 1024: "ResultReady", 1025: "AcquisitionDone" };
const { DataType, Variant, VariantArrayType, AttributeIds, TimestampsToReturn, resolveNodeId } = opcua;

/** A decoded value as plain JSON: structures by their fields, node ids and texts as strings. */
function plain(value) {
  if (value === null || value === undefined) return null;
  if (value instanceof opcua.NodeId) return value.toString();
  if (value instanceof opcua.LocalizedText) return value.text;
  if (value instanceof opcua.QualifiedName) return value.name;
  if (value instanceof Variant) return plain(value.value);
  if (value instanceof Date) return value.toISOString();
  if (ArrayBuffer.isView(value)) return Array.from(value);
  if (Array.isArray(value)) return value.map(plain);
  if (value instanceof opcua.ExtensionObject) {
    const names = Object.keys(value).filter((key) => key !== "schema" && !key.startsWith("_"));
    return { type: value.schema.name, ...Object.fromEntries(names.map((name) => [name, plain(value[name])])) };
  }
  return value;
}

await withSession(endpoint, async (session) => {
  const namespaces = await session.readNamespaceArray();
  const [own, published] = [namespaces.indexOf("urn:edge-inspector:station"), namespaces.indexOf(PUBLISHED)];
  const id = (path) => `ns=${own};s=VisionSystem${path ? "." + path : ""}`;
  const read = async (path) => {
    const answer = await session.read({ nodeId: id(path), attributeId: AttributeIds.Value });
    return answer.statusCode.isGood() ? plain(answer.value) : answer.statusCode.name;
  };
  const where = async () => ({
    vision: await read(`${MACHINE}.CurrentState.Number`),
    visionId: await read(`${MACHINE}.CurrentState.Id`),
    automatic: await read(`${AUTOMATIC}.CurrentState.Number`),
    automaticId: await read(`${AUTOMATIC}.CurrentState.Id`),
    visionTransition: await read(`${MACHINE}.LastTransition.Number`),
    transition: await read(`${AUTOMATIC}.LastTransition.Number`),
    system: await read("SystemState"),
  });
  const structure = async (number, text) => new Variant({
    dataType: DataType.ExtensionObject,
    value: await session.constructExtensionObject(resolveNodeId(`ns=${published};i=${number}`), { id: text }),
  });
  const int32 = (value) => new Variant({ dataType: DataType.Int32, value });
  const uint32 = (value) => new Variant({ dataType: DataType.UInt32, value });
  const text = (value) => new Variant({ dataType: DataType.String, value });
  const nothing = new Variant({ dataType: DataType.Variant, arrayType: VariantArrayType.Array, value: [] });
  const cause = [int32(1), text("node-opcua")];
  const call = async (path, inputs) => {
    const answer = await session.call({ objectId: id(path.slice(0, path.lastIndexOf("."))), methodId: id(path), inputArguments: inputs });
    const outputs = (answer.outputArguments ?? []).map(plain);
    say({ call: path.split(".").pop(), status: answer.statusCode.name, outputs });
    return outputs;
  };
  const start = async (part) => [await structure(3015, `M-${part}`), await structure(3004, part), await structure(3002, recipe), await structure(3003, "product 9"), nothing];

  say({ namespaces, own, published });
  const subscription = await session.createSubscription2({
    requestedPublishingInterval: 50, requestedLifetimeCount: 1000, requestedMaxKeepAliveCount: 20,
    maxNotificationsPerPublish: 0, publishingEnabled: true, priority: 1,
  });
  const fields = ["EventType", "SourceName", "Message", "Severity", "Time", "FromState", "ToState", "Transition",
    "FromState.Id", "ToState.Id", "Transition.Id", "Transition.Number",
    ...["JobId", "ResultId", "PartId", "MeasId", "ProductId", "InternalId", "ExternalId", "IsPartial", "IsSimulated", "ResultState",
      "InternalRecipeId", "InternalConfigurationId", "CreationTime", "ProcessingTimes", "ResultContent"].map((name) => `${published}:${name}`)];
  const filter = opcua.constructEventFilter(fields, opcua.ofType(resolveNodeId("i=2041")));
  for (const [listener, nodeId] of [["VisionSystem", id("")], ["Server", "i=2253"]]) {
    const item = await subscription.monitor(
      { nodeId, attributeId: AttributeIds.EventNotifier },
      { samplingInterval: 0, queueSize: 1000, discardOldest: true, filter }, TimestampsToReturn.Both);
    item.on("changed", (values) => {
      const event = Object.fromEntries(values.map((value, i) => [fields[i].replace(`${published}:`, ""), plain(value)]));
      const numeric = /ns=(\d+);i=(\d+)/.exec(event.EventType);
      if (numeric === null || Number(numeric[1]) !== published) return;
      const kept = Object.fromEntries(Object.entries(event).filter(([, value]) => value !== null));
      say({ event: EVENTS[numeric[2]] ?? event.EventType, listener, ...kept });
    });
    item.on("err", (message) => say({ failed: message }));
  }
  say({ at: "begin", ...(await where()) });
  await call("RecipeManagement.PrepareRecipe", [await structure(3002, recipe), await structure(3013, "")]);
  await call("RecipeManagement.PrepareRecipe", [await structure(3002, "no such recipe"), await structure(3013, "")]);
  say({ at: "refused recipe", ...(await where()) });
  await call("RecipeManagement.PrepareRecipe", [await structure(3002, ""), await structure(3013, recipe)]);
  await call(`${AUTOMATIC}.Stop`, cause);
  await call(`${AUTOMATIC}.StartContinuous`, await start(""));
  for (let part = 1; part <= parts; part++) {
    for (let tries = 0; (await read(`${AUTOMATIC}.CurrentState.Number`)) !== 6 && tries < 200; tries++) await sleep(10);
    await call(`${AUTOMATIC}.StartSingleJob`, await start(`part ${part} ✓`));
  }
  for (let tries = 0; (await read(`${AUTOMATIC}.CurrentState.Number`)) !== 6 && tries < 500; tries++) await sleep(10);
  say({ at: "after the parts", ...(await where()) });
  const ids = [3015, 3004, 3002, 3013, 3008, 3008, 3003, 3016];
  const empty = await Promise.all(ids.map((number) => structure(number, "")));
  const list = await call("ResultManagement.GetResultListFiltered", [int32(0), ...empty, uint32(0), uint32(0), int32(0)]);
  const newest = list[3].at(-1)?.resultId?.id ?? "";
  await call("ResultManagement.GetResultById", [await structure(3021, newest), int32(0)]);
  await call("ResultManagement.GetResultComponentsById", [await structure(3021, newest), int32(0)]);
  await call("ResultManagement.GetResultById", [await structure(3021, "none"), int32(0)]);
  await call("ConfigurationManagement.GetConfigurationList", [uint32(0), uint32(0), int32(0)]);
  await call(`${MACHINE}.Halt`, cause);
  await sleep(300);
  say({ at: "halted", ...(await where()) });
  await call(`${AUTOMATIC}.StartSingleJob`, await start("while halted"));
  await call(`${MACHINE}.Reset`, cause);
  say({ at: "reset", ...(await where()) });
  await call(`${MACHINE}.SelectModeAutomatic`, []);
  await sleep(300);
  say({ at: "automatic", ...(await where()) });
  await sleep(200);
  await subscription.terminate();
});
