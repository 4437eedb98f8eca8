// The operators' page. It shows what the service says, and says so when it hears nothing.
import { LiveView } from "./live.js";

const SILENT_MS = 6000; // the service sends its state every 2 s
const DRAW_MS = 200; // a fast line is drawn at most so often
const PICTURE_MS = 500; // each look at a picture is audited: not every one of a fast line
const REFUSED_MS = 8000;
const THRESHOLDS_MS = 10000; // they move slowly
const THRESHOLDS = 3; // classes that a line of text names
const REJECTS = 6;
const DEFECTS = 10; // as many as a dialog lists
const MANUAL = "MANUAL";
const PRODUCTION = "PRODUCTION";
const WORDS = { OK: "OK", NOT_OK: "NOT OK", UNDEFINED: "UNDEFINED", NOT_DECIDABLE: "NOT DECIDABLE" };
const SIGNS = {
  OK: "M10 26l10 10 18-24",
  NOT_OK: "M12 12l24 24M36 12L12 36",
  UNDEFINED: "M16 17c0-11 16-11 16 0 0 7-8 6-8 13M24 38v.1",
  NOT_DECIDABLE: "M16 17c0-11 16-11 16 0 0 7-8 6-8 13M24 38v.1",
};
const ROLES = ["reader", "operator", "engineer"];

const $ = (id) => document.getElementById(id);
const seen = {
  state: null, last: null, rejects: [], images: new Map(), you: null, heard: -Infinity, lost: "connecting",
  refused: "", refusedAt: -Infinity, thresholds: null,
};
let source = null;
let drawn = 0;
let drawing = null;
let skew = 0; // what the station's clock is ahead of ours, ms

// --- Talking to the service

async function ask(path, options = {}) {
  const answer = await fetch(path, { cache: "no-store", ...options });
  const body = answer.status === 204 ? null : await answer.json();
  if (!answer.ok) throw Object.assign(new Error(body.error), { status: answer.status });
  return body;
}

const order = (name, body) =>
  ask(`/v1/orders/${name}`, {
    method: "POST",
    ...(body && { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }),
  });

async function start() {
  source?.close();
  source = null;
  try {
    const state = await ask("/v1/state");
    seen.you = state.you;
    hear(state);
    listen();
    lookAtThresholds();
  } catch (error) {
    lose(error.status ? error.message : "the web service does not answer");
    if (error.status === 401) forget();
    else setTimeout(start, 2000);
  }
}

function listen() {
  const mine = (source = new EventSource("/v1/events"));
  mine.addEventListener("open", () => catchUp().catch((error) => lose(error.message)));
  mine.addEventListener("state", (message) => hear(JSON.parse(message.data)));
  mine.addEventListener("result", (message) => take(JSON.parse(message.data)));
  mine.addEventListener("image", (message) => takeImage(JSON.parse(message.data)));
  mine.addEventListener("error", () => {
    lose("the connection to the web service is lost");
    if (mine.readyState === EventSource.CLOSED && mine === source) setTimeout(start, 2000);
  });
}

async function lookAtThresholds() {
  try {
    seen.thresholds = seen.state?.online ? (await ask("/v1/thresholds")).recipes : null;
  } catch {
    seen.thresholds = null; // what is not known is not shown
  }
  draw();
}

/** What is there already; the stream was opened before, so nothing falls between. */
async function catchUp() {
  const [newest, ...rejects] = await Promise.all([
    ask("/v1/results?limit=20"),
    ...["NOT_OK", "UNDEFINED", "NOT_DECIDABLE"].map((word) => ask(`/v1/results?limit=${REJECTS}&evaluation=${word}`)),
  ]);
  const found = [newest, ...rejects].flatMap((page) => page.results);
  found.sort((a, b) => a.seq - b.seq).forEach(take);
}

function hear(state) {
  const back = state.online && seen.state?.online === false;
  seen.state = state;
  seen.heard = performance.now();
  seen.lost = "";
  skew = Date.parse(state.ts) - Date.now();
  $("stale").getAnimations().forEach((animation) => (animation.currentTime = 0));
  if (back) {
    $("reject-list").replaceChildren(); // nobody gets a picture while the station is away
    catchUp().catch((error) => lose(error.message));
  }
  draw();
}

