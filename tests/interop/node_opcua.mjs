// What every script here shares: node-opcua from the installed folder, a session, and answers as JSON lines.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const folder = process.env.EDGE_INSPECTOR_NODE_MODULES;
const find = createRequire(`${folder}/here.js`);
const loaded = await import(pathToFileURL(find.resolve("node-opcua")));
export const opcua = loaded.default ?? loaded;
export const NAMESPACE = "urn:edge-inspector:station";

export const say = (fact) => process.stdout.write(JSON.stringify(fact) + "\n");

/** A client that tries again for ever, as a PLC's does; the options are node-opcua's own. */
export function makeClient(options = {}) {
  return opcua.OPCUAClient.create({
    endpointMustExist: false,
    keepSessionAlive: true,
    requestedSessionTimeout: 30000,
    connectionStrategy: { maxRetry: -1, initialDelay: 200, maxDelay: 1000 },
    ...options,
  });
}

/** Node ids by name of tag, with the index that our namespace has in this server. */
export async function tagIds(session) {
  const index = (await session.readNamespaceArray()).indexOf(NAMESPACE);
  if (index < 0) throw new Error(`the server has no namespace ${NAMESPACE}`);
  return (name) => `ns=${index};s=Station.${name}`;
}

/** Run `work(session, id)` in one anonymous, unencrypted session. */
export async function withSession(endpoint, work, options = {}, identity = undefined) {
  const client = makeClient({ connectionStrategy: { maxRetry: 3, initialDelay: 200, maxDelay: 1000 }, ...options });
  await client.connect(endpoint);
  const session = await client.createSession(identity);
  try {
    return await work(session, await tagIds(session));
  } finally {
    await session.close();
    await client.disconnect();
  }
}

export const variant = (type, value) => ({
  dataType: opcua.DataType[type],
  arrayType: Array.isArray(value) ? opcua.VariantArrayType.Array : opcua.VariantArrayType.Scalar,
  value,
});

/** Write tags in one request; the names of the status codes come back. */
export async function write(session, id, values) {
  const nodes = Object.entries(values).map(([name, [type, value]]) => ({
    nodeId: id(name),
    attributeId: opcua.AttributeIds.Value,
    value: { value: variant(type, value) },
  }));
  return (await session.write(nodes)).map((code) => code.name);
}

/** Values of tags by name, in one request. */
export async function read(session, id, names) {
  const nodes = names.map((name) => ({ nodeId: id(name), attributeId: opcua.AttributeIds.Value }));
  const values = await session.read(nodes);
  return Object.fromEntries(names.map((name, i) => [name, values[i].value.value]));
}

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
