// node refusals.mjs ENDPOINT: what must be refused, with the status code that the server gave.
import { opcua, read, say, variant, withSession, write } from "./node_opcua.mjs";

const endpoint = process.argv[2];
const { AttributeIds, NumericRange, StatusCodes } = opcua;

await withSession(endpoint, async (session, id) => {
  const one = async (what, name, dataValue, more = {}) => {
    const before = (await read(session, id, [name]))[name];
    const code = await session.write({ nodeId: id(name), attributeId: AttributeIds.Value, value: dataValue, ...more });
    const after = (await read(session, id, [name]))[name];
    const same = JSON.stringify(before) === JSON.stringify(after);
    say({ what, name, code: code.name, same });
  };
  const value = (type, it) => ({ value: variant(type, it) });
  await one("right", "Control.ResultAckSeq", value("UInt32", 4));
  await one("another type", "Control.TriggerSeq", value("Int32", 3));
  await one("another width", "Control.Command", value("UInt32", 3));
  await one("text into a number", "Control.TriggerSeq", value("String", "3"));
  await one("number into a text", "Control.PartId", value("UInt32", 3));
  await one("an array into a scalar", "Control.TriggerSeq", value("UInt32", [3, 4]));
  await one("a scalar into an array", "Control.Block", value("UInt32", 3));
  await one("a shorter array", "Control.Block", value("UInt32", [1, 2, 3]));
  await one("a longer array", "Control.Block", value("UInt32", [1, 2, 3, 4, 5, 6, 7, 8, 9]));
  await one("an index range", "Control.Block", value("UInt32", [5]), { indexRange: new NumericRange("3") });
  await one("a longer text", "Control.PartId", value("String", "x".repeat(255)));
  await one("a null", "Control.TriggerSeq", { value: { dataType: opcua.DataType.Null } });
  await one("a bad status", "Control.TriggerSeq", { statusCode: StatusCodes.BadSensorFailure, ...value("UInt32", 3) });
  await one("an uncertain status", "Control.TriggerSeq", {
    statusCode: StatusCodes.UncertainLastUsableValue,
    ...value("UInt32", 3),
  });
  await one("a tag of the station", "Status.Word", value("UInt16", 3));
  await one("a result", "Result.Evaluation", value("UInt16", 1));
  await one("the ring", "Result.Ring", value("UInt32", new Array(128).fill(1)));

  const attribute = async (what, name, attributeId, dataValue) => {
    const code = await session.write({ nodeId: id(name), attributeId, value: dataValue });
    say({ what, name, code: code.name, same: true });
  };
  await attribute("a display name", "Control.PartId", AttributeIds.DisplayName, {
    value: { dataType: opcua.DataType.LocalizedText, value: { text: "mine" } },
  });
  await attribute("an access level", "Status.Word", AttributeIds.UserAccessLevel, value("Byte", 3));
  await attribute("an unknown tag", "Control.Nothing", AttributeIds.Value, value("UInt32", 3));

  // of several values in one request, the wrong one alone is refused
  const mixed = await write(session, id, {
    "Control.ResultAckSeq": ["UInt32", 5],
    "Control.TriggerSeq": ["Int32", 3],
    "Control.PartId": ["String", "part"],
  });
  say({ what: "mixed", code: mixed.join(), same: true });
  const range = { nodeId: id("Control.Block"), attributeId: AttributeIds.Value, indexRange: new NumericRange("2:4") };
  const read1 = await session.read(range);
  say({ what: "read a range", code: read1.statusCode.name, values: Array.from(read1.value.value ?? []), same: true });
  const unknown = await session.read({ nodeId: id("Status.Nothing"), attributeId: AttributeIds.Value });
  say({ what: "read an unknown tag", code: unknown.statusCode.name, same: true });
});