function lose(why) {
  seen.lost = why;
  draw();
}

function take(result) {
  for (const image of result.images) takeImage(image);
  if (result.mode === MANUAL) return; // a posted picture is no part of the line
  if (bookOf(result) !== bookOf(seen.last)) [seen.last, seen.rejects] = [result, []];
  if (result.seq >= seen.last.seq) seen.last = result;
  if (!result.ok && !seen.rejects.some((one) => one.result_id === result.result_id)) {
    seen.rejects = [...seen.rejects, result].sort((a, b) => b.seq - a.seq).slice(0, REJECTS);
  }
  const wanted = new Set([seen.last.result_id, ...seen.rejects.map((one) => one.result_id)]);
  if (seen.images.size > 200) seen.images = new Map([...seen.images].filter(([id]) => wanted.has(id)));
  draw();
}

/** A station that has begun a new book counts from 1 again. */
const bookOf = (result) => result?.result_id.split(".").at(-2);

function takeImage(image) {
  if (image.removed_utc) return;
  const known = seen.images.get(image.result_id) ?? [];
  if (!known.some((one) => one.id === image.id)) seen.images.set(image.result_id, [...known, image]);
  draw();
}

/** The picture for people: a drawing of what was found, else what the camera saw. */
function pictureOf(resultId) {
  const known = seen.images.get(resultId) ?? [];
  return known.find((one) => one.kind === "overlay") ?? known[0] ?? null;
}

// --- Drawing

function draw() {
  if (drawing !== null) return;
  drawing = setTimeout(() => {
    drawing = null;
    drawn = performance.now();
    drawAll();
  }, Math.max(0, drawn + DRAW_MS - performance.now()));
}

function drawAll() {
  const link = linkNow();
  document.body.dataset.link = link;
  drawHeader(link);
  drawNotice(link);
  drawVerdict(link);
  drawPicture();
  drawCounts();
  drawThresholds();
  drawRejects();
  const setup = link === "fresh" && seen.state.status?.mode === 4;
  $("operate").hidden = setup;
  $("live").hidden = !setup;
  live.show(setup, seen.state?.cameras ?? []);
}

/** fresh: what is shown is true now. away: the daemon is silent. lost: nobody knows. */
function linkNow() {
  if (seen.lost || performance.now() - seen.heard > SILENT_MS) return "lost";
  return seen.state.online ? "fresh" : "away";
}

function stateText(link) {
  const status = seen.state?.status;
  if (link === "lost") return ["away", "no connection"];
  if (link === "away") return ["away", "station away"];
  if (!status) return ["idle", "starting"];
  if (status.mode === 4) return ["setup", "Setup"];
  if (status.halted) return ["blocked", "halted"];
  if (status.ready || status.busy || status.acquiring) return ["ready", status.busy ? "inspecting" : "ready"];
  return ["blocked", "not ready"];
}

function drawHeader(link) {
  const status = seen.state?.status;
  if (seen.state) {
    text("station", seen.state.station);
    document.title = `${seen.state.station} – edge-inspector`;
  }
  const modes = { 2: "Golden run", 3: "Simulation" };
  text("recipe", status ? [status.recipe, modes[status.mode]].filter(Boolean).join(" · ") : "");
  const [kind, words] = stateText(link);
  $("state").dataset.kind = kind;
  text("state", words);
  const rank = ROLES.indexOf(seen.you?.role);
  for (const button of document.querySelectorAll("[data-role]")) {
    button.dataset.may = String(rank >= ROLES.indexOf(button.dataset.role));
  }
  const may = (id) => $(id).dataset.may === "true" && link === "fresh";
  $("setup").hidden = !may("setup") || status?.mode === 4;
  $("leave").hidden = !may("leave");
  $("acknowledge").hidden = !may("acknowledge") || !status?.line_stop;
  $("reset").hidden = !may("reset") || !status?.alarm;
  $("sign-in-open").hidden = seen.you !== null && seen.you.name !== "loopback";
  $("sign-out").hidden = !seen.you || seen.you.name === "loopback";
}

