// node read_tags.mjs ENDPOINT NAME...: every attribute of every tag that decides how a PLC may use it.
import { opcua, say, withSession } from "./node_opcua.mjs";

const [endpoint, ...names] = process.argv.slice(2);
const { AttributeIds, DataType, VariantArrayType } = opcua;
const ATTRIBUTES = ["Value", "DataType", "ValueRank", "ArrayDimensions", "AccessLevel", "UserAccessLevel", "BrowseName"];

await withSession(endpoint, async (session, id) => {
  for (const name of names) {
    const wanted = ATTRIBUTES.map((attribute) => ({ nodeId: id(name), attributeId: AttributeIds[attribute] }));
    const [value, type, rank, dimensions, access, userAccess, browseName] = await session.read(wanted);
    say({
      name,
      status: value.statusCode.name,
      type: DataType[value.value.dataType],
      array: value.value.arrayType === VariantArrayType.Array,
      length: value.value.arrayType === VariantArrayType.Array ? value.value.value.length : 0,
      value: value.value.arrayType === VariantArrayType.Array ? Array.from(value.value.value) : value.value.value,
      source: value.sourceTimestamp?.toISOString() ?? null,
      server: value.serverTimestamp?.toISOString() ?? null,
      declared: DataType[type.value.value.value],
      rank: rank.value.value,
      dimensions: dimensions.value.value ? Array.from(dimensions.value.value) : null,
      access: access.value.value,
      userAccess: userAccess.value.value,
      browseName: browseName.value.value.name,
    });
  }
});
