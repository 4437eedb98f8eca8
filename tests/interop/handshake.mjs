// node handshake.mjs ENDPOINT PARTS RECIPE_NO: a PLC that announces parts, applies the rule at its gate, and acknowledges.
import { opcua, read, say, sleep, withSession, write } from "./node_opcua.mjs";

const [endpoint, parts, recipeNo] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const PLC_BOOT_ID = 0x51c0ffee;
const GATE_MS = 5000;
const u32 = (value) => ["UInt32", value];

await withSession(endpoint, async (session, id) => {
  let beat = 0;
  const tick = () => write(session, id, { "Control.Heartbeat": u32(++beat) });
  const until = async (what, names, condition) => {
    const end = Date.now() + GATE_MS;
    for (;;) {
      await tick();
      const tags = await read(session, id, names);
      if (condition(tags)) return tags;
      if (Date.now() > end) return say({ event: "gate", what, tags }) ?? null;
      await sleep(10);
    }
  };
  await write(session, id, { "Control.PlcBootId": u32(PLC_BOOT_ID), "Control.TriggerSeq": u32(0) });
  await tick();
  const bootId = (await read(session, id, ["Status.BootId"]))["Status.BootId"];
  await write(session, id, { "Control.BootIdEcho": u32(bootId) });
  await write(session, id, { "Control.RecipeReqNo": ["UInt16", recipeNo], "Control.RecipeReqSeq": u32(1) });
  const ordered = await until("recipe", ["Status.RecipeReqAckSeq", "Status.RecipeReqResult"], (t) => t["Status.RecipeReqAckSeq"] === 1);
  say({ event: "recipe", result: ordered?.["Status.RecipeReqResult"] });

  for (let seq = 1; seq <= parts; seq++) {
    await until("ready", ["Status.TriggerReady"], (t) => t["Status.TriggerReady"]);
    const partId = `Teil ${seq} ✓`;
    await write(session, id, { "Control.PartId": ["String", partId] });
    await write(session, id, { "Control.TriggerSeq": u32(seq) });
    const answer = await until("answer", ["Status.TriggerAckSeq", "Status.RefusedSeq", "Status.RefusedReason"], (t) =>
      [t["Status.TriggerAckSeq"], t["Status.RefusedSeq"]].includes(seq));
    const names = ["ResultId", "TriggerSeq", "BootId", "PlcBootId", "Evaluation", "Mode", "PartId", "RecipeNo", "DefectCount"]
      .map((name) => `Result.${name}`);
    const result = await until("result", ["Status.ResultsValid", "Status.Word", "Status.Heartbeat", "Result.Ring", ...names], (t) =>
      t["Status.ResultsValid"] && t["Result.TriggerSeq"] === seq);
    const pass = result !== null && result["Result.Evaluation"] === 1 && result["Result.Mode"] === 1 &&
      result["Result.TriggerSeq"] === seq && result["Result.BootId"] === bootId &&
      result["Result.PlcBootId"] === PLC_BOOT_ID && result["Result.RecipeNo"] === recipeNo;
    const ring = Array.from(result["Result.Ring"]);
    const row = Array.from({ length: 16 }, (_, i) => ring.slice(8 * i, 8 * i + 8)).find((words) => words[0] === seq);
    const shown = Object.fromEntries(names.map((name) => [name.slice(7), result[name]]));
    say({ event: "part", seq, partId, accepted: answer?.["Status.TriggerAckSeq"] === seq, pass, word: result["Status.Word"], row, ...shown });
    await write(session, id, { "Control.ResultAckSeq": u32(seq) });
    const freed = await until("freed", ["Status.ResultsValid"], (t) => !t["Status.ResultsValid"]);
    if (freed === null) break;
  }
  const counters = await read(session, id, ["Counter.Total", "Counter.Ok", "Counter.NotOk", "Counter.Refused", "Counter.Missed"]);
  say({ event: "done", bootId, plcBootId: PLC_BOOT_ID, ...counters });
});