function drawNotice(link) {
  const status = seen.state?.status;
  let kind = "warning";
  let words = "";
  if (link === "lost") [kind, words] = ["alarm", `Nothing here is up to date: ${seen.lost || "the web service is silent"}.`];
  else if (link === "away") [kind, words] = ["alarm", "The station does not run: no part is inspected."];
  else if (seen.refused && performance.now() - seen.refusedAt < REFUSED_MS) words = seen.refused;
  else if (status?.line_stop) [kind, words] = ["alarm", `Line stop asked for. ${status.error_text}`];
  else if (status?.error_text && status.mode !== 4) [kind, words] = [status.error_code ? "alarm" : "warning", status.error_text];
  else if (status?.alarm) [kind, words] = ["alarm", "There was an alarm; it stands in the station's events."];
  else if (seen.state?.trouble) words = seen.state.trouble;
  else if (expiring()) words = `The token of this page ends on ${expiring()}; ask for a new one.`;
  $("notice").hidden = !words;
  $("notice").dataset.kind = kind;
  text("notice-text", words);
}

function expiring() {
  const end = Date.parse(seen.you?.expires_utc ?? "");
  return end - Date.now() < 14 * 864e5 ? new Date(end).toLocaleDateString() : "";
}

function drawVerdict(link) {
  const fresh = link === "fresh";
  const last = seen.last;
  const word = fresh ? (last?.evaluation ?? "none") : "none";
  $("verdict").dataset.word = word;
  $("sign-path").setAttribute("d", SIGNS[word] ?? "");
  const shown = fresh ? (WORDS[word] ?? "NO PART") : link === "away" ? "STATION AWAY" : "STALE";
  $("word").className = shown.length > 8 ? "longest" : shown.length > 2 ? "long" : "";
  text("word", shown);
  const before = last ? `The last that is known: ${WORDS[last.evaluation]}, at ${timeOf(last)}.` : "";
  text("why", fresh ? (last ? whyOf(last) : "No part has been inspected yet.") : before);
  text("part", last?.part_id || last?.result_id.split(".").pop() || "—");
  text("when", last ? (fresh ? ago(last) : timeOf(last)) : "—");
  text("took", last ? `${last.cycle_ms.toFixed(0)} ms` : "—");
}

function whyOf(result) {
  if (result.ok) return "";
  const counted = new Map();
  for (const one of result.defects) counted.set(one.class_name, (counted.get(one.class_name) ?? 0) + 1);
  const named = [...counted].map(([name, count]) => (count > 1 ? `${count} × ${name}` : name)).join(", ");
  return named || result.reason_text || result.reason.replaceAll("_", " ");
}

/** One word for a thumbnail: what there is most of, and how many kinds there are besides. */
function labelOf(result) {
  const kinds = new Map();
  for (const one of result.defects) kinds.set(one.class_name, (kinds.get(one.class_name) ?? 0) + 1);
  if (!kinds.size) return result.reason.replaceAll("_", " ");
  const [most] = [...kinds].sort((a, b) => b[1] - a[1])[0];
  return kinds.size > 1 ? `${most} +${kinds.size - 1}` : most;
}

/** The hall's clock: 24 hours. */
const clock = (moment, more = {}) =>
  new Date(moment).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23", ...more });
const timeOf = (result) => clock(result.ts, { second: "2-digit" });

function ago(result) {
  const s = Math.max(0, (Date.now() + skew - Date.parse(result.ts)) / 1000);
  if (s < 2) return "just now";
  if (s < 100) return `${s.toFixed(0)} s ago`;
  if (s < 6000) return `${(s / 60).toFixed(0)} min ago`;
  return `${(s / 3600).toFixed(0)} h ago`;
}

let loading = false;
let loadedAt = -Infinity;

