// node nodeset.mjs FILE: import an exported nodeset beside the standard one, and list the variables that it brings.
import { NAMESPACE, opcua, say } from "./node_opcua.mjs";

const { AddressSpace, BrowseDirection, DataType, NodeClass, generateAddressSpace, nodesets } = opcua;
const space = AddressSpace.create();
await generateAddressSpace(space, [nodesets.standard, process.argv[2]]);
const above = (node) => node.findReferencesExAsObject("HierarchicalReferences", BrowseDirection.Inverse)[0];
for (const node of space.getNamespace(NAMESPACE).nodeIterator()) {
  if (node.nodeClass !== NodeClass.Variable) continue;
  say({
    name: String(node.nodeId.value).replace(/^Station\./, ""),
    below: above(above(above(node))).browseName.toString(), // group, Station, and where that stands
    type: DataType[node.dataType.value],
    rank: node.valueRank,
    dimensions: node.arrayDimensions ? Array.from(node.arrayDimensions) : null,
    access: node.accessLevel,
  });
}
space.dispose();
process.exit(0);