/** The picture of the verdict that is shown, or none: never that of another part. */
function drawPicture() {
  const wanted = seen.last ? pictureOf(seen.last.result_id) : null;
  const shot = $("shot");
  const right = wanted !== null && shot.dataset.id === String(wanted.id);
  shot.hidden = !right;
  $("no-shot").hidden = right;
  text("no-shot", !seen.last ? "No part yet" : wanted ? "" : seen.state?.online ? "No picture was kept of this part" : "No pictures while the station is away");
  text("caption", right ? `${wanted.camera} · ${wanted.kind === "overlay" ? "what was found" : "what the camera saw"}` : "");
  if (!wanted || right || loading) return;
  const wait = loadedAt + PICTURE_MS - performance.now();
  if (wait > 0) {
    setTimeout(draw, wait);
    return;
  }
  loading = true;
  const fresh = new Image();
  const done = (good) => {
    loading = false;
    loadedAt = performance.now();
    if (good) {
      shot.src = fresh.src;
      shot.alt = `Part ${seen.last.part_id || seen.last.result_id}`;
      shot.dataset.id = String(wanted.id);
    } else {
      seen.images.set(wanted.result_id, seen.images.get(wanted.result_id).filter((one) => one !== wanted));
    }
    draw();
  };
  fresh.addEventListener("load", () => done(true));
  fresh.addEventListener("error", () => done(false));
  fresh.src = `${wanted.url}?width=1280`;
}

function drawCounts() {
  const counts = seen.state?.counts;
  if (!counts) return;
  const doubt = counts.not_decidable + counts.undefined;
  const all = counts.ok + counts.not_ok + doubt;
  text("count-ok", counts.ok.toLocaleString("en"));
  text("count-not-ok", counts.not_ok.toLocaleString("en"));
  text("count-doubt", doubt.toLocaleString("en"));
  text("count-share", all ? `${(100 * (1 - counts.ok / all)).toFixed(1)} %` : "–");
  const set = seen.state.status?.clock_synced ?? true;
  text("since", `Parts of this shift, since ${clock(counts.since)}${set ? "" : "; the station's clock is not set"}`);
}

/** Only what is worth a look: thresholds that are not the recipe's own, or would not be, or are held. */
function drawThresholds() {
  const one = seen.thresholds?.[seen.state?.status?.recipe];
  const judge = one?.policies.find((policy) => policy.judges);
  const shadow = one?.policies.find((policy) => !policy.judges);
  const held = !one ? "" : one.frozen_by ? `frozen by ${one.frozen_by}` : judge?.alarm || (judge && one.lapsed) || "";
  const words = [];
  if (held) words.push(`Thresholds: ${held}.`);
  if (judge) words.push(movedText(`Thresholds by ${judge.policy}`, one, one.now));
  if (shadow) {
    const wanted = one.classes.map((name) => shadow.classes.find((found) => found.class_name === name).threshold);
    words.push(movedText(`${shadow.policy} would set`, one, wanted));
  }
  $("thresholds").dataset.kind = held ? "warning" : "";
  text("thresholds", words.filter(Boolean).join(" "));
}

function movedText(who, one, thresholds) {
  const moved = one.classes
    .map((name, i) => ({ name, from: one.fixed[i], to: thresholds[i] }))
    .filter(({ from, to }) => Math.abs(to - from) >= 0.005)
    .sort((a, b) => Math.abs(b.to - b.from) - Math.abs(a.to - a.from));
  if (!moved.length) return "";
  const named = moved.slice(0, THRESHOLDS).map(({ name, from, to }) => `${name} ${to.toFixed(2)} (recipe ${from.toFixed(2)})`);
  const more = moved.length > THRESHOLDS ? ` and ${moved.length - THRESHOLDS} more` : "";
  return `${who}: ${named.join(", ")}${more}.`;
}

function drawRejects() {
  const list = $("reject-list");
  const wanted = seen.rejects.map((one) => `${one.result_id}/${pictureOf(one.result_id)?.id ?? ""}`);
  const there = new Map([...list.children].map((item) => [item.dataset.key, item]));
  if (wanted.length === there.size && wanted.every((key, i) => list.children[i].dataset.key === key)) return;
  list.replaceChildren(...seen.rejects.map((one, i) => there.get(wanted[i]) ?? thumbnail(one, wanted[i])));
}

function thumbnail(result, key) {
  const item = document.createElement("li");
  item.dataset.key = key;
  const button = made("button", "");
  button.type = "button";
  button.dataset.word = result.evaluation;
  button.setAttribute("aria-label", `${WORDS[result.evaluation]}, part ${result.part_id || result.seq}: ${whyOf(result)}`);
  const picture = pictureOf(result.result_id);
  const none = made("span", "no picture");
  none.className = "none";
  if (picture) {
    const image = new Image();
    image.alt = "";
    image.addEventListener("error", () => image.replaceWith(none));
    image.src = `${picture.url}?width=240`;
    button.append(image);
  } else button.append(none);
  const label = made("span", labelOf(result));
  label.className = "label";
  button.append(label);
  button.addEventListener("click", () => openDetails(result));
  item.append(button);
  return item;
}

function openDetails(result) {
  text("details-title", `${WORDS[result.evaluation]} – part ${result.part_id || result.seq}`);
  const pictures = (seen.images.get(result.result_id) ?? []).filter(
    (one, _, all) => one.kind === "overlay" || !all.some((other) => other.kind === "overlay" && other.camera === one.camera),
  );
  $("details-picture").replaceChildren(
    ...pictures.map((one) => Object.assign(new Image(), { src: `${one.url}?width=1280`, alt: `Camera ${one.camera}` })),
  );
  const lines = [
    ...(result.defects.length ? [] : [result.reason_text || whyOf(result)]),
    ...result.defects.slice(0, DEFECTS).map((one) => `${one.class_name} ${(one.score ?? 0).toFixed(2)}, ${one.camera}`),
    ...(result.defects.length > DEFECTS ? [`and ${result.defects.length - DEFECTS} more`] : []),
    `${timeOf(result)} · recipe ${result.recipe} · ${result.cycle_ms.toFixed(0)} ms · ${result.result_id}`,
  ];
  $("details-facts").replaceChildren(...lines.map((line) => made("p", line)));
  $("details").dataset.id = result.result_id;
  $("details-say").hidden = $("details-say").dataset.may !== "true" || result.mode !== PRODUCTION;
  text("details-said", "");
  $("details").showModal();
}

function made(tag, words) {
  const element = document.createElement(tag);
  element.textContent = words;
  return element;
}

function text(id, words) {
  const element = $(id);
  if (element.textContent !== words) element.textContent = words;
}

// --- What people do

/** Nobody is signed in: what the one before has seen goes. */
function forget() {
  Object.assign(seen, { you: null, state: null, last: null, rejects: [], images: new Map(), thresholds: null });
  openSignIn();
}

function openSignIn() {
  text("sign-in-error", "");
  if (!$("sign-in").open) $("sign-in").showModal();
}

$("sign-in-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    const body = JSON.stringify({ token: $("token").value.trim() });
    await ask("/v1/sign-in", { method: "POST", headers: { "Content-Type": "application/json" }, body });
    $("token").value = "";
    $("sign-in").close();
    await start();
  } catch (error) {
    text("sign-in-error", error.message);
  }
});

async function ordered(work) {
  try {
    await work();
    seen.refused = "";
  } catch (error) {
    [seen.refused, seen.refusedAt] = [error.message, performance.now()];
  }
  draw();
}

$("sign-in-open").addEventListener("click", openSignIn);
$("sign-out").addEventListener("click", () => ordered(() => ask("/v1/sign-out", { method: "POST" })).then(() => location.reload()));
$("acknowledge").addEventListener("click", () => ordered(() => order("ack_line_stop")));
$("reset").addEventListener("click", () => ordered(() => order("reset")));
$("setup").addEventListener("click", () => ordered(() => order("setup", { on: true })));
$("leave").addEventListener("click", () => ordered(() => order("setup", { on: false })));

async function say(good) {
  const id = $("details").dataset.id;
  let said = `Written down: this part is ${good ? "good" : "bad"}.`;
  try {
    const body = JSON.stringify({ result_id: id, good });
    await ask("/v1/feedback", { method: "POST", headers: { "Content-Type": "application/json" }, body });
  } catch (error) {
    said = error.message;
  }
  if ($("details").dataset.id === id) text("details-said", said);
}

$("was-good").addEventListener("click", () => say(true));
$("was-bad").addEventListener("click", () => say(false));

const live = new LiveView(ask);
function tick() {
  text("clock", clock(Date.now()));
  draw();
}

tick();
setInterval(tick, 1000);
setInterval(lookAtThresholds, THRESHOLDS_MS);
document.addEventListener("visibilitychange", drawAll);
start();
